"""The one abstraction: a pretext task is a functional Keras model that also makes its puzzles."""

import inspect

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("sslzoo")
class Pretext(keras.Model):
    """A puzzle made from unlabelled images, and the network that solves it.

    A subclass builds its network in `__init__` and hands `inputs` and `outputs` up, so it is a
    functional model from birth: it can be summarised, saved and restored before the first batch.
    Every other `__init__` argument is kept as an attribute of the same name; `get_config` reads
    them off the signature.

    Attributes:
        encoder: the part that outlives the puzzle, (B, H, W, 3) float32 in [0, 1] ->
            (B, h, w, C).
        crop: side in pixels of the square image that `transform` starts from, or 0 if it takes
            any size. Sources cut that square while they decode.
        chance_loss: the loss of a network that has learned nothing, e.g. ln N; None if there is
            no such number.
        xla: whether each replica's forward and backward pass is compiled by XLA.
    """

    crop = 0
    chance_loss = None
    xla = False

    def __init__(self, encoder, inputs, outputs, **kwargs):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.encoder = encoder

    # === The puzzle ===

    def transform(self, example):
        """Makes the puzzle out of one image. Pure: all randomness comes from `example["seed"]`.

        Args:
            example: dict of `image` (H, W, 3) float32 in [0, 1], `index` () int64 and `seed`
                (2,) int32.

        Returns:
            `(x, y)`, or `(x, y, sample_weight)`: one element of what `fit` takes.
        """
        raise NotImplementedError

    def picture(self, x, y, y_pred=None):
        """Draws one puzzle beside its solution and the network's answer: (H, W, 3) uint8."""
        raise NotImplementedError

    def puzzles(self, examples, batch_size):
        """Turns a dataset of examples into batches of puzzles; the last partial one is dropped."""
        return (
            examples.map(self.transform, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(batch_size, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    # === Training ===

    def compile(self, *args, jit_compile=False, **kwargs):
        """`keras.Model.compile`, with `jit_compile` meaning XLA inside each replica.

        Keras would put the whole distributed step into one XLA program, which fails with two
        or more replicas: the all-reduce of the gradients cannot live there. So `train_step`
        compiles forward and backward alone. The optimizer is built here, because one that is
        unbuilt when a checkpoint is restored starts again from zero.
        """
        super().compile(*args, jit_compile=False, **kwargs)
        self.xla = bool(jit_compile)
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config):
        """Compiles a loaded model as it was saved (XLA off: a matter of the machine)."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def jit(self, function):
        """`function`, compiled by XLA if this model was compiled with `jit_compile=True`."""
        return tf.function(function, jit_compile=True) if self.xla else function

    def forward_backward(self, x, y, sample_weight):
        """One replica's loss (), predictions, and gradients of the trainable variables.

        The loss is divided by the number of replicas (Keras' losses do that), so that the sum
        over replicas of the gradients is the gradient of the global batch.
        """
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            scaled = self.optimizer.scale_loss(loss)
        return loss, y_pred, tape.gradient(scaled, self.trainable_variables)

    def train_step(self, data):
        """One step on one replica's part of the batch; returns the metrics so far."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        loss, y_pred, gradients = self.jit(self.forward_backward)(x, y, sample_weight)
        self.apply_gradients(gradients)
        self.after_step(y, y_pred)
        replicas = replica_count()
        self._loss_tracker.update_state(
            loss * replicas, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0]
        )
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def apply_gradients(self, gradients):
        """Moves the trainable variables by the gradients of `forward_backward`."""
        self.optimizer.apply(gradients, self.trainable_variables)

    def after_step(self, y, y_pred):
        """Changes what lives across steps, e.g. a memory; in the replica context, without XLA."""

    # === Saving ===

    def get_config(self):
        """The `__init__` arguments, read from the attributes of the same names."""
        parameters = inspect.signature(type(self).__init__).parameters.values()
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
        config = {name: getattr(self, name) for name in names if name != "encoder"}
        return {
            **config,
            "name": self.name,
            "encoder": keras.saving.serialize_keras_object(self.encoder),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Rebuilds the model; the encoder is deserialised first."""
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects)
        return cls(**{**config, "encoder": encoder})


def replica_count():
    """By how many a loss of one replica is divided, so that the sum over them is the batch's."""
    return tf.distribute.get_strategy().num_replicas_in_sync
