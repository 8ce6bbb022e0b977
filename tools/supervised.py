"""The supervised row: the same encoder, trained with all labels, then probed like the others.

    python tools/supervised.py --dataset=cifar10.npz [--encoder=small] [--crop=32] [--epochs=10]

No pretext: it shows how much of a pretext's distance to random init there is to be had. Images are
cropped and mirrored at random, nothing else.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import keras
import tensorflow as tf
from absl import app, flags

from sslzoo import data, encoders, images, probes
from sslzoo.images import geometry
from sslzoo.training import schedules

DATASET = flags.DEFINE_string("dataset", "photos", "as for a recipe")
RESIZE = flags.DEFINE_integer("resize", 0, "shorter side in pixels; 0 leaves it")
ENCODER = flags.DEFINE_string("encoder", "small", "name of the encoder")
CROP = flags.DEFINE_integer("crop", 32, "side of the square image in pixels")
PAD = flags.DEFINE_integer("pad", 4, "pixels around an image before it is cut, as RotNet has them")
EPOCHS = flags.DEFINE_integer("epochs", 10, "passes over the training images")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 128, "images per step")
RATE = flags.DEFINE_float("learning_rate", 0.1, "the highest; falls as a cosine")
PROBE_IMAGES = flags.DEFINE_integer("probe_images", 5000, "labelled images for the probe")
SEED = flags.DEFINE_integer("seed", 0, "of weights, order, crops and the probe")


def varied(example):
    """One example -> (image (crop, crop, 3), label): padded, cut and mirrored by its seed."""
    cut, mirror = images.split_seed(example["seed"], 2)
    image = tf.pad(example["image"], [[PAD.value] * 2, [PAD.value] * 2, [0, 0]])
    image = geometry.random_crop(image, CROP.value, cut)
    return tf.image.stateless_random_flip_left_right(image, mirror), example["label"]


def main(_):
    """Trains, prints the accuracy of the classifier, then the table of the probe."""
    keras.utils.set_random_seed(SEED.value)
    train, test = (
        data.load(DATASET.value, split, resize=RESIZE.value, labels=True)
        for split in ("train", "test")
    )
    encoder, steps = encoders.get(ENCODER.value), train.size // BATCH_SIZE.value
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
    print(f"the classifier itself: {model.evaluate(pairs, verbose=0)[1]:.2%} of the test images")
    seen = train.examples(seed=SEED.value, crop=CROP.value, stop=min(PROBE_IMAGES.value, epoch))
    print(probes.linear(encoder, seen, held, seed=SEED.value))


if __name__ == "__main__":
    app.run(main)
