"""How a network learns: its loss, its optimizers, a step on each replica; in 16 bits, by XLA."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from sslzoo import precision


class Learner(keras.Model):
    """A Keras model that may have several optimizers, and that XLA compiles replica by replica.

    What it learns from is either a loss given to `compile`, or its own `content_loss`, or, where
    there is neither, the cross-entropy of logits with the labels y.

    Attributes:
        collective: whether `content_loss` gathers from all replicas. XLA refuses that, so then
            it compiles the network alone.
        xla: whether each replica's forward and backward pass is compiled by XLA.
    """

    collective = False
    xla = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scalars: dict[str, keras.metrics.Mean] = {}

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """The outputs, in float32 whatever the layers compute in: a loss needs no less."""
        return precision.in_float32(super().call(inputs, training=training, mask=mask))

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
        if loss is None and type(self).content_loss is Learner.content_loss:
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


def replica_count() -> int:
    """By how many a loss of one replica is divided, so that the sum over them is the batch's."""
    return tf.distribute.get_strategy().num_replicas_in_sync
