"""The few layers that Keras lacks, or computes slowly on a CPU."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops


def _saved_as_stock(layer):
    """Has files call this subclass of a stock layer by the stock layer's name.

    So a saved model names nothing of sslzoo and loads without it, slower. Where sslzoo is imported,
    it loads as this class again. Keras writes a class into a file under its __module__ and
    __name__, and an unregistered class with its bare name as "registered_name". A stock layer's is
    null there, so the entry below only catches our own. See tests/test_layers.py.
    """
    stock = layer.__bases__[0].__name__
    layer.__module__, layer.__name__ = "keras.layers", stock
    keras.saving.get_custom_objects()[stock] = layer
    return layer


@_saved_as_stock
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that computes its groups as separate convolutions.

    Takes (B, H, W, C), gives (B, h, w, filters). TensorFlow's own grouped convolution trains
    AlexNet (groups=2) about three times slower on two cores (`tools/bench_encoders.py`). There is
    one kernel, (k, k, C / groups, filters), laid out as the stock layer's, and the result is the
    same.
    """

    def convolution_op(self, inputs, kernel):
        """Convolves each slice of the channels with its own part of the kernel's filters."""
        if self.groups == 1 or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)
        slices = ops.split(inputs, self.groups, axis=-1)  # (B, H, W, C / groups) each
        kernels = ops.split(kernel, self.groups, axis=-1)  # (k, k, C / groups, filters / groups)
        convolve = super().convolution_op
        return ops.concatenate([convolve(x, k) for x, k in zip(slices, kernels, strict=True)], -1)


@_saved_as_stock
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that trains through TensorFlow's fused operation.

    Takes and gives (B, H, W, C). On a CPU the stock layer's many small operations cost about
    twice as much (`tools/bench_encoders.py`). Outputs, gradients and moving averages are the stock
    layer's, up to rounding; what the operation cannot do (vectors, masks, `renorm`, float64,
    statistics over replicas) goes the stock way, as does inference.
    """

    def call(self, inputs, training=None, mask=None):
        """(B, H, W, C) -> the same shape, normalised by the batch where that is trained."""
        if not (training and self.trainable and mask is None and self._fusible(inputs)):
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.ones([channels]) if self.gamma is None else tf.convert_to_tensor(self.gamma),
            tf.zeros([channels]) if self.beta is None else tf.convert_to_tensor(self.beta),
            epsilon=self.epsilon,
        )
        values = tf.cast(tf.size(inputs) // channels, tf.float32)  # of a channel
        biased = variance * tf.maximum(values - 1, 1) / values  # the operation's is unbiased
        for average, now in ((self.moving_mean, mean), (self.moving_variance, biased)):
            average.assign(average * self.momentum + now * (1 - self.momentum))
        return outputs

    def _fusible(self, inputs):
        plain = self.axis in (-1, 3) and not self.renorm and not self.synchronized
        return plain and inputs.shape.rank == 4 and inputs.dtype != tf.float64


@_saved_as_stock
class ChannelRescaling(keras.layers.Rescaling):
    """`keras.layers.Rescaling` with a scale and an offset for each channel, a row at a time.

    Takes and gives (B, H, W, C), the stock layer's numbers; all else goes the stock way. On a CPU
    TensorFlow multiplies along an axis that is 3 long three times slower than along one of W * 3.
    """

    def call(self, inputs):
        """(B, H, W, C), any of them unknown but C -> the same shape."""
        by_channel = np.ndim(self.scale) == np.ndim(self.offset) == 1
        channels_last = keras.config.image_data_format() == "channels_last"
        if not (by_channel and channels_last and len(inputs.shape) == 4):
            return super().call(inputs)
        inputs = ops.cast(inputs, self.compute_dtype)
        batch, height, width, channels = shape = ops.shape(inputs)
        rows = ops.reshape(inputs, (batch * height, width * channels))
        scale, offset = (ops.cast(x, inputs.dtype) for x in (self.scale, self.offset))
        return ops.reshape(rows * tf.tile(scale, [width]) + tf.tile(offset, [width]), shape)


def local_response_normalization(channels, name, window=5, alpha=1e-4):
    """Caffe's LRN across channels with beta 0.75 and k 1, as a model of stock Keras operations.

    y_c = x_c / (1 + alpha / window * sum of x_d^2 over the window around c)^0.75. Caffe divides
    alpha by the window length, `tf.nn.local_response_normalization` does not.

    TensorFlow's operation is no Keras layer, so a file could not name it. Here the sum over
    neighbours is a product with a band matrix, as fast on a CPU; sums of shifted slices are three
    times slower. The band is derived from the input so that neither a weight nor a (C, C) table
    lands in the file.

    Returns:
        keras.Model, (B, H, W, channels) -> the same shape, without weights.
    """
    x = keras.Input((None, None, channels))
    # The sum of a corner's zeros is one pixel's zeros, even for an empty batch.
    zeros = ops.sum(ops.zeros_like(x[:1, :1, :1]), axis=(0, 1, 2))  # (C,)
    index = ops.cumsum(zeros + 1.0)  # (C,)
    distance = ops.absolute(ops.expand_dims(index, 0) - ops.expand_dims(index, 1))  # (C, C)
    band = ops.minimum(ops.relu(window // 2 + 1.0 - distance), 1.0)  # 1 within the window, else 0
    sums = ops.matmul(ops.square(x), ops.stop_gradient(band))  # (B, H, W, C)
    scale = ops.rsqrt(1.0 + (alpha / window) * sums)
    return keras.Model(x, x * scale * ops.sqrt(scale), name=name)  # s^-1/2 * s^-1/4; pow is slow


@keras.saving.register_keras_serializable("sslzoo")
class FoldedTimeDistributed(keras.layers.TimeDistributed):
    """`keras.layers.TimeDistributed` that calls its layer once, on (B * n, ...).

    (B, n, ...) -> (B, n, ...). The stock layer calls its layer n times: slower by a sixth on
    nine tiles and twice as long to trace. Folded, a BatchNormalization inside sees the
    statistics of all n tiles at once and updates its moving averages once per step, not n times.
    """

    def call(self, inputs, training=None, mask=None):
        """Folds (B, n, ...) into (B * n, ...), calls the layer, unfolds. B and n may be unknown.

        A masked input goes the stock way.
        """
        if mask is not None:
            return super().call(inputs, training=training, mask=mask)
        batch, steps, *shape = ops.shape(inputs)
        folded = ops.reshape(inputs, (batch * steps, *shape))  # (B * n, ...)
        if self.layer._call_has_training_arg:
            outputs = self.layer(folded, training=training)
        else:
            outputs = self.layer(folded)
        return ops.reshape(outputs, (batch, steps, *ops.shape(outputs)[1:]))  # (B, n, ...)


@keras.saving.register_keras_serializable("sslzoo")
class ReplicaDropout(keras.layers.Dropout):
    """`keras.layers.Dropout` that drops other units on each replica, in a head.

    The stock layer's state is the same on all replicas, so they would share one mask. An encoder
    has the stock one all the same: its file names nothing of sslzoo.
    """

    def call(self, inputs, training=False):
        """One replica drops what the stock layer would."""
        context = tf.distribute.get_replica_context()
        if not (training and self.rate) or context is None or context.num_replicas_in_sync == 1:
            return super().call(inputs, training=training)
        seed = tf.cast(self.seed_generator.next() % (2**31 - 1), tf.int32)
        seed = tf.random.fold_in(seed, context.replica_id_in_sync_group, alg="philox")
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)


@keras.saving.register_keras_serializable("sslzoo")
class ChannelWiseDense(keras.layers.Layer):
    """A fully connected layer inside each channel (arXiv:1604.07379): (B, h, w, C) -> the same.

    Every output pixel of a channel sees all pixels of that channel and of no other: C * (h * w)^2
    weights, where a dense layer would have C times as many.
    """

    def build(self, shape):
        """h, w and C must be known."""
        _, height, width, channels = shape
        pixels = height * width
        limit = (6 / (pixels + pixels)) ** 0.5  # Glorot's, with the fans of one channel
        self.kernel = self.add_weight(
            shape=(channels, pixels, pixels),
            initializer=keras.initializers.RandomUniform(-limit, limit),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(pixels, channels), initializer="zeros", name="bias")

    def call(self, inputs):
        """Sums over the pixels i of a channel c, for each of its pixels j."""
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height * width, channels))  # (B, i, c)
        x = ops.einsum("bic,cij->bjc", x, self.kernel) + self.bias
        return ops.reshape(x, (-1, height, width, channels))

    def compute_output_shape(self, shape):
        """The input's."""
        return shape


@keras.saving.register_keras_serializable("sslzoo")
class PixelShuffle(keras.layers.Layer):
    """Channels become pixels (arXiv:1609.05158): (B, h, w, 4 C) -> (B, 2 h, 2 w, C).

    In TensorFlow's order: channel (2 i + j) C + c goes to row i, column j of channel c.
    """

    def call(self, inputs):
        """h and w may be unknown."""
        return tf.nn.depth_to_space(inputs, 2)
