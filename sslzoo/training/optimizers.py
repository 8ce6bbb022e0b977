"""The optimizers of a run, by its flags."""

from typing import Any

import keras

from sslzoo.errors import UserError
from sslzoo.training import schedules


class Optimizers:
    """The part of `Run` that makes them: `self` has its fields, which a type checker cannot see."""

    def learning_rate_schedule(
        self: Any, learning_rate: float | None = None, times: int = 1
    ) -> keras.optimizers.schedules.LearningRateSchedule:
        """The learning rate by steps, from the flags.

        A second player may have another highest one, and more steps: `times` in one of the first.
        """
        per_epoch = self.steps_per_epoch * times
        return schedules.schedule(
            self.schedule,
            learning_rate or self.learning_rate,
            self.epochs * per_epoch,
            warmup_steps=self.warmup_epochs * per_epoch,
            drops=[epoch * per_epoch for epoch in self.decay_epochs],
            factor=self.decay_factor,
        )

    def sgd(
        self: Any,
        momentum: float = 0.9,
        nesterov: bool = False,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
    ) -> keras.optimizers.Optimizer:
        """SGD with the flags' schedule and weight decay, or a second player's own.

        The papers add L2 to the gradient, where momentum multiplies it by 1 / (1 - momentum);
        Keras' decay acts on the weights alone, so it gets that factor here.
        """
        decay = self.weight_decay if weight_decay is None else weight_decay
        settings = {"momentum": momentum, "nesterov": nesterov}
        schedule = self.learning_rate_schedule(learning_rate)
        return _sparing(keras.optimizers.SGD, schedule, decay / (1 - momentum), settings)

    def adam(
        self: Any,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        learning_rate: float | None = None,
        times: int = 1,
    ) -> keras.optimizers.Optimizer:
        """Adam with the flags' schedule and weight decay.

        The decay acts on the weights alone (arXiv:1711.05101), where the papers add L2 to the
        gradient, which Adam then divides by its own scale.
        """
        schedule = self.learning_rate_schedule(learning_rate, times)
        settings = {"beta_1": beta_1, "beta_2": beta_2}
        return _sparing(keras.optimizers.Adam, schedule, self.weight_decay, settings)

    def compile_players(
        self: Any,
        pretext: Any,
        beta_1: float = 0.9,
        discriminator_learning_rate: float | None = None,
        **learning_rates: float,
    ) -> None:
        """Compiles a `TwoPlayer` with an Adam for each player; rates are those of its groups."""
        if pretext.parameter_groups:
            self.check_critic_steps(pretext.critic_steps)
        rates = {"discriminator": discriminator_learning_rate, **learning_rates}
        steps = {"discriminator": pretext.critic_steps}
        optimizers = {
            name: self.adam(beta_1, 0.999, rates.get(name), steps.get(name, 1))
            for name in pretext.parameter_groups
        }
        pretext.compile(self.adam(beta_1), optimizers=optimizers, jit_compile=self.jit_compile)

    def check_critic_steps(self: Any, steps: int) -> None:
        """Raises a `UserError` where a device's batch cannot be cut into so many equal parts."""
        replicas = self.strategy.num_replicas_in_sync
        if self.batch_size % (replicas * steps):
            raise UserError(
                f"--batch_size: expected a multiple of --critic_steps={steps} for each of the "
                f"{replicas} devices. Received: {self.batch_size}"
            )


def _sparing(
    optimizer: type, learning_rate: Any, decay: float, settings: dict[str, Any]
) -> keras.optimizers.Optimizer:
    """A new optimizer of that class whose weight decay spares all but the kernels."""
    made = optimizer(learning_rate, weight_decay=decay or None, **settings)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made
