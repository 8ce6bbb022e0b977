"""`tools/supervised.py`: labels teach a network what the probe then finds in it."""

import numpy as np
from absl import flags
from conftest import photo


def test_labels_are_learned_and_probed(tool, tmp_path, capsys):
    supervised, random = tool("supervised"), np.random.default_rng(0)
    y = random.integers(0, 2, 160)
    x = np.uint8([200 * photo(16, i) for i in range(160)])
    x[y == 1, 6:10, 6:10] = 255  # a white square is what tells
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x[:60], y_test=y[:60])
    argv = ["tool", f"--dataset={tmp_path / 'x.npz'}", "--encoder=mini", "--crop=16", "--pad=1"]
    flags.FLAGS([*argv, "--batch_size=16", "--epochs=6"])
    supervised.main(None)
    printed = capsys.readouterr().out
    accuracy = float(printed.split("the classifier itself: ")[1].split("%")[0])
    assert accuracy > 90
    assert "random init" in printed
    assert "160 train and 60 test labels" in printed
