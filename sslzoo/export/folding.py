"""A trained network rewritten for inference: batch norm inside the convolutions, weights frozen.

At inference batch norm is y = scale * x + offset per channel, with scale = gamma / sqrt(variance +
epsilon) and offset = beta - scale * mean. After a convolution that nothing else reads, scale can be
multiplied into its kernel and offset becomes its bias. What is left of y is a sum in another order:
equal up to rounding. (Folding is folklore; arXiv:1712.05877 §3.2 writes it down.)
"""

import collections

import keras
import numpy as np
import tensorflow as tf

from sslzoo.parts import layers

CONVOLUTIONS = (
    keras.layers.Conv2D,
    layers.GroupedConv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def frozen(model):
    """`fold(model)` at inference, as a `tf.function` of images (N, H, W, 3) without variables.

    The weights are constants in its graph, so that whoever loads it can work out once what follows
    from them alone. Functions that call it and are saved together share one copy on disk. N may be
    0, whatever the machine.
    """
    folded = fold(model)
    weights = [
        [variable.numpy() for variable in variables]
        for variables in (folded.trainable_variables, folded.non_trainable_variables)
    ]

    def call(images):
        constants = tf.nest.map_structure(tf.constant, weights)
        # A ReLU makes a number of NaN, and the answer would look like one. NaN and infinities
        # survive a sum, which takes a fifth of the time that a look at every pixel takes; pixels
        # that overflow it count as infinite. Stateful: it runs though nothing reads it.
        tf.debugging.check_numerics(tf.reduce_sum(images), "images must be finite numbers")
        count, images = tf.shape(images)[0], _blank_for_none(images)
        outputs = folded.stateless_call(*constants, images, training=False)[0]
        return tf.nest.map_structure(lambda output: output[:count], outputs)

    spec = tf.TensorSpec(model.input_shape, tf.float32, name="images")
    return tf.function(call, input_signature=[spec], autograph=False)


def _blank_for_none(images):
    """(N, H, W, C) as it is, or one blank image where N is 0.

    oneDNN's convolution gives an empty batch the shape of its input. Where N is not 0, neither this
    nor the slice of the answer copies anything.
    """
    shape = tf.concat([[1], tf.shape(images)[1:]], 0)
    none = tf.shape(images)[0] == 0
    return tf.ensure_shape(
        tf.cond(none, lambda: tf.zeros(shape, images.dtype), lambda: images), images.shape
    )


def fold(model):
    """A copy of a functional `keras.Model`, for inference, with batch norms folded where possible.

    A batch norm is folded if it alone reads a convolution that has no activation and is called
    once; `keras.layers.Identity` takes its name, so every layer is found where it was. Others, and
    those in nested models, stay.
    """
    pairs = _pairs(model)
    convolutions = set(pairs.values())

    def clone(layer):
        bias = {"use_bias": True} if layer.name in convolutions else {}
        return type(layer).from_config({**layer.get_config(), **bias})

    def call(layer, *args, **kwargs):
        if layer.name in pairs:
            return keras.layers.Identity(name=layer.name)(args[0])
        return layer(*args, **kwargs)

    folded = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.weights and layer.name not in {*pairs, *convolutions}:
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    for norm, convolution in pairs.items():
        weights = _folded_weights(model.get_layer(convolution), model.get_layer(norm))
        folded.get_layer(convolution).set_weights(weights)
    return folded


def _pairs(model):
    """{name of a batch norm: name of the convolution it can be folded into}."""
    calls, readers, writer, norms = collections.Counter(), collections.Counter(), {}, {}

    def follow(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        calls[layer] += 1
        readers.update(map(id, keras.tree.flatten((args, kwargs))))
        writer.update({id(tensor): layer for tensor in keras.tree.flatten(outputs)})
        if isinstance(layer, keras.layers.BatchNormalization) and layer.axis in (-1, 3):
            norms[layer] = args[0]
        return outputs

    copy = keras.models.clone_model(model, call_function=follow)
    readers.update(map(id, keras.tree.flatten(copy.outputs)))
    return {
        norm.name: writer[id(x)].name
        for norm, x in norms.items()
        if calls[norm] == calls[writer.get(id(x))] == readers[id(x)] == 1 and _plain(writer[id(x)])
    }


def _plain(layer):
    linear = getattr(layer, "activation", None) is keras.activations.linear
    return linear and type(layer) in CONVOLUTIONS and layer.data_format == "channels_last"


def _folded_weights(convolution, norm):
    """Kernels and bias of `convolution` followed by `norm`, computed in float64."""
    *kernels, kernel = [np.float64(w) for w in convolution.get_weights()[: _kernels(convolution)]]
    channels = norm.moving_mean.shape[0]
    gamma = np.float64(norm.gamma) if norm.scale else np.ones(channels)
    beta = np.float64(norm.beta) if norm.center else np.zeros(channels)
    bias = np.float64(convolution.bias) if convolution.use_bias else np.zeros(channels)
    scale = gamma / np.sqrt(np.float64(norm.moving_variance) + norm.epsilon)
    # A depthwise kernel (k, k, C, multiplier) writes channel c * multiplier + m.
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    kernel = kernel * (scale.reshape(kernel.shape[-2:]) if depthwise else scale)
    return [*kernels, kernel, beta + scale * (bias - np.float64(norm.moving_mean))]


def _kernels(convolution):
    return 2 if isinstance(convolution, keras.layers.SeparableConv2D) else 1
