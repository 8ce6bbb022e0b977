"""Whether a linear probe can be made of labelled images, before they are needed."""

import tensorflow as tf

from sslzoo.data.order import keys
from sslzoo.probes import linear_probe


def check(train, test, images, seed):
    """Checks the labels that `Run.probe` will see.

    Args:
        train, test: labelled sources.
        images: training images of the probe, at most; 0 for no probe.
        seed: of their choice.

    Raises:
        UserError: `probes.linear` would refuse them.
    """
    if images:
        position = tf.range(min(images, train.size))
        index = keys(position, seed, train.size, train.size, shuffle=True)["index"]
        y = tf.gather(train.labels, index).numpy()
        linear_probe.check_labels(y, test.labels.numpy())
