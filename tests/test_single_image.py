"""`tools/single_image.py` asks for each row once, and its tables say what the cards say."""

import csv
import json
import pathlib
import subprocess

import numpy as np
from absl import flags
from PIL import Image

from sslzoo.data import load


def flag(command, name):
    return [a.split("=", 1)[1] for a in command if a.startswith(f"--{name}=")][-1]


def scores(accuracy):
    row = {"stage": "stage1", "accuracy": 0.5, "random_accuracy": 0.25}
    return [row, {**row, "accuracy": accuracy, "random_accuracy": 0.125}]


def test_rows_are_kept_and_told(tool, tmp_path, monkeypatch, capsys):
    study, commands = tool("single_image"), []

    def run(command, check):
        commands.append(command)
        if "--card=" in str(command):
            accuracy = 0.25 if "--frozen=2" in command else 0.75
            card = pathlib.Path(flag(command, "card"))
            made = {"accuracy": accuracy, "scores": scores(0.7)}
        else:
            views = flag(command, "dataset").startswith("single:")
            folder = pathlib.Path(flag(command, "workdir"))
            recipe = command[2].rsplit(".", 1)[1]
            card = folder / "exported" / recipe / "card.json"
            made = {"scores": scores(0.3 if views else 0.4)}
        card.parent.mkdir(parents=True, exist_ok=True)
        card.write_text(json.dumps(made))

    monkeypatch.setattr(subprocess, "run", run)
    own = [f"--workdir={tmp_path}", "--counts=1,3,100", "--views=40", "--dataset=x.npz"]
    own += ["--epochs=3", "--label_epochs=4", "--probe_images=7"]
    for _ in range(2):
        study.main(flags.FLAGS(["tool", *own, "--", "--batch_size=8"]))
    assert len(commands) == 2 * 4 + 5, "each once: two recipes, five classifiers"
    assert [flag(command, "dataset").rsplit("/", 1)[-1] for command in commands[:4]] == [
        *("images_1,n=40", "images_3,n=40", "images_12,n=40", "x.npz"),
    ]
    for command in commands[:8]:
        assert pathlib.Path(flag(command, "flagfile")).is_file()
        assert flag(command, "probe_dataset") == "x.npz"
        assert "--batch_size=8" in command
        assert (flag(command, "epochs"), flag(command, "probe_images")) == ("3", "7")
    assert [flag(c, "epochs") for c in commands[8:]] == ["4"] * 5
    assert [flag(c, "probe_images") for c in commands[8:]] == ["7", "0", "0", "0", "0"]
    one = load(flag(commands[0], "dataset"))
    assert (one.size, len(one.paths)) == (40, 1)
    assert one.paths[0].resolve() == load("single:").paths[0].resolve()
    assert len({path.resolve() for path in load(flag(commands[2], "dataset")).paths}) == 12
    with open(tmp_path / "stages.csv", newline="") as file:
        rows = {row["images"]: row["stage2"] for row in csv.DictReader(file)}
    assert rows == {
        **{f"{r}, {n}": "0.3" for r in ("rotation", "deepcluster") for n in (1, 3, 12)},
        **{"rotation, all": "0.4", "deepcluster, all": "0.4"},
        **{"random init": "0.125", "all labels": "0.7"},
    }
    text = (tmp_path / "tables.md").read_text()
    assert "| rotation, all | 50.0 % | 40.0 % |" in text
    assert "| trained with labels, like the rest | 75.0 % |" in text
    assert "| deepcluster on 1, frozen | 25.0 % |" in text
    assert text in capsys.readouterr().out
    frozen = [flag(c, "encoder") for c in commands if "--frozen=2" in c]
    assert frozen == ["mini", *(f"{tmp_path}/{r}_1/exported/{r}" for r in study.RECIPES.value)]
    assert np.asarray(Image.open(tmp_path / "stages.png")).shape == (600, 960, 3)


def test_images_of_a_folder_are_taken_evenly(tool, tmp_path):
    study = tool("single_image")
    (tmp_path / "in").mkdir()
    for i in range(9):
        Image.new("RGB", (99, 99), (i, i, i)).save(tmp_path / f"in/{i}.png")
    images = f"--images={tmp_path}/in"
    flags.FLAGS(["tool", images, f"--workdir={tmp_path}/out", "--counts=3", "--dataset=a.npz"])
    assert study.sources() == {"3": f"single:{tmp_path}/out/images_3,n=25000", "all": "a.npz"}
    taken = [p.resolve().name for p in sorted((tmp_path / "out/images_3").iterdir())]
    assert taken == ["0.png", "3.png", "6.png"]
