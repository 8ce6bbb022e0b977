"""What a run will need is looked at before its first step; what fails later is one line."""

import csv
import errno
import types

import keras
import numpy as np
import pytest
from absl import logging
from conftest import jpeg, tiny_encoder
from test_training import compiled, run_of

from sslzoo import probes, training
from sslzoo.errors import UserError, replacing
from sslzoo.training import Run, callbacks

NAN, INF = float("nan"), float("inf")


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "info", lambda text, *values: lines.append(text % values))
    return lines


# === Flags ===


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seed", 2**32), ("resize", 10**7), ("probe_resize", 10**7), ("epochs", 10**12)),
        *(("warmup_epochs", value) for value in (NAN, INF, -1.0)),
        *(("decay_epochs", (1.0, value)) for value in (NAN, INF, -1.0)),
        *(("decay_factor", value) for value in (NAN, INF, -0.1)),
        *(("learning_rate", value) for value in (NAN, INF)),
        *(("weight_decay", value) for value in (NAN, INF, -0.1)),
        *(("backup_minutes", value) for value in (NAN, INF)),
        *(("workdir", value) for value in ("", " ")),
        *(("devices", value) for value in ("cpu:²", "cpu:٢", "cpu:1000", "cpu:+1", "cpu:2\n")),
    ],
)
def test_a_flag_out_of_range_is_named(field, value, tmp_path):
    with pytest.raises(UserError, match=rf"^--{field}: expected .* Received: ") as error:
        Run(**{"workdir": str(tmp_path / "run"), field: value}).start("toy", {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_seed_that_is_allowed_trains(seed, tmp_path):
    run = run_of(tmp_path, n=16, epochs=1, seed=seed)
    training.pretrain(compiled(run), run)
    assert (tmp_path / "run/puzzles.png").exists()


def test_every_seed_gives_a_random_encoder():
    first, last = (
        probes.random_twin(tiny_encoder(), seed).get_weights()[0] for seed in (0, 2**32 - 1)
    )
    assert np.abs(first - last).max() > 0


# === Labels ===


def test_without_labels_there_is_no_probe_which_is_said_once_at_the_start(tmp_path, said):
    run = run_of(tmp_path, n=16)
    assert sum("no probe" in line for line in said) == 1
    assert run.probe(None, 16) is None
    assert sum("no probe" in line for line in said) == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([0] * 16, "two classes"),
        ([*range(16)], "one of each"),
        ([-1] * 16, "integers 0, 1"),
        ([0, 1], "as many labels as there are images"),
    ],
)
def test_labels_that_no_probe_can_be_made_of_are_known_at_the_start(given, reason, tmp_path, said):
    run = run_of(tmp_path, n=16, labels=np.array(given))
    assert sum("no probe" in line and reason in line for line in said) == 1
    assert run.labelled is None
    assert run.train_source.size == 16


def test_a_probe_dataset_must_do(tmp_path):
    np.savez(
        tmp_path / "small.npz",
        **{f"x_{split}": np.zeros((8, 12, 12, 3), np.uint8) for split in ("train", "test")},
        **{f"y_{split}": np.arange(8) % 2 for split in ("train", "test")},
    )
    run = run_of(tmp_path, n=16, epochs=1, probe_dataset=str(tmp_path / "small.npz"))
    with pytest.raises(UserError, match=r"--probe_dataset: .*Received: images of 12 x 12"):
        training.pretrain(compiled(run), run)
    with pytest.raises(UserError, match=r"--probe_dataset: .* not there"):
        run_of(tmp_path, n=16, probe_dataset="/not/there")


def test_the_labelled_and_the_unlabelled_source_share_their_images(tmp_path):
    run = run_of(tmp_path, n=16, labels=np.arange(16) % 2)
    assert run.train_source._images is run.labelled["train"]._images
    assert run.test_source._images is run.labelled["test"]._images
    assert "label" not in run.train_source.examples().element_spec
    assert "label" in run.labelled["train"].examples().element_spec
    assert run.phase("second", epochs=1).train_source is run.train_source


def test_a_folder_of_classes_is_listed_once(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg", "b/3.jpg"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).write_bytes(jpeg(16))
    run = Run(dataset=str(tmp_path / "x"), workdir=str(tmp_path / "run"), batch_size=2)
    run.start("toy", {})
    assert run.train_source._paths is run.labelled["train"]._paths


# === Files ===


def test_an_export_folder_that_is_a_file_is_known_at_the_start(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/exported").write_text("")
    with pytest.raises(UserError, match="--workdir: expected a folder that can be written"):
        run_of(tmp_path)


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"step\n3\n", b"epoch,step\nx,1\n"])
def test_a_log_that_is_none_is_named(text, tmp_path):
    (tmp_path / "log.csv").write_bytes(text)
    with pytest.raises(UserError, match=r"log\.csv: expected the log .* Received: "):
        callbacks.Rows(callbacks.Progress(8, 8, 2), tmp_path / "log.csv")


@pytest.mark.parametrize(
    ("owner", "name", "file"),
    [
        (callbacks.csv, "DictWriter", r"log\.csv"),
        (keras.utils, "save_img", r"source\.png"),
        (keras.utils, "save_img", r"puzzles\.png"),
        (callbacks.checkpoints.np, "savez", r"unfinished\.tmp"),
    ],
)
def test_a_full_disk_is_one_line(owner, name, file, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = run_of(tmp_path, n=16, epochs=1)
    if "source" not in file:
        (tmp_path / "run/source.png").touch()  # there already
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(UserError, match=rf"{file}: expected .* Received: No space left on device"):
        training.pretrain(compiled(run), run)


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    def write(text, error=None):
        with replacing(tmp_path / "table.md") as aside:
            aside.write_text(text)
            if error:
                raise error

    write("old")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    with pytest.raises(UserError, match=r"table\.md: expected .* left on device"):
        write("ne", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        write("ne", KeyboardInterrupt())
    assert (tmp_path / "table.md").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


@pytest.mark.parametrize("drawn", [False, True])
def test_too_many_bad_images_are_one_line(drawn, tmp_path):
    """Met when `source.png` is drawn, or else in training."""
    (tmp_path / "x").mkdir()
    for i in range(8):
        (tmp_path / f"x/{i}.jpg").write_bytes(jpeg(32) if i % 2 else b"\xff\xd8\xff cut off")
    run = Run(dataset=str(tmp_path / "x"), workdir=str(tmp_path / "run"), resize=32, batch_size=2)
    run.start("toy", {})
    if drawn:
        (tmp_path / "run/source.png").touch()
    with pytest.raises(UserError, match="images cannot be decoded"):
        training.pretrain(compiled(run), run)


def test_a_run_that_was_complete_keeps_its_last_checkpoint(tmp_path):
    run = run_of(tmp_path, n=16, epochs=1)
    training.pretrain(compiled(run), run)
    path = callbacks.checkpoints.Checkpoints(tmp_path / "run/checkpoints").paths()[-1]
    before, log = path.read_bytes(), (tmp_path / "run/log.csv").read_text()
    training.pretrain(compiled(run), run)  # killed after training, before the probe
    assert path.read_bytes() == before
    assert (tmp_path / "run/log.csv").read_text() == log


def test_a_log_whose_columns_changed_goes_on_with_both(tmp_path):
    """A run with a kNN column that is resumed without it."""
    (tmp_path / "log.csv").write_text("epoch,step,loss,knn\n1,8,0.5,0.3\n")
    rows = callbacks.Rows(callbacks.Progress(8, 8, 2), tmp_path / "log.csv")
    rows.set_model(types.SimpleNamespace(optimizer=keras.optimizers.SGD(0.25)))
    rows.on_epoch_begin(1)
    rows.progress.step = 16
    rows.on_epoch_end(1, {"loss": 0.4})
    with open(tmp_path / "log.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["knn"], second["knn"], second["learning_rate"]) == ("0.3", "", "0.25")
