"""Mixed precision (Micikevicius et al. 2018, arXiv:1710.03740): networks that compute in 16 bits.

Weights and what is summed up stay float32: the last layers of a pretext and of a discriminator,
losses, the statistics of batch norm, memory banks, the features that are clustered or probed. So
does whatever is exported.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

Precision = Literal["float32", "mixed_float16", "mixed_bfloat16"]


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Keras' dtype policy for the layers that are made inside."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


# === Models ===


def in_policy(model: keras.Model, name: str) -> keras.Model:
    """A copy of a functional model, with the same weights, whose layers have that policy.

    The model itself where all have it.
    """
    config = model.get_config()
    if {*_policies(config)} <= {name}:
        return model
    copy = type(model).from_config(_replaced(config, name))
    copy.set_weights(model.get_weights())
    return copy


def in_float32(values: Any) -> Any:
    """Tensors, nested, whose 16-bit floats become float32."""
    return keras.tree.map_structure(_widened, values)


def _widened(value: Any) -> Any:
    narrow = keras.backend.standardize_dtype(value.dtype) in ("float16", "bfloat16")
    return keras.ops.cast(value, "float32") if narrow else value


def _policies(config: Any) -> Iterator[str]:
    """The names of all policies in a model's configuration."""
    if _is_policy(config):
        yield config["config"]["name"]
    elif isinstance(config, dict | list | tuple):
        for part in config.values() if isinstance(config, dict) else config:
            yield from _policies(part)


def _replaced(config: Any, name: str) -> Any:
    """The same configuration with one policy throughout."""
    if _is_policy(config):
        return {**config, "config": {"name": name}}
    if isinstance(config, dict):
        return {key: _replaced(value, name) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_replaced(value, name) for value in config)
    return config


def _is_policy(config: Any) -> bool:
    return isinstance(config, dict) and config.get("class_name") == "DTypePolicy"


# === Gradients ===


@keras.saving.register_keras_serializable("sslzoo")
class LossScale(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scale: small gradients survive float16, a step that overflows is skipped.

    A skipped step halves the scale, moves nothing and is no step of the learning rate's schedule.
    """

    def build(self, var_list: Any) -> None:
        """Once: Keras would make its variables again."""
        if not self.built:
            super().build(var_list)

    def check_finite(self, grads: Any) -> tf.Tensor:
        """Whether the gradients of all replicas are (): Keras believes the first replica."""
        broken = 1.0 - tf.cast(super().check_finite(grads), tf.float32)
        context = tf.distribute.get_replica_context()
        return tf.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, broken), 0.0)


def loss_scaled(
    optimizer: keras.optimizers.Optimizer, policy_name: str
) -> keras.optimizers.Optimizer:
    """The optimizer, in a `LossScale` where float16 needs one. bfloat16 has float32's range."""
    scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    return LossScale(optimizer) if policy_name == "mixed_float16" and not scaled else optimizer


def all_or_none(gradients: list[tf.Tensor | None]) -> list[tf.Tensor | None]:
    """The gradients as they are, or all of them NaN where a number of one is not finite."""
    finite = [tf.reduce_all(tf.math.is_finite(g)) for g in gradients if g is not None]
    nothing = tf.where(tf.reduce_all(finite), 0.0, float("nan"))
    return [g if g is None else g + nothing for g in gradients]
