"""Two players: a generator, and a discriminator that learns to tell its work from what is real.

The losses, for `real` and `fake`, the discriminator's answers D (B, 1):

| gan     | discriminator                                  | generator       | paper            |
|---------|------------------------------------------------|-----------------|------------------|
| bce     | -log s(real) - log(1 - s(fake)), s the sigmoid | -log s(fake)    | arXiv:1406.2661  |
| lsgan   | ((real - 1)^2 + fake^2) / 2                    | (fake - 1)^2 / 2 | arXiv:1611.04076 |
| wgan    | fake - real, weights in [-0.01, 0.01]          | -fake           | arXiv:1701.07875 |
| wgan-gp | fake - real + 10 (slope - 1)^2                 | -fake           | arXiv:1704.00028 |

The generator's loss under bce is the non-saturating one. `slope` is the norm of D's gradient at a
random point between a real and a fake example.
"""

import keras
import tensorflow as tf
from absl import logging

from sslzoo.errors import UserError
from sslzoo.pretext import Pretext, replica_count

GANS = ("bce", "lsgan", "wgan", "wgan-gp")
PENALTY = 10.0  # of wgan-gp
CLIP = 0.01  # of wgan
WON = 0.99  # a discriminator that is right this often, on both sides, teaches the generator nothing
PATIENCE = 3  # epochs of that before the log says so


class TwoPlayer(Pretext):
    """A pretext whose network, the generator, plays against a discriminator.

    Both learn from one forward pass, before either moves. With more than one critic step the
    batch is cut into that many parts: the discriminator learns from each, the generator from the
    last.

    A subclass offers `content_loss` and `shown`. Without a discriminator it is an ordinary pretext
    that minimises its `content_loss`.

    Args:
        discriminator: keras.Model, what `shown` gives -> (B, 1); None for no second player.
        adversarial: weight of the generator's loss against the discriminator.
        gan: `"bce"`, `"lsgan"`, `"wgan"` or `"wgan-gp"`.
        critic_steps: discriminator's steps for one of the generator's.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    def __init__(
        self,
        encoder,
        inputs,
        outputs,
        discriminator=None,
        adversarial=1.0,
        gan="bce",
        critic_steps=1,
        **kwargs,
    ):
        check(adversarial, gan, critic_steps)
        super().__init__(encoder, inputs, outputs, **kwargs)
        self.discriminator = discriminator
        self.adversarial = adversarial
        self.gan = gan
        self.critic_steps = critic_steps
        if discriminator:
            for v in self.discriminator_variables if gan == "wgan" else []:
                v.constraint = Clip()  # applied by its optimizer, after each step
                v.assign(v.constraint(v))
            self.scores = [keras.metrics.Mean(name=name) for name in ("g_loss", "d_loss")]
            self.scores += [keras.metrics.Mean(name=name) for name in ("d_real", "d_fake")]

    # === What a subclass offers ===

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """What the generator minimises besides: the mean over the batch (), or 0."""
        raise NotImplementedError

    def shown(self, x, y, y_pred):
        """`(real, fake)`: what the discriminator is shown, tensors or tuples of them."""
        raise NotImplementedError

    # === Losses ===

    def losses(self, real, fake):
        """D's answers (B, 1) -> the losses () of the discriminator and of the generator."""
        if self.gan == "bce":
            mean = tf.reduce_mean
            softplus = tf.nn.softplus
            return mean(softplus(-real)) + mean(softplus(fake)), mean(softplus(-fake))
        if self.gan == "lsgan":
            square = [tf.reduce_mean(tf.square(d)) / 2 for d in (real - 1, fake, fake - 1)]
            return square[0] + square[1], square[2]
        return tf.reduce_mean(fake) - tf.reduce_mean(real), -tf.reduce_mean(fake)

    def penalty(self, real, fake, share):
        """How far D's slope is from 1 between real and fake examples, at `share` (B,) of the way.

        0 but for wgan-gp.
        """
        if self.gan != "wgan-gp":
            return 0.0

        def between(a, b):
            return b + tf.reshape(share, [-1] + [1] * (a.shape.rank - 1)) * (a - b)

        points = tf.nest.map_structure(lambda a, b: tf.stop_gradient(between(a, b)), real, fake)
        with tf.GradientTape() as tape:
            tape.watch(points)
            answers = self.discriminator(points, training=True)
        slopes = tf.nest.flatten(tape.gradient(answers, points))
        squares = [tf.reduce_sum(tf.square(s), list(range(1, s.shape.rank))) for s in slopes]
        return PENALTY * tf.reduce_mean(tf.square(tf.sqrt(tf.add_n(squares) + 1e-12) - 1))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The generator's loss (), divided by the number of replicas."""
        loss = self.content_loss(x, y, y_pred, sample_weight)
        if self.discriminator:
            shown = self.shown(x, y, y_pred)
            verdicts = [self.discriminator(part, training=training) for part in shown]
            loss += self.adversarial * self.losses(*verdicts)[1]
        return loss / replica_count()

    # === Training ===

    @property
    def discriminator_variables(self):
        """The weights of the second player."""
        return self.discriminator.trainable_variables if self.discriminator else []

    @property
    def generator_variables(self):
        """All other weights that learn: encoder and generator."""
        others = {id(v) for v in self.discriminator_variables}
        return [v for v in self.trainable_variables if id(v) not in others]

    def compile(self, optimizer, discriminator_optimizer=None, **kwargs):
        """`Pretext.compile` with one optimizer for each player."""
        optimizer = keras.optimizers.get(optimizer)
        optimizer.build(self.generator_variables)  # first: else `Pretext` builds it for all
        super().compile(optimizer, **kwargs)
        if self.discriminator:
            self.discriminator_optimizer = keras.optimizers.get(discriminator_optimizer)
            self.discriminator_optimizer.build(self.discriminator_variables)

    def get_compile_config(self):
        """With the second optimizer."""
        config = super().get_compile_config()
        if config and self.discriminator:
            second = keras.saving.serialize_keras_object(self.discriminator_optimizer)
            config["discriminator_optimizer"] = second
        return config

    def fit(self, *args, callbacks=None, **kwargs):
        """`keras.Model.fit`, with an eye on the balance of the players."""
        even = self.gan in ("bce", "lsgan")  # the critics of the others are meant to win
        watch = [Balance()] if self.discriminator and even else []
        return super().fit(*args, callbacks=[*(callbacks or []), *watch], **kwargs)

    def play(self, x, y, sample_weight, share, both):
        """One replica's forward and backward pass: loss, predictions, scores, gradients.

        The second of the two lists of gradients, the generator's, is empty unless `both`.
        """
        with tf.GradientTape() as tape, tf.GradientTape() as discriminator_tape:
            y_pred = self(x, training=True)
            real, fake = self.shown(x, y, y_pred)
            verdicts = [self.discriminator(part, training=True) for part in (real, fake)]
            d_loss, g_loss = self.losses(*verdicts)
            d_loss += self.penalty(real, fake, share)
            loss = self.content_loss(x, y, y_pred, sample_weight) + self.adversarial * g_loss
            scaled = [d_loss / replica_count(), loss / replica_count()]
        gradients = [discriminator_tape.gradient(scaled[0], self.discriminator_variables), []]
        if both:
            gradients[1] = tape.gradient(scaled[1], self.generator_variables)
        return loss, y_pred, [g_loss, d_loss, *self.accuracies(*verdicts)], gradients

    def share(self, part):
        """Where the penalty looks: (B,) in [0, 1].

        A function of the step, so that a resumed run draws what it would have drawn. Drawn outside
        `play`, because XLA draws other numbers.
        """
        seed = tf.stack([tf.cast(self.discriminator_optimizer.iterations, tf.int32), 0])
        return tf.random.stateless_uniform(tf.shape(tf.nest.flatten(part)[0])[:1], seed)

    def accuracies(self, real, fake):
        """Shares of real and of fake examples that D takes for what they are.

        The border is 0 for bce and 1/2 for lsgan; for the others, which have none, midway between
        the means, of a replica's part.
        """
        middle = (tf.reduce_mean(real) + tf.reduce_mean(fake)) / 2
        border = {"bce": 0.0, "lsgan": 0.5}.get(self.gan, middle)
        right = [real > border, fake < border]
        return [tf.reduce_mean(tf.cast(part, tf.float32)) for part in right]

    def train_step(self, data):
        """One step of the generator and `critic_steps` of the discriminator, on one replica."""
        if not self.discriminator:
            return super().train_step(data)
        data = keras.utils.unpack_x_y_sample_weight(data)
        play = self.jit(self.play)
        for i in range(self.critic_steps):
            part = [_part(tensors, i, self.critic_steps) for tensors in data]
            both = i == self.critic_steps - 1
            loss, y_pred, scores, gradients = play(*part, self.share(part), both)
            self.discriminator_optimizer.apply(gradients[0], self.discriminator_variables)
            for metric, score in zip(self.scores, scores, strict=True):
                metric.update_state(score)
        self.optimizer.apply(gradients[1], self.generator_variables)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(data)[0])[0])
        return self.compute_metrics(*part[:2], y_pred, part[2])


class Clip(keras.constraints.Constraint):
    """Keeps weights in [-0.01, 0.01], so that the critic's slope is bounded."""

    def __call__(self, value):
        """Any shape -> the same, clipped."""
        return keras.ops.clip(value, -CLIP, CLIP)


class Balance(keras.callbacks.Callback):
    """Warns, once, when the discriminator has won for some epochs on end."""

    def __init__(self):
        super().__init__()
        self.won = 0

    def on_epoch_end(self, epoch, logs=None):
        """Counts the epochs in which nearly no example fooled it."""
        right = min(logs["d_real"], logs["d_fake"])
        self.won = self.won + 1 if right > WON else 0
        if self.won == PATIENCE:
            logging.warning(
                "for %d epochs the discriminator has been right about more than %.0f %% of the "
                "examples: the generator learns little from it; try a lower "
                "--discriminator_learning_rate",
                PATIENCE,
                100 * WON,
            )


def _part(tensors, i, n):
    """Every n-th row from the i-th on, of all tensors; None is None."""
    return None if tensors is None else tf.nest.map_structure(lambda t: t[i::n], tensors)


def check(adversarial, gan, critic_steps):
    """Raises a `UserError` that names the flag."""
    if adversarial < 0:
        raise UserError(f"--adversarial: expected a weight, 0 or more. Received: {adversarial}")
    if gan not in GANS:
        raise UserError(f"--gan: expected one of {', '.join(GANS)}. Received: {gan!r}")
    if critic_steps < 1:
        raise UserError(f"--critic_steps: expected 1 or more. Received: {critic_steps}")
