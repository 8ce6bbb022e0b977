"""Every recipe end to end, as a user runs it, and its export where there is no sslzoo."""

import json
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

import sslzoo.recipes
from sslzoo import cli, zoo
from sslzoo.recipes import rotation

RECIPES = [module.name for module in pkgutil.iter_modules(sslzoo.recipes.__path__)]
TINY = {
    "deepcluster": ["--crop=32", "--view=24", "--k=6"],
    "pirl": ["--crop=32", "--view=24", "--puzzle=32", "--grid=2", "--tile=12", "--dims=8"],
    "npid": ["--crop=32", "--view=24", "--dims=8", "--negatives=20"],
    "jigsaw": ["--crop=30", "--tile=8", "--num_permutations=9", "--fc6=8", "--fc7=16"],
    "rotation": ["--crop=32"],
    "inpainting": ["--crop=32"],
    "reconstruction": ["--crop=32", "--discriminator_width=4"],
    "bigan": ["--crop=16", "--codes=8", "--width=4"],
    "superres": ["--crop=32", "--gan_epochs=1", "--discriminator_width=4", "--scored_images=2"],
    "relative_patch": ["--crop=32", "--patch=12", "--gap=4", "--jitter=4"],
    "colorization": ["--crop=32"],
    "synthetic": ["--crop=32", "--dataset=scenes:96", "--width=4", "--discriminator_width=4"],
}
SERVE = """
import sys
sys.modules["sslzoo"] = sys.modules["keras"] = None  # an import would raise
import tensorflow as tf
image = tf.random.uniform((40, 56, 3))
file = tf.io.encode_jpeg(tf.image.convert_image_dtype(image, tf.uint8))
for folder in map(str.strip, sys.stdin):
    try:
        served = tf.saved_model.load(folder)
        a = served.embed(image[None])["embedding"]
        b = served.signatures["embed_bytes"](image_bytes=tf.stack([file, file]))["embedding"]
        assert a.shape[1] == b.shape[1] and b.shape[0] == 2
        print(len(served.features(image[None])), "stages", flush=True)
    except Exception as error:
        print(repr(error), flush=True)
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """96 images of two classes: (path of the .npz)."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    x = np.random.default_rng(0).integers(0, 256, (96, 32, 32, 3), np.uint8)
    y = np.arange(96) % 2
    x[y == 1] //= 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    return path


@pytest.fixture(scope="module")
def served():
    """Function of an export's folder: what one process without sslzoo and Keras says of it."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", SERVE], **pipes) as process:

        def serve(folder):
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            return process.stdout.readline()

        yield serve


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_probes_and_exports(recipe, images, served, tmp_path):
    shared = ["--resize=0", "--epochs=1", "--batch_size=16", "--devices=cpu:2"]
    shared += ["--probe_images=40", "--probe_draws=1"]
    flags = [f"--dataset={images}", "--workdir=run", *shared, *TINY[recipe]]
    if recipe == "synthetic":
        flags += [f"--real_dataset={images}", f"--probe_dataset={images}"]
    command = [sys.executable, "-m", f"sslzoo.recipes.{recipe}", *flags]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "random init" in done.stderr
    assert f"exported to run/exported/{recipe}" in done.stderr
    folder = tmp_path / "run/exported" / recipe
    card = json.loads((folder / "card.json").read_text())
    assert card["recipe"] == recipe
    assert card["input"].startswith("RGB in [0, 1], any size; trained on ")
    assert {"accuracy", "random_accuracy"} <= card["scores"][0].keys()
    assert (tmp_path / "run/contexts.png").is_file() == (recipe == "inpainting")
    assert served(folder / "1") == "5 stages\n"


def test_a_trained_encoder_goes_on_and_is_watched_and_probed_on_other_images(
    images, tmp_path, monkeypatch
):
    """From an animal of the zoo; labels of another data set; a vote of neighbours every epoch."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "unlabelled.npz", x_train=x, x_test=x)
    flags = ["--dataset=unlabelled.npz", "--encoder=rotation", f"--probe_dataset={images}"]
    flags += ["--workdir=run", "--epochs=1", "--batch_size=20", "--learning_rate=1e-9"]
    flags += ["--weight_decay=0", "--monitor_images=30", "--resize=0", "--probe_images=40"]
    cli.call(rotation.main, ["rotation", *flags])
    card = json.loads((tmp_path / "run/exported/rotation/card.json").read_text())
    assert card["started_from"]["recipe"] == "rotation"
    assert card["input"].endswith("trained on whole images in colour, turned")
    assert card["dataset"] == {"name": "unlabelled.npz", "images": 40}
    assert len(card["scores"]) == 5
    assert all(row["std"] is not None for row in card["scores"]), "three draws of labels"
    rows = (tmp_path / "run/log.csv").read_text().splitlines()
    assert "knn" in rows[0].split(",")
    before = zoo.encoder("rotation").trainable_variables
    after = zoo.encoder("rotation", tmp_path / "run/exported").trainable_variables
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-5)
