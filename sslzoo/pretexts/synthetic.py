"""Multi-task learning from synthetic imagery (Ren & Lee 2018, arXiv:1711.09082).

Rendered images come with their contours, depth and surface normals for nothing. The network tells
all three from one image. Against a discriminator, which tells features of rendered images from
those of real ones, it learns features that do not know the difference.
"""

import re

import keras
import tensorflow as tf

from sslzoo import pictures
from sslzoo.errors import UserError
from sslzoo.flags.ranges import OptionalCount, OptionalWidth, Pixels, Share, Weight, Width
from sslzoo.images import split_seed
from sslzoo.parts import map_heads
from sslzoo.parts.adversarial import TwoPlayer
from sslzoo.parts.history import History
from sslzoo.pictures.maps import shown_map
from sslzoo.precision import in_float32

HOLE = -100.0  # in place of the logarithm of a depth that is not known
LEAST_EDGES = 350 / 227**2  # share of the pixels; the authors leave out images that have fewer


@keras.saving.register_keras_serializable("sslzoo")
class Synthetic(TwoPlayer):
    """Where are the contours, how far is it, which way does it face?

    `Synthetic(encoders.get("alexnet_ren"), crop=227, hidden=4096, grey=True)` is the paper's
    network. A task of weight 0 is left out, and with `adversarial=0` the second stream.

    The players move in turn, as the authors': first the discriminator, which sees features of
    earlier steps too; then the base network, to which only the features of synthetic images bring
    the discriminator's gradient.

    Departures from the paper: the scale-invariant part of the depth's loss is subtracted, as
    published (arXiv:1406.2283), where the authors' code adds it, and taken image by image; depth
    under one metre has a logarithm like any other; images with few contours are not left out, but
    their weight grows no further below 350 in 227 x 227 pixels; real images are cut, not squashed;
    weights start as DCGAN's; `grey` draws the channel for each image, not for the batch. Heads on
    encoders that end at another size than AlexNet's 13 pixels double it by kernels of 4.

    Args:
        encoder: (B, H, W, 3) in [0, 1] -> (B, h, w, C).
        crop: side of the square images in pixels: the encoder's h times a power of 2, or 227.
        edges: weight of the cross-entropy of contours.
        depth: weight of the depth's loss.
        normals: weight of the normals' loss, 1 - cosine.
        adversarial: weight of the adversarial loss; 0 for no real images and no discriminator.
        scale_invariance: how little the mean error of the logarithm of depth counts, from 0 to 1.
        stage: whose features the discriminator sees, before their ReLU; empty takes the last.
        pool: features of earlier steps that are kept of each domain; 0 for none.
        grey: show one channel three times, so that colour does not tell the domains apart.
        hidden: channels of two more layers that the heads share, AlexNet's fc6 and fc7; 0 for none.
        width: channels of the heads.
        discriminator_width: its channels.
        batch_norm: in heads and discriminator.

    Raises:
        UserError: an argument is out of range; the message names the flag.
    """

    in_turn = True

    def __init__(
        self,
        encoder,
        crop: Pixels = 64,
        edges: Weight = 1.0,
        depth: Weight = 5.0,
        normals: Weight = 10.0,
        adversarial: Weight = 0.05,
        scale_invariance: Share = 0.5,
        stage="",
        pool: OptionalCount = 128,
        grey=False,
        hidden: OptionalWidth = 0,
        width: Width = 64,
        discriminator_width: Width = 512,
        batch_norm=True,
        **kwargs,
    ):
        weights = {"edges": edges, "depth": depth, "normals": normals}
        wanted = [name for name, weight in weights.items() if weight]
        if not wanted:
            raise UserError("--edges, --depth, --normals: expected one that is not 0. Received: 0")
        # === Functional model ===
        images = {"synthetic": keras.Input((crop, crop, 3), name="synthetic")}
        tapped = _tapped(encoder, stage)
        features, maps = tapped(images["synthetic"])
        head = map_heads.heads(maps.shape[1:], crop, wanted, hidden, width, batch_norm)
        outputs, critic = {**head(maps)}, None
        if adversarial:
            images["real"] = keras.Input((crop, crop, 3), name="real")
            outputs["synthetic"] = features
            outputs["real"] = tapped(images["real"])[0]
            critic = map_heads.discriminator(features.shape[1:], discriminator_width, batch_norm)
        super().__init__(encoder, images, outputs, critic, **kwargs)
        self.head = head
        self.tasks = {name: weights[name] for name in wanted}
        self.log_scalars(*wanted)
        for name in ("real", "synthetic") if critic and pool else ():
            setattr(
                self, f"{name}_history", History(pool, features.shape[1:], name=f"{name}_history")
            )

    @property
    def sees(self):
        """Rendered images, and with a discriminator real ones."""
        kinds = "rendered and real" if self.adversarial else "rendered"
        colours = ", one channel three times" if self.grey else " in colour"
        return f"whole {kinds} images{colours}"

    def transform(self, example):
        """An image with its maps, and a real image, `real`, if there is a discriminator.

        Returns:
            `(x, y)`: dicts of `synthetic` and `real` (crop, crop, 3) in [0, 1], and of `edges`,
            `depth` (crop, crop, 1), the logarithm of metres or `HOLE`, and `normals` (crop, crop,
            3), (0, 0, 0) where there is none.
        """
        pixels = {"synthetic": example["image"]}
        if self.adversarial:
            pixels["real"] = example["real"]
        if self.grey:
            seeds = split_seed(example["seed"], len(pixels))
            pixels = {
                name: _one_channel(image, seed)
                for (name, image), seed in zip(pixels.items(), seeds, strict=True)
            }
        truth = {name: example[name] for name in self.tasks}
        if "depth" in truth:
            metres = truth["depth"]
            truth["depth"] = tf.where(metres > 0, tf.math.log(tf.maximum(metres, 1e-3)), HOLE)
        return pixels, truth

    # === Losses ===

    def content_loss(self, x, y, y_pred, sample_weight=None):
        """The weighted losses of the tasks."""
        losses = {
            "edges": edge_loss,
            "depth": lambda *pair: depth_loss(*pair, self.scale_invariance),
            "normals": normal_loss,
        }
        return {
            name: weight * tf.reduce_mean(losses[name](y[name], y_pred[name]))
            for name, weight in self.tasks.items()
        }

    def adversarial_losses(self, real, fake):
        """The discriminator's is the mean of its two terms, not their sum."""
        critic, base = super().adversarial_losses(real, fake)
        return critic / 2, base

    def shown(self, x, y, y_pred):
        """Features of real and of synthetic images."""
        return y_pred["real"], y_pred["synthetic"]

    def recall(self, real, fake):
        """Features of this and of earlier steps."""
        if not self.pool:
            return real, fake
        step = tf.cast(self.optimizers["discriminator"].iterations, tf.int64)
        return (
            self.real_history.exchange(real, tf.stack([step, 0])),
            self.synthetic_history.exchange(fake, tf.stack([step, 1])),
        )

    # === What it sees ===

    def maps(self, pixels):
        """Images (B, crop, crop, 3) in [0, 1] -> dict of maps in [0, 1], to be looked at."""
        found = in_float32(self.head(self.encoder(pixels, training=False), training=False))
        return {
            name: shown_map(name, tf.sigmoid(m) if name == "edges" else m, HOLE)
            for name, m in found.items()
        }

    def picture(self, x, y, y_pred=None):
        """The rendered image with its true maps and the network's; a real image with its maps."""
        panels = {"synthetic": x["synthetic"]}
        answers = {} if y_pred is None else self.maps(x["synthetic"][None])
        for name in self.tasks:
            panels[name] = shown_map(name, y[name][None], HOLE)[0]
            if answers:
                panels[f"{name}?"] = answers[name][0]
        if "real" in x:
            panels["real"] = x["real"]
            answers = {} if y_pred is None else self.maps(x["real"][None])
            panels |= {f"{name}? ": answer[0] for name, answer in answers.items()}
        return pictures.row(panels, side=64)


# === Losses: truth and prediction (B, H, W, channels) -> (B,) ===


def edge_loss(y, logits):
    """Cross-entropy of contours, each pixel of an image times its (pixels off) / (pixels on)."""
    on = tf.maximum(tf.reduce_mean(y, (1, 2, 3)), LEAST_EDGES)
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(y, logits)
    return (1 - on) / on * tf.reduce_mean(entropy, (1, 2, 3))


def depth_loss(y, prediction, scale_invariance=0.5):
    """Half of the variance-like error of log depth: (mean d^2 - scale_invariance (mean d)^2) / 2.

    With 1 a factor on all depths costs nothing (arXiv:1406.2283). The means are over the pixels
    whose depth is known.
    """
    known = y > HOLE
    d = tf.where(known, prediction - y, 0.0)
    size = tf.maximum(tf.reduce_sum(tf.cast(known, d.dtype), (1, 2, 3)), 1.0)
    mean = tf.reduce_sum(d, (1, 2, 3)) / size
    return (tf.reduce_sum(tf.square(d), (1, 2, 3)) / size - scale_invariance * tf.square(mean)) / 2


def normal_loss(y, prediction):
    """1 - cosine of the angle between them, where `y` has length 1; nothing where it has 0."""
    cosine = tf.reduce_sum(y * tf.math.l2_normalize(prediction, -1, 1e-12), -1)
    asked = tf.reduce_sum(y * y, -1)
    return tf.reduce_sum(asked - cosine, (1, 2)) / tf.maximum(tf.reduce_sum(asked, (1, 2)), 1.0)


# === Networks ===


def _tapped(encoder, stage):
    """Images -> what enters that stage's ReLU, or the last layer's, and the encoder's maps."""
    stages = {x.name: x for x in encoder.layers if re.fullmatch(r"stage\d+", x.name)}
    if stage and stage not in stages:
        raise UserError(f"--stage: expected one of {', '.join(stages)}. Received: {stage}")
    layer = stages[stage] if stage else encoder.layers[-1]
    features = layer.input if isinstance(layer, keras.layers.ReLU) else layer.output
    return keras.Model(encoder.inputs, [features, encoder.outputs[0]], name="tapped")


# === Pixels ===


def _one_channel(image, seed):
    """(H, W, 3) -> the same shape: one of its channels, drawn by the seed, three times."""
    channel = tf.random.stateless_uniform((), seed, 0, 3, tf.int32)
    return tf.repeat(tf.gather(image, [channel], axis=-1), 3, axis=-1)
