"""`tools/sweep.py` asks each recipe for each value once, and draws what the cards say."""

import csv
import json
import pathlib
import subprocess

import numpy as np
from absl import flags
from PIL import Image


def test_a_sweep_leaves_csv_and_png_and_repeats_no_run(tool, tmp_path, monkeypatch):
    sweep = tool("sweep")
    commands = []

    def run(command, check):
        commands.append(command)
        recipe, folder = command[2].rsplit(".", 1)[1], pathlib.Path(command[-1].split("=")[1])
        accuracy = float(command[-2].split("=")[1]) / (10 if recipe == "pirl" else 20)
        card = folder / "exported" / recipe / "card.json"
        card.parent.mkdir(parents=True)
        stages = [{"stage": "stage1", "accuracy": 0.5}, {"stage": "stage2", "accuracy": accuracy}]
        card.write_text(json.dumps({"scores": stages}))

    monkeypatch.setattr(subprocess, "run", run)
    arguments = ["--recipes=pirl,jigsaw", "--flag=num_permutations", "--values=2,4,6"]
    argv = ["sweep", *arguments, f"--workdir={tmp_path}", "--", "--flagfile={recipe}.flags"]
    for _ in range(2):
        sweep.main(flags.FLAGS(argv))
    assert len(commands) == 6
    assert commands[3][3:5] == ["--flagfile=jigsaw.flags", "--num_permutations=2"]
    with open(tmp_path / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert rows[-1] == {
        **{"recipe": "jigsaw", "num_permutations": "6"},
        **{"stage": "stage2", "accuracy": "0.3"},
    }
    picture = np.asarray(Image.open(tmp_path / "scores.png"))
    assert picture.shape == (600, 960, 3)
    assert (picture == (214, 39, 40)).all(-1).sum() > 200  # the line of pirl's best stage
