"""Generators of images from codes, and discriminators of images with codes (arXiv:1605.09782)."""

import keras
import numpy as np

from sslzoo.parts import decoders


def _conv_generator(side, codes, width, norm):
    """Codes (B, codes) -> images (B, side, side, 3) in [-1, 1]: 4 pixels, doubled; 4 x 4."""
    code = keras.Input((codes,), name="code")
    doublings = int(np.log2(side // 4))
    start = width * 2 ** (doublings - 1)
    x = keras.layers.Reshape((4, 4, start))(decoders.dense(16 * start, "g0_dense")(code))
    x = _finish(x, code, "g0", "relu", norm)
    for i in range(1, doublings):
        x = _finish(_up(start >> i, f"g{i}_conv")(x), code, f"g{i}", "relu", norm)
    x = _finish(_up(3, "g_conv")(x), code, "painted", "tanh", norm=False, dtype="float32")
    return keras.Model(code, x, name="generator")


def _conv_discriminator(side, codes, width, norm):
    """[images (B, side, side, 3), codes (B, codes)] -> (B, 1): halved until 4 pixels; 5 x 5.

    `stage1`, `stage2`, ... are its activations.
    """
    x = image = keras.Input((side, side, 3), name="judged")
    code = keras.Input((codes,), name="judged_code")
    for i in range(int(np.log2(side // 4))):
        x = keras.layers.Conv2D(
            width * 2**i,
            5,
            strides=2,
            padding="same",
            kernel_initializer=decoders.normal(),
            name=f"d{i}_conv",
        )(x)
        stage = f"stage{i + 1}"
        x = _finish(x, code, f"d{i}", "leaky_relu", norm, stage=stage) if i else _leaky(x, stage)
    x = _logit()(keras.layers.Flatten()(x))
    return keras.Model([image, code], x, name="discriminator")


def _dense_generator(side, codes, width, norm):
    """Codes (B, codes) -> images (B, side, side, 3) in [-1, 1], by two hidden layers."""
    x = code = keras.Input((codes,), name="code")
    for i in range(2):
        x = decoders.dense(width, f"g{i}_dense")(x)
        x = decoders.batch_norm(x, f"g{i}") if norm else x
        x = keras.layers.ReLU(name=f"g{i}")(x)
    x = keras.layers.Reshape((side, side, 3))(decoders.dense(side * side * 3, "g_dense")(x))
    return keras.Model(code, keras.layers.Activation("tanh", dtype="float32")(x), name="generator")


def _dense_discriminator(side, codes, width, norm):
    """[images (B, side, side, 3), codes (B, codes)] -> (B, 1), by two hidden layers."""
    image = keras.Input((side, side, 3), name="judged")
    code = keras.Input((codes,), name="judged_code")
    x = _leaky(decoders.dense(width, "d0_dense")(keras.layers.Flatten()(image)))
    x = _finish(decoders.dense(width, "d1_dense")(x), code, "d1", "leaky_relu", norm)
    return keras.Model([image, code], _logit()(x), name="discriminator")


NETWORKS = {
    "conv": (_conv_generator, _conv_discriminator),
    "dense": (_dense_generator, _dense_discriminator),
}


def _finish(x, code, name, activation, norm, dtype=None, stage=""):
    """Adds a projection of the code to every pixel of x (..., C), then batch norm, activation."""
    width = x.shape[-1]
    project = keras.layers.Dense(
        width, use_bias=False, kernel_initializer=decoders.normal(), name=f"{name}_code"
    )
    shape = (1,) * (len(x.shape) - 2) + (width,)
    x = x + keras.layers.Reshape(shape)(project(code))
    x = decoders.batch_norm(x, name) if norm else x
    return keras.layers.Activation(activation, dtype=dtype, name=stage or name)(x)


def _up(width, name):
    return keras.layers.Conv2DTranspose(
        width, 4, strides=2, padding="same", kernel_initializer=decoders.normal(), name=name
    )


def _leaky(x, name=None):
    return keras.layers.LeakyReLU(0.2, name=name)(x)


def _logit():
    return keras.layers.Dense(1, kernel_initializer="zeros", dtype="float32", name="d_logit")
