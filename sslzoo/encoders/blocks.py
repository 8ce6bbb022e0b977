"""What encoders of more than one family are made of."""

import keras

from sslzoo.errors import UserError
from sslzoo.parts.layers import FusedBatchNormalization


def batch_norm(x, name, **options):
    """Batch norm as in the papers' own frameworks; Keras' 0.99 outlives a run of minutes."""
    return FusedBatchNormalization(momentum=0.9, epsilon=1e-5, name=name, **options)(x)


def pad(x, size):
    """Zeros on all four sides. After a ReLU they act in a max-pool as the usual -inf."""
    return keras.layers.ZeroPadding2D(size)(x) if size else x


def conv_bn(x, width, kernel, stride, name, init="he_normal"):
    """Bias-free convolution padded by kernel // 2, and batch norm.

    The padding of a strided one is written out: "same" would pad an even input on one side only.
    """
    x = x if stride == 1 else pad(x, kernel // 2)
    x = keras.layers.Conv2D(
        width,
        kernel,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=init,
        name=f"{name}_conv",
    )(x)
    return batch_norm(x, f"{name}_bn")


def fan_out():
    """N(0, sqrt(2 / (k^2 * filters))): He's initialisation as RotNet and ResNet use it."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def check_option(name, value, allowed):
    """Raises a `UserError` where an argument of an encoder is none of what is allowed."""
    if value not in allowed:
        raise UserError(f"Expected {name} to be one of {allowed}. Received: {value!r}")
