"""Parts of networks that make images or judge them, as DCGAN has them (arXiv:1511.06434).

All weights start from N(0, 0.02), gains of batch norm from N(1, 0.02).
"""

import keras

from sslzoo.parts.layers import FusedBatchNormalization

WIDEST = 512  # channels


def normal(mean=0.0):
    """DCGAN's initialiser."""
    return keras.initializers.RandomNormal(mean, 0.02)


def dense(width, name):
    """A fully connected layer."""
    return keras.layers.Dense(width, kernel_initializer=normal(), name=name)


def batch_norm(x, name):
    """Batch norm (B, H, W, C) -> the same shape."""
    return FusedBatchNormalization(
        momentum=0.9, epsilon=1e-5, gamma_initializer=normal(1.0), name=f"{name}_bn"
    )(x)


def down(x, width, name, norm=True):
    """Halves (B, H, W, C): 4 x 4 convolution, batch norm, LeakyReLU -> (B, H / 2, W / 2, width)."""
    x = keras.layers.Conv2D(
        width, 4, strides=2, padding="same", kernel_initializer=normal(), name=f"{name}_conv"
    )(x)
    x = batch_norm(x, name) if norm else x
    return keras.layers.LeakyReLU(0.2, name=name)(x)


def up(x, width, name, norm=True, activation="relu"):
    """Doubles (B, h, w, C): 4 x 4 up-convolution, batch norm, activation -> (B, 2h, 2w, width).

    Kernel 4 is a multiple of stride 2, so all output pixels have as many inputs: no checkerboard.
    """
    x = keras.layers.Conv2DTranspose(
        width, 4, strides=2, padding="same", kernel_initializer=normal(), name=f"{name}_conv"
    )(x)
    x = batch_norm(x, name) if norm else x
    return keras.layers.Activation(activation, name=name)(x)


def discriminator(side, width=64, norm=True):
    """A square image (B, side, side, 3) in [-1, 1] -> is it real? (B, 1), a logit.

    Halved until less than 8 pixels are left, with `width` channels that double up to 512; then one
    convolution over what is left.

    Args:
        side: in pixels.
        width: channels of the first convolution, which has no batch norm.
        norm: batch norm in the others.
    """
    x = image = keras.Input((side, side, 3), name="judged")
    i = 0
    while x.shape[1] >= 8:
        x = down(x, min(width * 2**i, WIDEST), f"d{i + 1}", norm and i > 0)
        i += 1
    logit = keras.layers.Conv2D(
        1, x.shape[1], kernel_initializer=normal(), dtype="float32", name="d_logit"
    )
    return keras.Model(image, keras.layers.Flatten(dtype="float32")(logit(x)), name="discriminator")


def image_half(discriminator):
    """A discriminator's convolutions as an encoder that shares their weights.

    (B, H, W, 3) in [0, 1] -> (B, h, w, C). A second input, a code, is left out, which equals a code
    of zeros: the layers that read it have no bias.

    Args:
        discriminator: keras.Model of images in [-1, 1], the layers of whose image half stand in
            line, with stages, until a `Flatten`.
    """
    kinds = (
        *(keras.layers.Conv2D, keras.layers.BatchNormalization),
        *(keras.layers.LeakyReLU, keras.layers.Activation),
    )
    x = image = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(2.0, -1.0, name="normalize")(x)
    for layer in discriminator.layers:
        if isinstance(layer, keras.layers.Flatten):
            break
        if isinstance(layer, kinds):
            x = layer(x)
    return keras.Model(image, x, name="judge")
