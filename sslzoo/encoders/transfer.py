"""Weights from one encoder into another that has the same layers, at other strides say.

The convolutions of the context-free network (arXiv:1603.09246), whose conv1 has a stride of 2 for
tiles of 64 pixels, are transferred into an AlexNet, where it is 4, for images of 227.
"""

import itertools

from sslzoo.errors import UserError


def transplant(encoder, trained):
    """Gives `encoder` the weights of `trained`: both have as many, of the same shapes, in order.

    Raises:
        UserError: they do not. The message goes on after "expected".
    """
    wanted, found = ([tuple(v.shape) for v in model.weights] for model in (encoder, trained))
    for ours, theirs in itertools.zip_longest(wanted, found, fillvalue="none"):
        if ours != theirs:
            raise UserError(
                f"an encoder whose weights have the shapes of {encoder.name}'s, {ours}. "
                f"Received: {trained.name}: {theirs}"
            )
    encoder.set_weights(trained.get_weights())
