"""The memory bank: one unit vector per image of the data set, and losses that contrast with it.

From instance discrimination (Wu et al. 2018, arXiv:1805.01978) and PIRL (Misra & van der Maaten
2020, arXiv:1912.01991). A row is the running average of what the network said of that image, so
that an image can be told from thousands of others of which only the memory is looked at.

Departures from the papers: the images of a step share their negatives, so that a step gathers K
rows and not B * K; and the constant Z of NCE, which the authors estimate from the first batch, is
the number which that estimate tends to, see `log_mean_exp`.
"""

import keras
import numpy as np
import tensorflow as tf

from sslzoo.errors import UserError
from sslzoo.parts import tables
from sslzoo.pretext import Pretext

BATCH = 256  # images of a pass that fills the bank


class MemoryBank(keras.layers.Layer):
    """A table of unit rows, `rows` (size, dims) float32, by the stable index of the image.

    It is a weight that no gradient reaches, so it is saved and restored with the model. A step
    costs the same however many rows there are, because they are written in place.

    Args:
        size: number of images.
        dims: length of a row.
        momentum: share of the old row in the new one (both papers: 0.5), 0 to 1.
    """

    def __init__(self, size, dims, momentum=0.5, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self.size = size
        self.momentum = momentum
        self.rows = self.add_weight(
            shape=(size, dims),
            initializer=_random_unit_rows,
            trainable=False,
            aggregation="only_first_replica",  # `update` hands every replica the same rows
            name="rows",
        )
        self.built = True

    def gather(self, index):
        """Rows of `index` (...) int64, in the replica context: (..., dims)."""
        return tables.gather(self.rows, index)

    def update(self, index, embeddings):
        """Moves the rows `index` (B,) towards `embeddings` (B, dims), and normalises them.

        To be called in the replica context, outside XLA: the rows of all replicas are gathered
        first, so that every replica's bank stays the same.
        """
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            index, embeddings = context.all_gather((index, embeddings), axis=0)
        mixed = self.momentum * self.gather(index) + (1 - self.momentum) * embeddings
        tables.write(self.rows, index, tf.math.l2_normalize(mixed, axis=-1))

    def contrast(self, embeddings, index, count, seed):
        """Cosines of each embedding with its own row, and with `count` others' rows.

        The negatives are drawn once for the batch, with replacement. Where one is the image's own
        row, another takes its place: that of the image `offset` places further on. Draws and offset
        are uniform, so every negative is uniform over the *other* images.

        Args:
            embeddings: (B, dims), unit vectors.
            index: (B,) int64, whose embeddings they are.
            count: number of negatives, K.
            seed: (2,) integers; all replicas of a step pass the same.

        Returns:
            positive (B,), negative (B, K).
        """
        drawn, offset = self.draw(count, seed)
        positive = tf.reduce_sum(embeddings * self.gather(index), -1)
        stand_in = tf.reduce_sum(embeddings * self.gather((index + offset) % self.size), -1)
        own = index[:, None] == drawn[None]  # (B, K)
        others = tf.matmul(embeddings, self.gather(drawn), transpose_b=True)
        return positive, tf.where(own, stand_in[:, None], others)

    def softmax(self, embeddings, index, temperature):
        """Cross-entropy (B,) of each embedding's own row among all, by cosines / `temperature`.

        Not by TensorFlow's operation, which with deterministic operations is slow. Rounding may
        make it negative by 1e-5.
        """
        scaled = embeddings / temperature
        rows = tf.stop_gradient(tf.convert_to_tensor(self.rows.value))  # each look copies the bank
        logits = tf.matmul(scaled, rows, transpose_b=True)  # (B, size)
        own = tf.reduce_sum(scaled * self.gather(index), -1)
        return tf.reduce_logsumexp(logits, -1) - own

    def draw(self, count, seed):
        """Indices of negatives (count,) int64, and the offset () int64 of the stand-in, from 1."""
        # Named, or XLA would draw with another generator. Its floats differ all the same.
        seeds = tf.unstack(tf.random.split(seed, 2, alg="philox"), num=2)
        drawn = tf.random.stateless_uniform(
            (count,), seeds[0], 0, self.size, tf.int64, alg="philox"
        )
        return drawn, tf.random.stateless_uniform(
            (), seeds[1], 1, self.size, tf.int64, alg="philox"
        )


def _random_unit_rows(shape, dtype=None):
    """Uniform on the sphere, as in VISSL; the authors of NPID start from a length of about 1."""
    return keras.ops.normalize(keras.initializers.RandomNormal()(shape, dtype), axis=-1)


# === Losses: cosines -> (B,) ===


def nce(positive, negative, temperature, log_mean):
    """Noise-contrastive estimation: is it the image's own row, or one of the K drawn?

    With P = exp(cosine / temperature) / Z and noise of probability 1 / n, it is
    -ln P+ / (P+ + K / n) - sum of ln (K / n) / (P- + K / n), where Z = n times the mean
    exponential; n cancels.

    Args:
        positive: (B,).
        negative: (B, K).
        temperature: of the cosines.
        log_mean: logarithm of the mean exponential, see `log_mean_exp`.
    """
    shift = float(np.log(negative.shape[-1])) + log_mean
    return tf.nn.softplus(shift - positive / temperature) + tf.reduce_sum(
        tf.nn.softplus(negative / temperature - shift), -1
    )


def infonce(positive, negative, temperature):
    """Cross-entropy of the own row among all K + 1: -ln h of PIRL's first equation."""
    logits = tf.concat([positive[:, None], negative], -1) / temperature
    return tf.reduce_logsumexp(logits, -1) - logits[:, 0]


def log_mean_exp(dims, temperature):
    """Logarithm of the mean of exp(cosine / temperature) over random directions.

    That is what the authors' estimate of Z / n from the first batch tends to, because the bank
    starts random: here it is exact, the same for one device as for many, and no state.
    """
    from scipy.special import hyp0f1  # at the top it would slow every start

    return float(np.log(hyp0f1(dims / 2, 1 / (2 * temperature) ** 2)))


def random_bank_loss(kind, count, log_mean):
    """The loss ("softmax" over `count` rows, "infonce", "nce") against a random bank."""
    value = np.log(count if kind == "softmax" else count + 1) + log_mean
    return float(value + count * np.log1p(1 / count) if kind == "nce" else value)


# === Network ===


def head(maps, dims, kind, name):
    """Feature maps (B, h, w, C) -> (B, dims): their average through a linear layer, `name`.

    With `kind="mlp"` a layer as wide as the average, with ReLU, comes before it.
    """
    x = keras.layers.GlobalAveragePooling2D()(maps)
    if kind == "mlp":
        x = keras.layers.Dense(x.shape[-1], activation="relu", name=f"{name}_hidden")(x)
    return keras.layers.Dense(dims, dtype="float32", name=name)(x)


# === Pretext ===


@keras.saving.register_keras_serializable("sslzoo")
class MemoryPretext(Pretext):
    """A pretext with a bank, `memory`: its y is the image's index, its (first) output goes in.

    A subclass has the arguments `num_images`, `seed`, `dims`, `momentum`, `temperature`,
    `negatives` (0: the loss is the softmax over all rows) and `estimator`, and calls `remember`
    after its network.
    """

    def remember(self):
        """Makes the bank."""
        if self.num_images < 2:
            raise UserError(f"num_images: expected at least 2 images. Received: {self.num_images}")
        self.memory = MemoryBank(self.num_images, self.dims, self.momentum, name="memory")
        self.log_mean = log_mean_exp(self.dims, self.temperature)
        kind = self.estimator if self.negatives else "softmax"
        # Not `chance_loss`: the loss rises above it at first, while rows that this epoch wrote lie
        # nearer than the image's own, and a warning would be false.
        count = self.negatives or self.num_images
        self.random_bank_loss = random_bank_loss(kind, count, self.log_mean)

    def contrast(self, embeddings, index):
        """The loss of each unit vector (B, dims) against the rows of its image `index`: (B,)."""
        if not self.negatives:
            return self.memory.softmax(embeddings, index, self.temperature)
        seed = [tf.constant(self.seed, tf.int64), tf.cast(self.optimizer.iterations, tf.int64)]
        cosines = self.memory.contrast(embeddings, index, self.negatives, tf.stack(seed))
        if self.estimator == "infonce":
            return infonce(*cosines, self.temperature)
        return nce(*cosines, self.temperature, self.log_mean)

    def after_step(self, y, y_pred):
        """Puts the batch's embeddings into the bank."""
        self.memory.update(y, tf.nest.flatten(y_pred)[0])

    def nearest(self, embeddings, count):
        """Indices of the `count` rows nearest to each of (B, dims): (B, count)."""
        cosines = tf.matmul(embeddings, self.memory.rows.value, transpose_b=True)
        return tf.math.top_k(cosines, count).indices


class FillBank(keras.callbacks.Callback):
    """Fills the bank with the untrained network's own embeddings, before the first step of a run.

    A random bank has nothing of an image until its first epoch wrote it. Only step 0 is filled, so
    a resumed run goes on with the bank that it saved. The constant Z of NCE stays that of a random
    bank.

    Args:
        pretext: the `MemoryPretext`.
        examples: function of `crop` that gives all images, in the order of their indices.
    """

    def __init__(self, pretext, examples):
        super().__init__()
        self.pretext = pretext
        self.examples = examples

    def on_train_begin(self, logs=None):
        """In inference mode, without augmentation."""
        pretext = self.pretext
        if int(pretext.optimizer.iterations.numpy()):
            return
        call = tf.function(pretext.embed, autograph=False)
        rows = np.empty(pretext.memory.rows.shape, np.float32)
        for i, batch in enumerate(self.examples(crop=pretext.crop).batch(BATCH)):
            rows[i * BATCH : (i + 1) * BATCH] = call(batch["image"])
        pretext.memory.rows.assign(rows)
