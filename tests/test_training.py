"""A run that is killed at any moment and started again ends in the same bits."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from conftest import mirrored, tiny_encoder
from toy import UpsideDown

from sslzoo import data, probes, training
from sslzoo.errors import UserError
from sslzoo.pictures import filters
from sslzoo.training import Run, callbacks, checkpoints, schedules

RECIPE = [sys.executable, "-m", "sslzoo.recipes.jigsaw"]
TINY = {
    "dataset": "../tiny.npz",
    "workdir": "run",
    "resize": 0,
    "crop": 32,
    "grid": 2,
    "tile": 12,
    "num_permutations": 6,
    "fc6": 8,
    "fc7": 16,
    "epochs": 3,
    "batch_size": 8,
    "probe_images": 0,
    "backup_minutes": 1e-6,  # after every step
}
TIMES = ("data_wait", "seconds", "cpu_seconds")  # columns of the log that no two runs share


def start(folder, **flags):
    command = [*RECIPE, *(f"--{k}={v}" for k, v in {**TINY, **flags}.items())]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what it puts into the background with SIGINT ignored, `nohup` with SIGHUP;
        # Python keeps that.
        preexec_fn=lambda: [
            signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGHUP)
        ],
    )


def finish(process):
    _, errors = process.communicate(timeout=120)
    return process.returncode, [line for line in errors.splitlines() if line.strip()]


def wait_for(process, folder, steps):
    """Until a checkpoint of at least `steps` steps is there; then some moment more."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        found = sorted(folder.glob("run/checkpoints/step_*.npz"))
        if found and int(found[-1].stem.split("_")[1]) >= steps:
            return time.sleep(0.01)
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of {steps} steps: {finish(process)}")


def wait_for_row(process, folder, epoch=1):
    """Until this epoch is in the log."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "run/log.csv").exists() and len(rows(folder)) >= epoch:
            return
        time.sleep(0.005)
    raise AssertionError(f"no epoch: {finish(process)}")


def final(folder):
    return checkpoints.Checkpoints(folder / "run/checkpoints").load()


def rows(folder):
    with open(folder / "run/log.csv", newline="") as file:
        return [{k: v for k, v in r.items() if k not in TIMES} for r in csv.DictReader(file)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder with the images, an uninterrupted run, and one killed twice, then damaged."""
    root = tmp_path_factory.mktemp("resume")
    x = np.random.default_rng(0).integers(0, 256, (72, 32, 32, 3), np.uint8)
    np.savez(root / "tiny.npz", x_train=x, x_test=x[:8])
    whole = start(root / "whole")
    assert finish(whole)[0] == 0

    killed = start(root / "killed")
    wait_for(killed, root / "killed", 13)  # inside the second epoch of nine steps
    killed.send_signal(signal.SIGKILL)
    assert finish(killed)[0] == -signal.SIGKILL
    newest = checkpoints.Checkpoints(root / "killed/run/checkpoints").paths()[-1]
    newest.write_bytes(newest.read_bytes()[:-500])
    (newest.parent / "unfinished.tmp").write_bytes(b"half of a checkpoint")
    code, errors = finish(start(root / "killed", backup_minutes=60))  # this flag may differ
    assert code == 0, errors
    return root, errors


def test_killed_damaged_and_resumed_gives_the_same_bits(runs):
    root, _ = runs
    ours, theirs = final(root / "whole"), final(root / "killed")
    assert ours.keys() == theirs.keys()
    assert int(ours["step"]) == 27
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_the_log_of_a_resumed_run_is_that_of_an_uninterrupted_one(runs):
    root, _ = runs
    assert [row["epoch"] for row in rows(root / "whole")] == ["1", "2", "3"]
    assert rows(root / "killed") == rows(root / "whole")


def test_the_damaged_checkpoint_is_named_and_the_one_before_used(runs):
    _, errors = runs
    assert any("is damaged" in line and "trying the one before" in line for line in errors)
    assert any("resuming after step" in line for line in errors)


def test_a_run_leaves_what_the_readme_says(runs):
    root, _ = runs
    run = root / "whole/run"
    assert {p.name for p in run.iterdir()} == {
        *("flags.txt", "log.csv", "tensorboard", "puzzles.png", "checkpoints", "exported"),
        *("images.json", "lock", "source.png", "filters.png"),
    }
    assert list((run / "tensorboard").glob("events*"))
    assert tf.io.decode_png((run / "puzzles.png").read_bytes()).shape[-1] == 3
    source = tf.io.decode_png((run / "source.png").read_bytes()).numpy()
    assert source.shape == (8 * 98 - 2,) * 2 + (3,), "64 images of 32 pixels, three times as large"
    assert len({source[98 * i : 98 * i + 96, :96].tobytes() for i in range(8)}) == 8
    encoder = keras.saving.load_model(run / "exported/jigsaw/encoder.keras")
    drawn = filters.draw(encoder, probes.random_twin(encoder, 0))
    np.testing.assert_array_equal(tf.io.decode_png((run / "filters.png").read_bytes()), drawn)
    assert len(list((run / "checkpoints").iterdir())) <= 2
    assert (run / "exported/jigsaw/1/saved_model.pb").is_file()


def test_other_flags_are_refused_in_one_line(runs):
    root, _ = runs
    code, errors = finish(start(root / "whole", epochs=4, seed=1))
    ours = [line for line in errors if line.startswith("error:")]
    assert code == 2
    assert len(ours) == 1
    assert "--epochs=3 (then) but 4 (now); --seed=0 (then) but 1 (now)" in ours[0]
    assert "Traceback" not in "".join(errors)


def test_ctrl_c_saves_the_step_and_says_that_the_same_command_goes_on(runs):
    root, _ = runs
    process = start(root / "interrupted", epochs=300, backup_minutes=60)
    wait_for_row(process, root / "interrupted")
    os.kill(process.pid, signal.SIGINT)
    code, errors = finish(process)
    assert code == 130
    assert errors[-1] == "interrupted"
    step = int(final(root / "interrupted")["step"])
    assert step >= 9
    assert f"step {step} is saved; the same command goes on" in errors


def test_sigterm_and_sighup_save_the_step_and_the_resumed_run_ends_in_the_same_bits(runs):
    root, _ = runs
    for signum, code in [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]:
        process = start(root / "stopped", backup_minutes=60)
        if code == 143:
            wait_for_row(process, root / "stopped")
        else:  # nine steps more would be over before a row of them is seen
            assert any("resuming after step" in line for line in process.stderr)
        process.send_signal(signum)
        assert finish(process)[0] == code
        assert 9 <= int(final(root / "stopped")["step"]) < 27
    assert finish(start(root / "stopped", backup_minutes=60))[0] == 0
    ours, theirs = final(root / "whole"), final(root / "stopped")
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(array, theirs[name]) for name, array in ours.items())


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_tensorflow_is_imported_is_one_line(signum, code, tmp_path):
    process = start(tmp_path / "early")
    maps = pathlib.Path(f"/proc/{process.pid}/maps")
    while "libtensorflow" not in maps.read_text():
        time.sleep(0.01)
    process.send_signal(signum)
    found, errors = finish(process)
    assert found == code
    assert errors[-1] == "interrupted"
    assert "Traceback" not in "".join(errors)


# === In this process ===


def run_of(tmp_path, n=64, horizon=8, labels=None, **settings):
    """A started `Run` on `n` images, bright above the horizon; at 0 there is no above."""
    x = np.full((n, 16, 16, 3), 40, np.uint8)
    x[:, :horizon] += np.random.default_rng(0).integers(100, 200, (n, 1, 1, 1), np.uint8)
    y = {} if labels is None else {"y_train": labels, "y_test": labels[:4]}
    np.savez(tmp_path / "x.npz", x_train=x, x_test=x[:4], **y)
    settings = {"epochs": 5, "batch_size": 8, "backup_minutes": 60, **settings}
    run = Run(dataset=str(tmp_path / "x.npz"), workdir=str(tmp_path / "run"), **settings)
    run.start("toy", {})
    return run


def compiled(run, learning_rate=0.05):
    with run.scope():
        pretext = UpsideDown(tiny_encoder())
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        pretext.compile(keras.optimizers.SGD(learning_rate), loss, metrics=["accuracy"])
    return pretext


@pytest.fixture
def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *values: lines.append(text % values))
    return lines


def test_a_diverged_run_stops_and_names_the_step(tmp_path):
    run = run_of(tmp_path)
    with pytest.raises(UserError, match=r"step \d+: expected a finite loss"):
        training.pretrain(compiled(run, learning_rate=1e38), run)


def test_a_loss_at_chance_is_warned_of_and_one_below_is_not(tmp_path, logged):
    run = run_of(tmp_path, n=256, batch_size=32, epochs=20, horizon=0)
    training.pretrain(compiled(run, learning_rate=1e-3), run)
    assert sum("still at chance (0.6931)" in line for line in logged) == 1
    logged.clear()
    (tmp_path / "again").mkdir()
    run = run_of(tmp_path / "again", epochs=20)
    training.pretrain(compiled(run, learning_rate=0.5), run)
    assert logged == []


def test_guard_recovers_the_losses_from_the_means_of_keras():
    guard = callbacks.Guard(callbacks.Progress(0, per_epoch=3, epochs=40))
    losses = [5, 4, 3, 2, 1, 0.5, 0.25, 2, 4, 6, 8, 10]  # twelve steps are a tenth
    guard.set_model(type("Model", (), {"chance_loss": 100.0}))
    for step, _ in enumerate(losses):
        epoch = losses[step // 3 * 3 : step + 1]
        guard.on_train_batch_end(step % 3, {"loss": np.mean(epoch)})
    assert guard.recent == pytest.approx(losses[6:])


@pytest.mark.parametrize("replicas", [1, 2])
def test_data_wait_tells_a_slow_source_from_slow_steps(replicas):
    def slow(x):
        time.sleep(0.05)
        return x

    class SlowSteps(UpsideDown):
        def after_step(self, y, y_pred):
            tf.numpy_function(slow, [y], y.dtype)

    fast = tf.data.Dataset.from_tensors((tf.zeros((4, 16, 16, 3)), tf.zeros(4, tf.int64))).repeat()
    late = fast.map(lambda x, y: (x, tf.ensure_shape(tf.numpy_function(slow, [y], y.dtype), [4])))
    shares = []
    for kind, batches in ((UpsideDown, late), (SlowSteps, fast)):
        with mirrored(replicas).scope():
            pretext = kind(tiny_encoder())
            pretext.compile("sgd")
        watch = [callbacks.DataWait()]
        history = pretext.fit(batches, epochs=2, steps_per_epoch=10, verbose=0, callbacks=watch)
        shares.append(history.history["data_wait"][1])  # tracing is a part of the first
    assert 0.6 < shares[0] < 1
    assert 0 <= shares[1] < 0.3


def test_data_wait_is_in_the_log_and_changes_no_bit(tmp_path, monkeypatch):
    weights = []
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        run = run_of(tmp_path / name, n=24, epochs=2)
        pretext = compiled(run)
        training.pretrain(pretext, run)
        weights.append(pretext.get_weights())
        with open(tmp_path / name / "run/log.csv", newline="") as file:
            seen = [row.get("data_wait") for row in csv.DictReader(file)]
        if name == "with":
            assert all(0 <= float(value) < 1 for value in seen)
        else:
            assert seen == [None, None]
        monkeypatch.setattr(callbacks, "DataWait", keras.callbacks.Callback)
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_log_has_the_time_of_the_wall_and_of_all_cores(tmp_path, monkeypatch):
    rows = callbacks.Rows(callbacks.Progress(0, per_epoch=3, epochs=1), tmp_path / "log.csv")
    rows.set_model(types.SimpleNamespace(optimizer=keras.optimizers.SGD(0.5)))
    clocks = {"monotonic": iter([100, 102.5]).__next__, "process_time": iter([7, 11.25]).__next__}
    monkeypatch.setattr(callbacks, "time", types.SimpleNamespace(**clocks))
    rows.on_epoch_begin(0)
    rows.on_epoch_end(0, {"loss": 2})
    with open(tmp_path / "log.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["seconds"], row["cpu_seconds"]) == ("2.5", "4.25")


def test_a_fit_that_was_broken_off_does_not_disturb_the_next(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    run = run_of(tmp_path, n=16, epochs=1)
    pretext = compiled(run)
    with pytest.raises(KeyboardInterrupt):
        training.pretrain(pretext, run, [Stop()])
    training.pretrain(pretext, run)
    assert [row["step"] for row in rows(tmp_path)] == ["2"]


def test_a_table_is_asked_for_before_every_epoch_and_the_run_counts_on(tmp_path):
    run, asked, shown = run_of(tmp_path, epochs=3), [], []
    pretext = compiled(run)

    def table(epoch):
        asked.append(epoch)
        return np.arange(64)

    class Shown(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            shown.append((epoch, self.params["epochs"]))

    training.pretrain(pretext, run, [Shown()], table)
    assert asked == [0, 1, 2]
    assert shown == [(0, 3), (1, 3), (2, 3)]
    assert int(pretext.optimizer.iterations.numpy()) == 3 * 8


def test_all_checkpoints_damaged_is_an_error_and_nothing_is_deleted(tmp_path):
    pretext = UpsideDown(tiny_encoder())
    pretext.compile("sgd", "sparse_categorical_crossentropy")
    store = checkpoints.Checkpoints(tmp_path)
    for step in (1, 2, 3):
        store.save(pretext, step)
    assert [path.name for path in store.paths()] == ["step_000000002.npz", "step_000000003.npz"]
    for path in store.paths():
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2] ^= 255
        path.write_bytes(damaged)
    with pytest.raises(UserError, match="2 damaged ones"):
        store.load()
    assert len(store.paths()) == 2


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    pretext = UpsideDown(tiny_encoder())
    pretext.compile("sgd", "sparse_categorical_crossentropy")
    store = checkpoints.Checkpoints(tmp_path)
    store.save(pretext, 1)
    pretext.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(UserError, match="state variables of this model"):
        checkpoints.restore_state(pretext, store.load())


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("constant", 99, 0.1),
        ("cosine", 0, 0.1),
        ("cosine", 50, 0.05),
        ("cosine", 100, 0.0),
        ("step", 30, 0.1),
        ("step", 31, 0.01),
        ("step", 99, 0.001),
    ],
)
def test_schedules(kind, step, expected):
    rate = schedules.schedule(kind, 0.1, 100, drops=(30, 60))
    assert float(rate(step)) == pytest.approx(expected, abs=1e-6)


def test_warm_up_rises_to_the_schedule_and_is_saved_with_it():
    warm = schedules.schedule("cosine", 0.1, 100, warmup_steps=10)
    assert float(warm(0)) == pytest.approx(0.01)
    assert float(warm(50)) == pytest.approx(0.05)
    config = keras.saving.serialize_keras_object(warm)
    again = keras.saving.deserialize_keras_object(config)
    assert float(again(4)) == pytest.approx(float(warm(4)))
    assert float(warm(4)) < 0.0501


def test_a_probe_that_fails_does_not_cost_the_export(tmp_path, logged):
    run = run_of(tmp_path, labels=np.arange(64) % 2)
    pretext = compiled(run)
    pretext.encoder.weights[0].assign(pretext.encoder.weights[0] * np.nan)
    assert run.finish(pretext) is None
    assert any("no linear probe: Features must be finite" in line for line in logged)
    assert (tmp_path / "run/exported/toy/1/saved_model.pb").is_file()


def test_labels_are_drawn_anew_but_where_all_are_wanted():
    run = Run(probe_images=5, probe_draws=3, seed=2**32 - 1)
    seeds = run._draws(types.SimpleNamespace(size=9))
    assert seeds[0] == run.seed
    assert len({*seeds}) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert run._draws(types.SimpleNamespace(size=5)) == [run.seed]


def test_flags_may_change_as_long_as_nothing_was_trained(tmp_path):
    Run(workdir=str(tmp_path / "run")).start("toy", {"crop": "3"})
    Run(workdir=str(tmp_path / "run")).start("toy", {"crop": "30"})
    assert (tmp_path / "run/flags.txt").read_text() == "--crop=30\n"


@pytest.mark.parametrize(("xla", "lines"), [("on", 1), ("auto", 0), ("off", 0)])
def test_xla_without_a_gpu_is_warned_of_in_one_line(xla, lines, tmp_path, logged, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [])
    monkeypatch.setattr(training.devices, "deterministic", lambda: None)
    run = Run(workdir=str(tmp_path / "run"), xla=xla, probe_images=0)
    run.start("toy", {})
    assert run.jit_compile == (xla == "on")
    assert sum("--xla=on" in line for line in logged) == lines


@pytest.mark.parametrize("name", ["seed", "probe_images", "resize"])
def test_negative_numbers_are_refused_at_once(name, tmp_path):
    with pytest.raises(UserError, match=f"--{name}: expected 0 .*Received: -1"):
        Run(**{name: -1}, workdir=str(tmp_path / "run")).start("toy", {})
    assert not (tmp_path / "run").exists()


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match=r"--workdir: expected a folder .* Received: .*run"):
        Run(workdir=str(tmp_path / "run")).start("toy", {})


def test_a_source_of_another_number_of_images_is_refused_and_one_as_large_is_trained_on(tmp_path):
    run = run_of(tmp_path, n=24)
    pretext = compiled(run)
    np.savez(tmp_path / "few.npz", x_train=np.zeros((9, 16, 16, 3), np.uint8))
    with pytest.raises(UserError, match=r"source: expected 24 images.*Received: 9"):
        training.pretrain(pretext, run, source=data.load(str(tmp_path / "few.npz")))
    pair = data.Paired(run.train_source, data.load(str(tmp_path / "few.npz")))
    training.pretrain(pretext, run, source=pair)
    assert checkpoints.Checkpoints(tmp_path / "run/checkpoints").paths()
    seen = json.loads((tmp_path / "run/images.json").read_text())["sha256"]
    assert any(name.startswith("second: ") for name in seen)


def test_the_card_of_a_discriminator_says_nothing_of_the_encoder(tmp_path):
    """It is exported in the encoder's place, started from nothing and saw other images."""
    run = run_of(tmp_path, probe_images=0)
    run.started_from = {"encoder": "lion"}
    pixels = keras.Input((None, None, 3))
    painter = keras.Model(pixels, keras.layers.Rescaling(1.0)(pixels), name="painter")
    judge = tiny_encoder()
    run.finish(compiled(run), image_model=painter, judge=judge)
    exported = tmp_path / "run/exported"
    file = keras.saving.load_model(exported / "toy/encoder.keras")
    np.testing.assert_array_equal(file.get_weights()[0], judge.get_weights()[0])
    cards = [exported / name / "card.json" for name in ("toy", "toy_painter")]
    of_judge, of_painter = (json.loads(card.read_text()) for card in cards)
    assert "started_from" not in of_judge
    assert of_painter["started_from"] == {"encoder": "lion"}
    assert of_judge["input"].endswith("real ones and a generator's")
