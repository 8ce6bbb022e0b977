"""Learning rates by steps."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("sslzoo")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule, reached linearly over the first `steps` steps (arXiv:1706.02677)."""

    def __init__(self, schedule, steps):
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        """The learning rate at `step`."""
        fraction = (tf.cast(step, tf.float32) + 1) / max(self.steps, 1)
        return self.schedule(step) * tf.minimum(fraction, 1)

    def get_config(self):
        """Serialised with its inner schedule."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        """Deserialises the inner schedule too."""
        return cls(keras.saving.deserialize_keras_object(config["schedule"]), config["steps"])


def schedule(kind, learning_rate, total_steps, warmup_steps=0, drops=(), factor=0.1):
    """A learning rate by steps.

    Args:
        kind: `"constant"`, `"cosine"` (to 0 at the end) or `"step"` (times `factor` at each drop).
        learning_rate: the highest one.
        total_steps: of the whole run.
        warmup_steps: linear rise at the start.
        drops: steps at which `"step"` drops.
        factor: of each drop.
    """
    if kind == "cosine":
        body = keras.optimizers.schedules.CosineDecay(learning_rate, total_steps)
    else:
        drops = [int(drop) for drop in drops] if kind == "step" else []
        rates = [learning_rate * factor**i for i in range(len(drops) + 1)]
        # One boundary past the end, because Keras wants at least one.
        body = keras.optimizers.schedules.PiecewiseConstantDecay(
            [*drops, max([total_steps, *drops]) + 1], [*rates, rates[-1]]
        )
    return WarmUp(body, int(warmup_steps)) if warmup_steps else body
