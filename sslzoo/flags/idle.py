"""Flags that do nothing beside another: `--estimator` where `--negatives=0` compares with all rows.

A run sheet spells flags out and a command line may switch off what they belong to, so they are
no errors: the log names them.
"""

from collections.abc import Iterator
from typing import Any

CRITIC = ("gan", "critic_steps", "discriminator_width", "discriminator_learning_rate")
# A flag, its values that leave nothing to do to others, and those others.
IDLE: tuple[tuple[str, tuple[Any, ...], tuple[str, ...]], ...] = (
    ("schedule", ("constant", "cosine"), ("decay_epochs", "decay_factor")),
    ("decay_epochs", ((),), ("decay_factor",)),
    ("grey", (1.0,), ("project",)),
    ("negatives", (0,), ("estimator",)),
    ("mask", ("blocks", "region"), ("overlap",)),
    ("task", ("rotation",), ("puzzle", "grid", "tile", "num_permutations", "puzzle_area")),
    ("fc", (0,), ("dropout",)),
    ("loss", ("l2",), ("prior", "uniform", "neighbors", "temperature")),
    ("prior", ("",), ("uniform",)),
    ("content", ("mse",), ("vgg_weights",)),
    ("adversarial", (0,), (*CRITIC, "pool", "stage", "real_dataset", "discriminator_weight_decay")),
    ("adapt", ("off",), (*CRITIC, "adversarial", "pool", "stage", "real_dataset")),
    ("gan_epochs", (0,), (*CRITIC, "gan_learning_rate", "adversarial", "batch_norm")),
)


def idle(values: dict[str, Any], defaults: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(flag, the flag that leaves it nothing to do), of the flags that are not at their default."""
    for switch, off, others in IDLE:
        if values.get(switch) in off:
            yield from (
                (name, switch)
                for name in others
                if name in values and values[name] != defaults[name]
            )
