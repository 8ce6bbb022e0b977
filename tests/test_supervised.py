"""`tools/supervised.py`: labels teach a network what the probe then finds in it."""

import json

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from conftest import photo

from sslzoo import encoders


def test_labels_are_learned_and_probed(tool, tmp_path, capsys):
    supervised, random = tool("supervised"), np.random.default_rng(0)
    y = random.integers(0, 2, 160)
    x = np.uint8([200 * photo(16, i) for i in range(160)])
    x[y == 1, 6:10, 6:10] = 255  # a white square is what tells
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:60], y_test=y[:60])
    argv = ["tool", f"--dataset={tmp_path / 'x.npz'}", "--encoder=mini", "--crop=16", "--pad=1"]
    flags.FLAGS([*argv, "--batch_size=16", "--epochs=6", f"--card={tmp_path}/card.json"])
    supervised.main(None)
    printed = capsys.readouterr().out
    accuracy = float(printed.split("the classifier itself: ")[1].split("%")[0])
    assert accuracy > 90
    assert "random init" in printed
    assert "160 train and 60 test labels" in printed
    card = json.loads((tmp_path / "card.json").read_text())
    assert 100 * card["accuracy"] == accuracy
    assert [row["stage"] for row in card["scores"]] == [f"stage{i}" for i in range(1, 6)]


def test_the_first_stages_stay_as_they_are(tool, tmp_path):
    supervised, trained = tool("supervised"), encoders.get("mini")
    trained.save(tmp_path / "encoder.keras")
    flags.FLAGS(["tool", f"--encoder={tmp_path}/encoder.keras", "--frozen=2"])
    encoder = supervised.starting_encoder()
    for before, after in zip(trained.weights, encoder.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    moving = {variable.path.split("/")[0] for variable in encoder.trainable_variables}
    assert moving == {f"stage{i}_{part}" for i in (3, 4, 5) for part in ("conv", "bn")}


def test_gabor_filters_see_edges_of_their_direction_and_stay(tool):
    supervised = tool("supervised")
    bank = supervised.gabor_bank()  # (13, 13, 1, 32)
    assert np.abs(bank.sum((0, 1))).max() < 1e-4
    rows = np.indices((32, 32))[0] * 2 * np.pi
    for i, frequency in enumerate((3 / 8, 3 / 16)):
        for image, at in ((rows, 4), (rows.T, 0)):  # stripes across, and upright
            wave = np.float32(np.cos(frequency * image))[None, :, :, None]
            answers = tf.nn.conv2d(wave, bank, 1, "VALID").numpy()[0, 9, 9]
            moduli = np.hypot(answers[:16], answers[16:])
            assert moduli.argmax() == 8 * i + at
    encoder = encoders.get("mini")
    fixed = supervised.behind_gabor(encoder, 32)
    assert fixed.output_shape == (None, 4, 4, 64)
    model = keras.Sequential([fixed, keras.layers.GlobalAveragePooling2D()])
    shapes = [tuple(v.shape) for v in model.trainable_variables]
    assert (13, 13, 1, 32) in [tuple(v.shape) for v in model.non_trainable_variables]
    assert (13, 13, 1, 32) not in shapes
    assert (1, 1, 51, 48) in shapes, "three colours of sixteen moduli and a mean"
    assert not np.allclose(model(np.stack([photo(32), photo(32, 1)]))[0], 0)
