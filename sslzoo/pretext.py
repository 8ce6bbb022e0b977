"""The one abstraction: a pretext task is a functional Keras model that also makes its puzzles."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sslzoo import precision
from sslzoo.errors import UserError
from sslzoo.flags import ranges

NOT_KEPT = ("self", "encoder", "inputs", "outputs", "kwargs")  # of the arguments of `__init__`


@keras.saving.register_keras_serializable("sslzoo")
class Pretext(keras.Model):
    """A puzzle made from unlabelled images, and the network that solves it.

    A subclass builds its network in `__init__` and hands `inputs` and `outputs` up, so it is a
    functional model from birth: it can be summarised, saved and restored before the first batch.
    Every other argument of the class's own `__init__` is kept: as an attribute of the same name,
    from that moment on, and for `get_config`. Annotations (see `sslzoo.flags.ranges`) are checked
    before `__init__` runs.

    What it learns from is either a loss given to `compile`, or its own `content_loss`, or, where
    there is neither, the cross-entropy of logits with the labels y.

    Attributes:
        encoder: the part that outlives the puzzle, (B, H, W, 3) float32 in [0, 1] ->
            (B, h, w, C).
        crop: side in pixels of the square image that `transform` starts from, or 0 if it takes
            any size. Sources cut that square while they decode.
        centered: whether it is the middle of the image; else it is a random one.
        chance_loss: the loss of a network that has learned nothing, e.g. ln N; None if there is
            no such number.
        sees: what its encoder was trained on, where that is anything else than whole images in
            colour; for whoever reads the card of an export.
        collective: whether `content_loss` gathers from all replicas. XLA refuses that, so then
            it compiles the network alone.
        xla: whether each replica's forward and backward pass is compiled by XLA.
    """

    crop = 0
    centered = False
    chance_loss: float | None = None
    sees = "whole images in colour"
    collective = False
    xla = False

    def __new__(cls, *args: Any, **kwargs: Any) -> "Pretext":
        """Keeps the arguments of `__init__`; Keras calls this without any, for its own ends."""
        pretext = super().__new__(cls, *args, **kwargs)
        bound = inspect.signature(cls.__init__).bind_partial(pretext, *args, **kwargs)
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name not in NOT_KEPT}
        ranges.check(cls.__init__, arguments)
        # Past Keras' __setattr__, which is not ready yet.
        pretext.__dict__["_arguments"] = {k: _plain(v) for k, v in arguments.items()}
        return pretext

    def __init__(self, encoder: keras.Model, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.encoder = encoder
        for name, value in self._arguments.items():
            setattr(self, name, value)
        self.scalars: dict[str, keras.metrics.Mean] = {}

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The outputs, in float32 whatever the layers compute in: a loss needs no less."""
        return precision.in_float32(super().call(inputs, training=training, mask=mask))

    # === The puzzle ===

    def transform(self, example: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        """Makes the puzzle out of one image. Pure: all randomness comes from `example["seed"]`.

        Args:
            example: dict of `image` (H, W, 3) float32 in [0, 1], of `crop` x `crop` pixels if
                there is a `crop`; `index` () int64; and `seed` (2,) int32.
                Traced without AutoGraph, whose conversion takes longer than the tracing: for an
                `if` on a tensor use `tf.cond`, or `tf.function` on the method.

        Returns:
            `(x, y)`, or `(x, y, sample_weight)`: one element of what `fit` takes.
        """
        raise NotImplementedError

    def picture(self, x: Any, y: Any, y_pred: Any = None) -> np.ndarray:
        """Draws one puzzle beside its solution and the network's answer: (H, W, 3) uint8."""
        raise NotImplementedError

    def puzzles(self, examples: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """Turns a dataset of examples into batches of puzzles; the last partial one is dropped."""
        shape = examples.element_spec["image"].shape
        if self.crop and not shape[:2].is_compatible_with((self.crop, self.crop)):
            raise UserError(
                f"--crop: expected examples of {self.crop} x {self.crop} pixels, as "
                f"source.examples(crop={self.crop}) gives them. Received: {shape}"
            )
        transform = tf.autograph.experimental.do_not_convert(self.transform)
        return (
            examples.map(transform, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(batch_size, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """Whole images (B, H, W, 3) in [0, 1] -> (B, C): the encoder's last maps, averaged."""
        maps = precision.in_float32(self.encoder(pixels, training=False))
        return tf.reduce_mean(maps, (1, 2))

    # === The loss ===

    def content_loss(
        self, x: Any, y: Any, y_pred: Any, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor | dict[str, tf.Tensor] | None:
        """What is minimised: the mean over one replica's part of the batch ().

        Or a dict of terms, whose sum is minimised. Those named in `log_scalars` are logged too.
        """
        return None

    def log_scalars(self, *names: str) -> None:
        """Has `log.csv` show the running means of these scalars: terms of the loss, say."""
        self.scalars = {**self.scalars, **{name: keras.metrics.Mean(name=name) for name in names}}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        """The loss (), divided by the number of replicas, as Keras' own losses are.

        So the sum over replicas of the gradients is the gradient of the global batch.
        """
        return self._loss_and_terms(x, y, y_pred, sample_weight, training)[0]

    def _loss_and_terms(
        self, x: Any, y: Any, y_pred: Any, sample_weight: tf.Tensor | None, training: bool = True
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        content = self.content_loss(x, y, y_pred, sample_weight)
        if content is None:
            loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
            return loss, {}
        terms = content if isinstance(content, dict) else {"content": content}
        logged = {name: terms[name] for name in self.scalars if name in terms}
        return sum(terms.values()) / replica_count(), logged

    # === Training ===

    @property
    def parameter_groups(self) -> dict[str, list[keras.Variable]]:
        """Variables by the name of the optimizer that moves them; the first one moves the rest."""
        return {}

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer | str,
        loss: Any = None,
        *,
        metrics: Any = None,
        optimizers: dict[str, keras.optimizers.Optimizer | str] | None = None,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """`keras.Model.compile`, with more than one optimizer, and XLA inside each replica.

        Keras would put the whole distributed step into one XLA program, which fails with two
        or more replicas: the all-reduce of the gradients cannot live there. So `train_step`
        compiles forward and backward alone. Optimizers are built here, because one that is
        unbuilt when a checkpoint is restored starts again from zero. In float16 each gets a
        `precision.LossScale`.

        Args:
            optimizer: moves all weights that learn but those of the groups.
            loss: of `y` and the outputs; default: `content_loss`, or else cross-entropy.
            metrics: default: with cross-entropy the accuracy.
            optimizers: one for each of `parameter_groups`, by name.
            jit_compile: Keras' word for XLA.
            **kwargs: the others of `keras.Model.compile`.
        """
        if loss is None and type(self).content_loss is Pretext.content_loss:
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            metrics = ["accuracy"] if metrics is None else metrics
        groups, given = self.parameter_groups, dict(optimizers or {})
        if {*given} != {*groups}:
            raise ValueError(
                f"compile: expected optimizers for {sorted(groups)}. Received: {sorted(given)}"
            )
        first, *others = (
            precision.loss_scaled(keras.optimizers.get(one), self.dtype_policy.name)
            for one in (optimizer, *given.values())
        )
        super().compile(first, loss, metrics=metrics, jit_compile=False, **kwargs)
        self.xla = bool(jit_compile)
        self.optimizers = dict(zip(given, others, strict=True))
        self.optimizer.build(self.ungrouped_variables)
        for name, one in self.optimizers.items():
            one.build(groups[name])

    @property
    def ungrouped_variables(self) -> list[keras.Variable]:
        """The weights that learn and are in none of the `parameter_groups`."""
        grouped = {id(v) for group in self.parameter_groups.values() for v in group}
        return [v for v in self.trainable_variables if id(v) not in grouped]

    def get_compile_config(self) -> dict[str, Any] | None:
        """With the other optimizers."""
        config = super().get_compile_config()
        if config and self.optimizers:
            config["optimizers"] = {
                name: keras.saving.serialize_keras_object(one)
                for name, one in self.optimizers.items()
            }
        return config

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was saved (XLA off: a matter of the machine)."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def xla_compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, compiled by XLA if this model was compiled with `jit_compile=True`."""
        return tf.function(function, jit_compile=True) if self.xla else function

    def forward_backward(
        self, x: Any, y: Any, sample_weight: tf.Tensor | None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], Any, list[tf.Tensor]]:
        """One replica's loss (), logged terms, predictions, and gradients of what learns."""

        def network(x: Any) -> Any:
            return self(x, training=True)

        with tf.GradientTape() as tape:
            y_pred = (self.xla_compiled(network) if self.collective else network)(x)
            loss, terms = self._loss_and_terms(x, y, y_pred, sample_weight)
            scaled = self.optimizer.scale_loss(loss)
        return loss, terms, y_pred, tape.gradient(scaled, self.trainable_variables)

    def train_step(self, data: tuple[Any, ...]) -> dict[str, tf.Tensor]:
        """One step on one replica's part of the batch; returns the metrics so far."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        step = self.forward_backward
        step = step if self.collective else self.xla_compiled(step)
        loss, terms, y_pred, gradients = step(x, y, sample_weight)
        self.apply_gradients(gradients)
        self.after_step(y, y_pred)
        return self.report(loss * replica_count(), terms, x, y, y_pred, sample_weight)

    def apply_gradients(
        self, gradients: list[tf.Tensor], variables: list[keras.Variable] | None = None
    ) -> None:
        """Moves the trainable variables, or some of them, each by its group's optimizer.

        All or none of them, where several optimizers share the loss.
        """
        variables = self.trainable_variables if variables is None else variables
        gradients = self.rescaled(gradients, variables) if self.optimizers else gradients
        pairs = {id(v): (g, v) for g, v in zip(gradients, variables, strict=True)}
        groups = {name: self.parameter_groups[name] for name in self.optimizers}
        for optimizer, group in [
            (self.optimizer, self.ungrouped_variables),
            *((self.optimizers[name], group) for name, group in groups.items()),
        ]:
            moved = [pairs[id(v)] for v in group if id(v) in pairs]
            if moved:
                optimizer.apply(*zip(*moved, strict=True))

    def rescaled(
        self, gradients: list[tf.Tensor], variables: list[keras.Variable]
    ) -> list[tf.Tensor]:
        """Gradients of one loss, scaled as the first optimizer wants it, as each one wants it."""
        if self.dtype_policy.name != "mixed_float16":
            return gradients
        ours = self.optimizer.scale_loss(1.0)
        factors: dict[int, tf.Tensor] = {}
        for name, one in self.optimizers.items():
            factor = one.scale_loss(1.0) / ours  # exact, a power of 2
            factors |= {id(v): factor for v in self.parameter_groups[name]}
        pairs = zip(precision.all_or_none(gradients), variables, strict=True)
        return [g if g is None else g * factors.get(id(v), 1.0) for g, v in pairs]

    def after_step(self, y: Any, y_pred: Any) -> None:
        """Changes what lives across steps, e.g. a memory; in the replica context, without XLA."""

    def report(
        self,
        loss: tf.Tensor,
        scalars: dict[str, tf.Tensor],
        x: Any,
        y: Any,
        y_pred: Any,
        sample_weight: tf.Tensor | None,
    ) -> dict[str, tf.Tensor]:
        """Adds a step to the running means; returns them and the metrics so far."""
        rows = tf.shape(tf.nest.flatten(x)[0])[0]
        self._loss_tracker.update_state(loss, sample_weight=rows)
        self.update_scalars(scalars)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def update_scalars(self, scalars: dict[str, tf.Tensor]) -> None:
        """Adds one value to the running mean of each."""
        for name, value in scalars.items():
            self.scalars[name].update_state(value)

    # === Saving ===

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`, and the dtype policy of the layers."""
        encoder = keras.saving.serialize_keras_object(self.encoder)
        own = {"name": self.name, "encoder": encoder, "dtype": self.dtype_policy.name}
        return {**self._arguments, **own}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Pretext":
        """Rebuilds the model; the encoder is deserialised first."""
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects)
        arguments = {**config, "encoder": encoder}
        with precision.policy(arguments.pop("dtype", "float32")):
            return cls(**arguments)


def _plain(value: Any) -> Any:
    """What JSON can hold, for an argument that may be an array."""
    return value.tolist() if hasattr(value, "tolist") else value


def unfold(*arrays: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Batches of R puzzles an image, (B, R, ...), as (B * R, ...): an image's R in a row."""
    return tuple(tf.reshape(array, (-1, *array.shape[2:])) for array in arrays)


def replica_count() -> int:
    """By how many a loss of one replica is divided, so that the sum over them is the batch's."""
    return tf.distribute.get_strategy().num_replicas_in_sync
