"""The losses of two players, for `real` and `fake`, the discriminator's answers D (B, 1):

| gan     | discriminator                                  | generator       | paper            |
|---------|------------------------------------------------|-----------------|------------------|
| bce     | -log s(real) - log(1 - s(fake)), s the sigmoid | -log s(fake)    | arXiv:1406.2661  |
| lsgan   | ((real - 1)^2 + fake^2) / 2                    | (fake - 1)^2 / 2 | arXiv:1611.04076 |
| wgan    | fake - real, weights in [-0.01, 0.01]          | -fake           | arXiv:1701.07875 |
| wgan-gp | fake - real + 10 (slope - 1)^2                 | -fake           | arXiv:1704.00028 |

The generator's loss under bce is the non-saturating one. `slope` is the norm of D's gradient at a
random point between a real and a fake example.
"""

from typing import Literal

import keras
import tensorflow as tf

GAN = Literal["bce", "lsgan", "wgan", "wgan-gp"]
PENALTY = 10.0  # of wgan-gp
CLIP = 0.01  # of wgan


def losses(gan, real, fake):
    """D's answers (B, 1) -> the losses () of the discriminator and of the generator."""
    mean = tf.reduce_mean
    if gan == "bce":
        softplus = tf.nn.softplus
        return mean(softplus(-real)) + mean(softplus(fake)), mean(softplus(-fake))
    if gan == "lsgan":
        square = [mean(tf.square(d)) / 2 for d in (real - 1, fake, fake - 1)]
        return square[0] + square[1], square[2]
    if gan in ("wgan", "wgan-gp"):
        return mean(fake) - mean(real), -mean(fake)
    raise NotImplementedError(gan)


def penalty(verdict, real, fake, way):
    """How far D's slope is from 1 between real and fake examples, at `way` (B,) in [0, 1]: ().

    Args:
        verdict: function, examples -> D's answers (B, 1).
        real, fake: tensors (B, ...) or tuples of them.
        way: (B,), 0 at the fake ones.
    """

    def between(a, b):
        return b + tf.reshape(way, [-1] + [1] * (a.shape.rank - 1)) * (a - b)

    points = tf.nest.map_structure(lambda a, b: tf.stop_gradient(between(a, b)), real, fake)
    with tf.GradientTape() as tape:
        tape.watch(points)
        answers = verdict(points)
    slopes = tf.nest.flatten(tape.gradient(answers, points))
    squares = [tf.reduce_sum(tf.square(s), list(range(1, s.shape.rank))) for s in slopes]
    return PENALTY * tf.reduce_mean(tf.square(tf.sqrt(tf.add_n(squares) + 1e-12) - 1))


class Clip(keras.constraints.Constraint):
    """Keeps weights in [-0.01, 0.01], so that the critic's slope is bounded."""

    def __call__(self, value):
        """Any shape -> the same, clipped."""
        return keras.ops.clip(value, -CLIP, CLIP)


def accuracies(gan, real, fake):
    """Shares of real and of fake examples that D takes for what they are.

    The border is 0 for bce and 1/2 for lsgan; for the others, which have none, midway between
    the means, of a replica's part.
    """
    middle = (tf.reduce_mean(real) + tf.reduce_mean(fake)) / 2
    border = {"bce": 0.0, "lsgan": 0.5}.get(gan, middle)
    right = [real > border, fake < border]
    return [tf.reduce_mean(tf.cast(part, tf.float32)) for part in right]
