"""Two players: a generator, and a discriminator that learns to tell its work from what is real."""

import keras
import tensorflow as tf
from absl import logging

from sslzoo.parts import gan_losses
from sslzoo.precision import in_float32
from sslzoo.pretext import Pretext
from sslzoo.pretext.learner import replica_count

SCALARS = ("g_loss", "d_loss", "d_real", "d_fake")  # logged of every game
WON = 0.99  # a discriminator that is right this often, on both sides, teaches the generator nothing
PATIENCE = 3  # epochs of that before the log says so


class TwoPlayer(Pretext):
    """A pretext whose network, the generator, plays against a discriminator.

    Both learn from one forward pass, before either moves; of those that are `in_turn` the generator
    learns through the discriminator that has moved. With more than one critic step the batch is cut
    into that many parts: the discriminator learns from each, the generator from the last.

    A subclass offers `content_loss` and `shown`, and may have the arguments `adversarial`, `gan`
    and `critic_steps`. Without a discriminator it is an ordinary pretext that minimises its
    `content_loss`.

    Args:
        discriminator: keras.Model, what `shown` gives -> (B, 1); None for no second player.

    Attributes:
        adversarial: weight of the generator's loss against the discriminator.
        gan: `"bce"`, `"lsgan"`, `"wgan"` or `"wgan-gp"`.
        critic_steps: discriminator's steps for one of the generator's.
        in_turn: whether the generator waits for the discriminator's step.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    adversarial = 1.0
    gan = "bce"
    critic_steps = 1
    in_turn = False

    def __init__(self, encoder, inputs, outputs, discriminator=None, **kwargs):
        super().__init__(encoder, inputs, outputs, **kwargs)
        self.discriminator = discriminator
        if discriminator:
            for v in discriminator.trainable_variables if self.gan == "wgan" else []:
                v.constraint = gan_losses.Clip()  # applied by its optimizer, after each step
                v.assign(v.constraint(v))
            self.log_scalars(*SCALARS)

    # === What a subclass offers ===

    def shown(self, x, y, y_pred):
        """`(real, fake)`: what the discriminator is shown, tensors or tuples of them."""
        raise NotImplementedError

    def verdict(self, part, training=True):
        """The discriminator's answers (B, 1) float32."""
        return in_float32(self.discriminator(part, training=training))

    # === Losses ===

    def adversarial_losses(self, real, fake):
        """D's answers (B, 1) -> the losses () of the discriminator and of the generator."""
        return gan_losses.losses(self.gan, real, fake)

    def penalty(self, real, fake, way):
        """What D's slope costs between real and fake examples, at `way` (B,); 0 but for wgan-gp."""
        return gan_losses.penalty(self.verdict, real, fake, way) if self.gan == "wgan-gp" else 0.0

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The generator's loss (), divided by the number of replicas."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if self.discriminator:
            shown = self.shown(x, y, y_pred)
            verdicts = [self.verdict(part, training) for part in shown]
            loss += self.adversarial * self.adversarial_losses(*verdicts)[1] / replica_count()
        return loss

    # === Training ===

    @property
    def parameter_groups(self):
        """The second player has an optimizer of its own, `discriminator`."""
        if not self.discriminator:
            return {}
        return {"discriminator": self.discriminator.trainable_variables}

    @property
    def generator_variables(self):
        """All that learns but the discriminator."""
        critics = {id(v) for v in self.discriminator.trainable_variables}
        return [v for v in self.trainable_variables if id(v) not in critics]

    def fit(self, *args, callbacks=None, **kwargs):
        """`keras.Model.fit`, with an eye on the balance of the players."""
        even = self.gan in ("bce", "lsgan")  # the critics of the others are meant to win
        watch = [Balance()] if self.discriminator and even else []
        return super().fit(*args, callbacks=[*(callbacks or []), *watch], **kwargs)

    def play(self, x, y, sample_weight, way, both):
        """One replica's forward and backward pass: loss, predictions, scores, gradients.

        The second of the two lists of gradients, the generator's, is empty unless `both`.
        """
        with tf.GradientTape() as tape, tf.GradientTape() as discriminator_tape:
            y_pred = self(x, training=True)
            real, fake = self.shown(x, y, y_pred)
            verdicts = [self.verdict(part) for part in (real, fake)]
            d_loss, g_loss = self.adversarial_losses(*verdicts)
            d_loss += self.penalty(real, fake, way)
            loss, terms = self._loss_and_terms(x, y, y_pred, sample_weight)
            loss += self.adversarial * g_loss / replica_count()
            d_scaled = self.optimizers["discriminator"].scale_loss(d_loss / replica_count())
            scaled = self.optimizer.scale_loss(loss)
        critics = self.parameter_groups["discriminator"]
        gradients = [discriminator_tape.gradient(d_scaled, critics), []]
        if both:
            gradients[1] = tape.gradient(scaled, self.generator_variables)
        logged = terms | self.scores(g_loss, d_loss, verdicts)
        return loss * replica_count(), y_pred, logged, gradients

    def turn(self, x, y, sample_weight, way):
        """The discriminator's step, then the generator's pass through it: as `play`, its gradients.

        XLA compiles network and losses each for itself: the discriminator's step, which speaks with
        the other replicas, lies between them.
        """
        with tf.GradientTape() as tape:
            y_pred = self.xla_compiled(lambda x: self(x, training=True))(x)
            shown = self.shown(x, y, y_pred)
            with tape.stop_recording():
                past = self.recall(*shown)
                verdicts, d_loss, gradients = self.xla_compiled(self.critique)(*past, way)
                critics = self.parameter_groups["discriminator"]
                self.optimizers["discriminator"].apply(gradients, critics)
            reply = self.xla_compiled(self.reply)
            loss, g_loss, terms = reply(x, y, y_pred, sample_weight, verdicts[0], shown[1])
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, self.generator_variables)
        logged = terms | self.scores(g_loss, d_loss, verdicts)
        return loss * replica_count(), y_pred, logged, gradients

    def recall(self, real, fake):
        """What the discriminator of those in turn learns from; memories of earlier steps, say."""
        return real, fake

    def critique(self, real, fake, way):
        """One replica's pass of the discriminator alone: verdicts, loss, gradients."""
        with tf.GradientTape() as tape:
            verdicts = [self.verdict(part) for part in (real, fake)]
            loss = self.adversarial_losses(*verdicts)[0] + self.penalty(real, fake, way)
            scaled = self.optimizers["discriminator"].scale_loss(loss / replica_count())
        return verdicts, loss, tape.gradient(scaled, self.parameter_groups["discriminator"])

    def reply(self, x, y, y_pred, sample_weight, verdict, fake):
        """The generator's loss, the adversarial part of it, logged terms; of one replica."""
        loss, terms = self._loss_and_terms(x, y, y_pred, sample_weight)
        g_loss = self.adversarial_losses(verdict, self.verdict(fake))[1]
        return loss + self.adversarial * g_loss / replica_count(), g_loss, terms

    def scores(self, g_loss, d_loss, verdicts):
        """What is logged of a step, by the names of `SCALARS`."""
        right = gan_losses.accuracies(self.gan, *verdicts)
        return dict(zip(SCALARS, [g_loss, d_loss, *right], strict=True))

    def way(self, part):
        """Where between real and fake the penalty looks: (B,) in [0, 1].

        A function of the step, so that a resumed run draws what it would have drawn. Drawn outside
        `play`, because XLA draws other numbers.
        """
        iterations = self.optimizers["discriminator"].iterations
        seed = tf.stack([tf.cast(iterations, tf.int32), 0])
        return tf.random.stateless_uniform(tf.shape(tf.nest.flatten(part)[0])[:1], seed)

    def train_step(self, data):
        """One step of the generator and `critic_steps` of the discriminator, on one replica."""
        if not self.discriminator:
            return super().train_step(data)
        data = keras.utils.unpack_x_y_sample_weight(data)
        play, critics = self.play, self.parameter_groups["discriminator"]
        compiled = self.xla_compiled if not self.collective else lambda function: function
        for i in range(self.critic_steps):
            part = [_part(tensors, i, self.critic_steps) for tensors in data]
            last = i == self.critic_steps - 1
            if last and self.in_turn:
                loss, y_pred, scalars, gradients = self.turn(*part, self.way(part))
                break
            loss, y_pred, scalars, (ours, gradients) = compiled(play)(*part, self.way(part), last)
            self.optimizers["discriminator"].apply(ours, critics)
            if not last:
                self.update_scalars(scalars)
        self.apply_gradients(gradients, self.generator_variables)
        return self.report(loss, scalars, *part[:2], y_pred, part[2])


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
                "examples: the generator learns little from it; a narrower discriminator, or a "
                "lower learning rate, may help",
                PATIENCE,
                100 * WON,
            )


def _part(tensors, i, n):
    """Every n-th row from the i-th on, of all tensors; None is None."""
    return None if tensors is None else tf.nest.map_structure(lambda t: t[i::n], tensors)
