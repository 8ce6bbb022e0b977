"""Table 3 of the GAN reconstructor's document, at CPU scale: do its three arms beat no training?

    python tools/reconstruction_table.py --dataset=cifar10.npz [--images=5000] [--seeds=2]
        [--gan_epochs=2] [--epochs=4] [--workdir=runs/reconstruction_table]

Trains the three arms on all training images, as recipes/reconstruction_cifar10.flags says but for
the epochs. Then an encoder with two fully connected layers on top is trained as a classifier, all
weights, 32 images a step, from each arm and from scratch: top-1 on the test images, mean and
standard deviation over the seeds. The document has 50,000 training images and some other encoder.
"""

import sslzoo  # noqa: F401, first: it tells TensorFlow how to use the CPU

# isort: split
import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from sslzoo import data, probes
from sslzoo.flags import signature
from sslzoo.recipes import reconstruction

FLAGS = flags.FLAGS
flags.DEFINE_string("dataset", "cifar10.npz", "32 x 32 images with labels")
flags.DEFINE_string("sheet", "recipes/reconstruction_cifar10.flags", "flags of the pretext")
flags.DEFINE_string("workdir", "runs/reconstruction_table", "folder of the three runs")
flags.DEFINE_integer("gan_epochs", 2, "passes of each arm over all training images")
flags.DEFINE_integer("images", 5000, "labelled training images")
flags.DEFINE_integer("epochs", 4, "passes of the classifier over them")
flags.DEFINE_integer("seeds", 2, "classifiers for each row")

HIDDEN = 256  # of the first fully connected layer


def pretrained(arm):
    """The encoder of one arm."""
    settings = signature.parse(reconstruction.main, ["reconstruction", f"--flagfile={FLAGS.sheet}"])
    settings["run"] = dataclasses.replace(
        settings["run"],
        dataset=FLAGS.dataset,
        workdir=f"{FLAGS.workdir}/{arm}",
        epochs=FLAGS.gan_epochs,
        probe_images=0,
    )
    settings["puzzle"] = functools.partial(settings["puzzle"], arm=arm)
    reconstruction.main(**settings)
    path = f"{FLAGS.workdir}/{arm}/exported/reconstruction/encoder.keras"
    return keras.saving.load_model(path, compile=False)


def accuracy(encoder, train, test, seed):
    """Top-1 of a classifier that starts from the encoder; the encoder is changed."""
    keras.utils.set_random_seed(seed)
    images = keras.Input(train.element_spec["image"].shape)
    x = keras.layers.Flatten()(encoder(images))
    x = keras.layers.Dense(HIDDEN, activation="relu")(x)
    model = keras.Model(images, keras.layers.Dense(10)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(_pairs(train), epochs=FLAGS.epochs, shuffle=False, verbose=0)
    return model.evaluate(_pairs(test), verbose=0)[1]


def _pairs(examples):
    return examples.map(lambda e: (e["image"], e["label"])).batch(32).prefetch(tf.data.AUTOTUNE)


def main(argv):
    """Prints the table."""
    del argv
    train, test = (data.load(FLAGS.dataset, split, labels=True) for split in ("train", "test"))
    starts = {arm: pretrained(arm) for arm in ("baseline", "l1", "scale_bias")}
    starts = {"from scratch": probes.random_twin(starts["baseline"], 0), **starts}
    print(f"{FLAGS.images:,} training images, {FLAGS.epochs} epochs, {FLAGS.seeds} seeds")
    for name, encoder in starts.items():
        weights, found = encoder.get_weights(), []
        for seed in range(FLAGS.seeds):
            if name == "from scratch":
                weights = probes.random_twin(encoder, seed).get_weights()
            encoder.set_weights(weights)
            examples = train.examples(seed=seed, stop=min(FLAGS.images, train.size))
            found.append(accuracy(encoder, examples, test.examples(shuffle=False), seed))
        print(f"{name:14s} {100 * np.mean(found):.2f} % +- {100 * np.std(found):.2f}", flush=True)


if __name__ == "__main__":
    app.run(main)
