"""Maps from features, contours, depth and normals, and a judge of features (arXiv:1711.09082)."""

import keras

from sslzoo.errors import UserError
from sslzoo.parts import decoders

CHANNELS = {"edges": 1, "depth": 1, "normals": 3}
# Side of the features and of the images -> kernels of up-convolutions without padding: AlexNet's.
KERNELS = {(13, 227): (3, 3, 5, 3)}


def heads(shape, side, tasks, hidden, width, norm):
    """Feature maps (B, h, w, C) -> {task: (B, side, side, its channels)}, float32."""
    x = maps = keras.Input(shape, name="maps")
    if hidden:  # AlexNet's fully connected layers, at each place of the maps
        x = keras.layers.MaxPooling2D(3, 1, padding="same", name="pool5")(x)
        for name, options in {
            "fc6": {"kernel_size": 6, "dilation_rate": 2},
            "fc7": {"kernel_size": 1},
        }.items():
            x = keras.layers.Conv2D(
                hidden, padding="same", kernel_initializer=decoders.normal(), name=name, **options
            )(x)
            x = decoders.batch_norm(x, name) if norm else x
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
    kernels = _kernels(shape[0], side)
    found = {name: _head(x, name, kernels, width, norm) for name in tasks}
    return keras.Model(maps, found, name="heads")


def _head(x, name, kernels, width, norm):
    """Maps (B, h, w, C) -> (B, side, side, channels of that task)."""
    for i, kernel in enumerate(kernels, start=1):
        last = i == len(kernels)
        x = keras.layers.Conv2DTranspose(
            CHANNELS[name] if last else width,
            kernel,
            strides=2,
            padding="same" if kernel == 4 else "valid",
            kernel_initializer=decoders.normal(),
            dtype="float32" if last else None,
            name=name if last else f"{name}{i}_conv",
        )(x)
        if not last:
            x = decoders.batch_norm(x, f"{name}{i}") if norm else x
            x = keras.layers.ReLU(name=f"{name}{i}")(x)
    return x


def _kernels(side, wanted):
    """Of up-convolutions of stride 2 that make `wanted` pixels of `side`."""
    doublings = (wanted // side).bit_length() - 1
    if doublings and side << doublings == wanted:
        return (4,) * doublings
    if (side, wanted) in KERNELS:
        return KERNELS[side, wanted]
    raise UserError(
        f"--crop: expected the {side} pixels of the encoder's output times 2, 4, 8, ... "
        f"Received: {wanted}"
    )


def discriminator(shape, width=512, norm=True):
    """Feature maps (B, h, w, C) -> is each patch of a real image? (B, h', w', 1), logits.

    13 x 13 features make 6 x 6 decisions.
    """
    x = features = keras.Input(shape, name="judged")
    options = {"kernel_initializer": decoders.normal()}
    small = min(shape[:2]) < 3
    x = keras.layers.Conv2D(
        width, 3, strides=2, padding="same" if small else "valid", name="d1_conv", **options
    )(x)
    for i in (1, 2):
        x = decoders.batch_norm(x, f"d{i}") if norm and i == 1 else x
        x = keras.layers.LeakyReLU(0.2, name=f"d{i}")(x)
        if i == 1:
            x = keras.layers.Conv2D(width, 1, name="d2_conv", **options)(x)
    x = keras.layers.Conv2D(1, 1, dtype="float32", name="d_logit", **options)(x)
    return keras.Model(features, x, name="discriminator")
