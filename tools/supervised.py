"""The supervised row: the same encoder, trained with all labels, then probed like the others.

    python tools/supervised.py --dataset=cifar10.npz [--encoder=small] [--crop=32] [--epochs=10]

No pretext: it shows how much of a pretext's distance to random init there is to be had. Images are
cropped and mirrored at random, nothing else.

With `--frozen=2` the first two stages stay as they are, those of a trained encoder if `--encoder`
is an exported folder (arXiv:1904.13132, table 4). `--front=gabor` has fixed filters in their place.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import json
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from sslzoo import data, encoders, images, probes, zoo
from sslzoo.images import geometry
from sslzoo.training import schedules

DATASET = flags.DEFINE_string("dataset", "photos", "as for a recipe")
RESIZE = flags.DEFINE_integer("resize", 0, "shorter side in pixels; 0 leaves it")
ENCODER = flags.DEFINE_string("encoder", "small", "name of a new encoder, or an exported folder")
FROZEN = flags.DEFINE_integer("frozen", 0, "the first stages that stay as they are")
FRONT = flags.DEFINE_enum(
    "front", "", ["", "gabor"], "what takes the place of the first two stages"
)
CROP = flags.DEFINE_integer("crop", 32, "side of the square image in pixels")
PAD = flags.DEFINE_integer("pad", 4, "pixels around an image before it is cut, as RotNet has them")
EPOCHS = flags.DEFINE_integer("epochs", 10, "passes over the training images")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "images per step")
RATE = flags.DEFINE_float("learning_rate", 0.1, "the highest; falls as a cosine")
PROBE_IMAGES = flags.DEFINE_integer("probe_images", 5000, "labelled images for the probe; 0: none")
CARD = flags.DEFINE_string("card", "", "file for the accuracy and the rows of the probe, as JSON")
SEED = flags.DEFINE_integer("seed", 0, "of weights, order, crops and the probe")


def varied(example):
    """One example -> (image (crop, crop, 3), label): padded, cut and mirrored by its seed."""
    cut, mirror = images.split_seed(example["seed"], 2)
    image = tf.pad(example["image"], [[PAD.value] * 2, [PAD.value] * 2, [0, 0]])
    image = geometry.random_crop(image, CROP.value, cut)
    return tf.image.stateless_random_flip_left_right(image, mirror), example["label"]


def starting_encoder():
    """What `--encoder`, `--frozen` and `--front` say."""
    name = ENCODER.value
    encoder = encoders.get(name) if encoders.known(name) else zoo.open_encoder(name)[0]
    if FRONT.value:
        return behind_gabor(encoder, CROP.value)
    if FROZEN.value:
        stage = encoder.get_layer(f"stage{FROZEN.value}")
        for layer in keras.Model(encoder.input, stage.output).layers:
            layer.trainable = False
    return encoder


def gabor_bank(size=13, orientations=8):
    """Kernels (size, size, 1, 32): real, then imaginary parts at two scales.

    The wavelets of a scattering of two scales have these frequencies (arXiv:1309.5652).
    """
    from skimage.filters import gabor_kernel

    kernels = []
    for frequency in (3 / 8, 3 / 16):
        for i in range(orientations):
            kernel = gabor_kernel(frequency, np.pi * i / orientations, n_stds=2)
            kernel = kernel - kernel.mean()  # a constant image gives nothing
            kernel /= np.linalg.norm(kernel)
            low = [(size - n) // 2 for n in kernel.shape]
            kernels.append(np.pad(kernel, [(n, n) for n in low]))
    bank = np.stack(kernels, -1)[:, :, None]
    return np.concatenate([bank.real, bank.imag], -1).astype(np.float32)


def behind_gabor(encoder, crop):
    """The stages from the third on, on moduli of fixed Gabor filters of each colour.

    For the scattering transform of the paper, without its second order: kymatio 0.3.0 does not
    import beside today's SciPy. A 1x1 convolution that learns joins both.
    """
    second = encoder.get_layer("stage2").output
    side = keras.Model(encoder.input, second).compute_output_shape((None, crop, crop, 3))[1]
    inputs, kernel = keras.Input((crop, crop, 3)), gabor_bank()
    bank = keras.layers.Conv2D(
        *(kernel.shape[-1], len(kernel)), padding="same", use_bias=False, trainable=False
    )
    planes = keras.ops.reshape(keras.ops.moveaxis(inputs, -1, 1), (-1, crop, crop, 1))
    x = keras.ops.reshape(bank(planes), (-1, 3, crop, crop, 2, kernel.shape[-1] // 2))
    bank.set_weights([kernel])
    x = keras.ops.sqrt(keras.ops.sum(x**2, axis=4) + 1e-8)  # (B, 3, crop, crop, 16)
    x = keras.ops.reshape(keras.ops.moveaxis(x, 1, -1), (-1, crop, crop, 3 * kernel.shape[-1] // 2))
    x = keras.layers.Concatenate()([inputs, x])
    x = keras.layers.AveragePooling2D(crop // side)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Conv2D(second.shape[-1], 1, use_bias=False, kernel_initializer="he_normal")(x)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(inputs, keras.Model(second, encoder.output)(x))


def main(_):
    """Trains, prints the accuracy of the classifier, then the table of the probe."""
    keras.utils.set_random_seed(SEED.value)
    train, test = (
        data.load(DATASET.value, split, resize=RESIZE.value, labels=True)
        for split in ("train", "test")
    )
    encoder, steps = starting_encoder(), train.size // BATCH_SIZE.value
    x = keras.Input((CROP.value, CROP.value, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(encoder(x))
    model = keras.Model(x, keras.layers.Dense(len(train.class_names))(pooled))
    rate = schedules.schedule("cosine", RATE.value, EPOCHS.value * steps, warmup_steps=steps // 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, 0.9, weight_decay=1e-3), loss, metrics=["accuracy"])
    epoch = steps * BATCH_SIZE.value
    examples = train.examples(
        seed=SEED.value, crop=CROP.value, stop=EPOCHS.value * epoch, epoch_size=epoch
    )
    batches = examples.map(varied).batch(BATCH_SIZE.value).prefetch(2)
    held = test.examples(crop=CROP.value, shuffle=False)
    model.fit(batches, epochs=EPOCHS.value, steps_per_epoch=steps, shuffle=False, verbose=2)
    pairs = held.map(lambda e: (e["image"], e["label"])).batch(256)
    card = {"accuracy": model.evaluate(pairs, verbose=0)[1]}
    print(f"the classifier itself: {card['accuracy']:.2%} of the test images")
    if PROBE_IMAGES.value:
        card["scores"] = probe(encoder, train, held, epoch).rows
    if CARD.value:
        pathlib.Path(CARD.value).write_text(json.dumps(card, indent=1))


def probe(encoder, train, held, epoch):
    """Prints the table of the probe."""
    seen = train.examples(seed=SEED.value, crop=CROP.value, stop=min(PROBE_IMAGES.value, epoch))
    scores = probes.linear(encoder, seen, held, seed=SEED.value)
    print(scores)
    return scores


if __name__ == "__main__":
    app.run(main)
