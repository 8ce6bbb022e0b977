"""Backbones of `keras.applications` as encoders: any size, [0, 1] pixels, named stages."""

import inspect

import keras

from sslzoo.errors import UserError, one_line


def available():
    """The model functions of `keras.applications`, by name in lower case.

    NASNet is left out: Keras cannot build it for images of any size.
    """
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return {name.lower(): f for name, f in functions if not name.startswith("NASNet")}


def build(name, weights=None):
    """A backbone of `keras.applications` without top, normalising as its family does.

    `weights` are a file of Keras' own without top, `"imagenet"` for its download, or None.

    A stage is the last activation of each stride (in Inception, of one branch). The last one is
    the output, or in VGG comes before it: a max-pool.
    """
    function = available()[name]
    inputs = keras.Input((None, None, 3), name="images")
    pixels = keras.layers.Rescaling(255.0, name="to_255")(inputs)
    normalized = inspect.getmodule(function).preprocess_input(pixels)
    try:
        body = function(include_top=False, weights=weights, input_tensor=normalized)
    except Exception as error:  # of a download, HDF5, or shapes
        raise UserError(
            f"--encoder: expected weights of {name} without its top: imagenet, which Keras "
            f"downloads, or a file. Received: {weights!r}: {one_line(error)}"
        ) from None
    taps = _taps(body)

    def call(layer, *args, **kwargs):
        x = layer(*args, **kwargs)
        return keras.layers.Identity(name=taps[layer.name])(x) if layer.name in taps else x

    tapped = keras.models.clone_model(body, call_function=call)
    tapped.set_weights(body.get_weights())  # a clone starts anew
    return tapped.inputs[0], tapped.outputs[0]


def _taps(body):
    """{name of the layer: name of the stage}, found on an image of 256 pixels.

    Strides are rounded: unpadded networks shrink 256 to 127, 125, 62, ...
    """
    outputs = [layer.output for layer in body.layers]
    shapes = keras.Model(body.inputs, outputs).compute_output_shape((1, 256, 256, 3))
    last, end = {}, shapes[-1]
    for layer, shape in zip(body.layers, shapes, strict=True):
        activated = isinstance(layer, keras.layers.ReLU) or (
            getattr(layer, "activation", keras.activations.linear) is not keras.activations.linear
        )
        if activated and len(shape) == 4 and shape[1] > 4:  # squeeze-and-excite is 1x1
            last[round(256 / shape[1]).bit_length()] = layer.name
    if shapes[body.layers.index(body.get_layer(last[max(last)]))][1] == end[1]:
        last[max(last)] = body.layers[-1].name
    return {layer: f"stage{i}" for i, (_, layer) in enumerate(sorted(last.items()), start=1)}
