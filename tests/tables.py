"""A network as a table, to be held against its paper's."""

import keras


def table(model, skip="nothing"):
    """A word per layer, in order: kernel/stride and channels, norm, activation and slope.

    `conv4/2:64` has a bias, `conv4/2:64-` none. Layers whose name ends in `skip` are left out.
    """
    words = [_word(layer) for layer in model.layers if not layer.name.endswith(skip)]
    return " ".join(filter(None, words))


def _word(layer):
    if isinstance(layer, keras.layers.Conv2D | keras.layers.Conv2DTranspose):
        name = "up" if isinstance(layer, keras.layers.Conv2DTranspose) else "conv"
        bias = "" if layer.use_bias else "-"
        return f"{name}{layer.kernel_size[0]}/{layer.strides[0]}:{layer.filters}{bias}"
    if isinstance(layer, keras.layers.Activation):
        name = layer.activation.__name__
        return f"leaky{float(-layer.activation(-1.0)):.3g}" if name == "leaky_relu" else name
    return {
        keras.layers.Dense: lambda: f"dense:{layer.units}",
        keras.layers.Dropout: lambda: f"dropout{layer.rate}",
        keras.layers.LeakyReLU: lambda: f"leaky{layer.negative_slope}",
        keras.layers.ReLU: lambda: "relu",
        keras.layers.PReLU: lambda: "prelu",
        keras.layers.BatchNormalization: lambda: "bn",
    }.get(type(layer), lambda: "")()


def count(variables):
    """How many numbers they hold."""
    return sum(int(v.shape.num_elements()) for v in variables)
