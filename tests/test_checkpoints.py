"""A damaged checkpoint is told from a whole one, whatever the damage; a full disk costs nothing."""

import zipfile

import keras
import numpy as np
import pytest
from toy import UpsideDown

from sslzoo.errors import UserError
from sslzoo.training import checkpoints

CASES = 400


@pytest.fixture
def pretext():
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(48, 3, name="stage1")(images)  # one array is of more than a buffer
    made = UpsideDown(keras.Model(images, keras.layers.Conv2D(48, 3, name="stage2")(x)))
    made.compile("sgd", "sparse_categorical_crossentropy")
    return made


@pytest.fixture
def store(pretext, tmp_path):
    """Checkpoints of steps 1 and 2, with different weights."""
    found = checkpoints.Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        for variable in pretext.trainable_variables:
            variable.assign(np.random.default_rng(step).random(variable.shape))
        found.save(pretext, step)
    return found


def same(ours, theirs):
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name], theirs[name]) and ours[name].dtype == theirs[name].dtype
        for name in ours
    )


def without(path, names):
    """The zip file, but for these of its members."""
    with zipfile.ZipFile(path) as file:
        kept = {m: file.read(m) for m in file.namelist() if m not in names}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in kept.items():
            file.writestr(name, data)


def damage(path, rng):
    data = bytearray(path.read_bytes())
    kind = rng.integers(4)
    if kind == 0:
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
    elif kind == 1:  # where the directory of the file is
        data[-rng.integers(1, 1000)] ^= 1 << rng.integers(8)
        path.write_bytes(data)
    elif kind == 2:
        path.write_bytes(data[: rng.integers(len(data))])
    else:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
        without(path, rng.choice(names, rng.integers(1, 3), replace=False))


def test_no_damage_gives_a_wrong_value_or_another_error(store, pretext):
    older, newest = store.paths()
    whole, bytes_, before = checkpoints._read(newest), newest.read_bytes(), checkpoints._read(older)
    rng, fell_back = np.random.default_rng(0), 0
    for case in range(CASES):
        newest.write_bytes(bytes_)
        damage(newest, rng)
        arrays = store.load(pretext, 9)
        if not same(arrays, whole):
            fell_back += 1
            assert same(arrays, before), case
    assert fell_back > CASES / 2  # some bits of a zip file mean nothing


def test_an_array_cut_short_by_its_own_header_is_damage(store):
    """NumPy stops reading where the header says, before zip's CRC is compared."""
    newest = store.paths()[-1]
    assert newest.read_bytes().count(b"(3, 3, 48, 48)") == 1
    newest.write_bytes(newest.read_bytes().replace(b"(3, 3, 48, 48)", b"(2, 3, 48, 48)"))
    assert int(store.load()["step"]) == 1


def test_a_step_beyond_the_run_is_damage(store, pretext):
    assert int(store.load(pretext, 1)["step"]) == 1


def test_a_checkpoint_of_another_model_gives_way_to_one_that_fits(store, pretext):
    pretext.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(UserError, match="state variables of this model"):
        store.load(pretext, 9)
    store.save(pretext, 3)  # of the steps before only the second is kept
    pretext.compile("sgd", "sparse_categorical_crossentropy")
    assert int(store.load(pretext, 9)["step"]) == 2


def test_a_full_disk_is_one_line_and_the_checkpoints_stay_whole(store, pretext, monkeypatch):
    def savez(file, **arrays):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    before = store.load()
    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(UserError, match=r"unfinished\.tmp: expected .* Received: No space left"):
        store.save(pretext, 3)
    assert same(store.load(), before)


def test_a_folder_in_the_place_of_the_file_is_one_line(store, pretext):
    (store.directory / "unfinished.tmp").mkdir()
    with pytest.raises(UserError, match=r"unfinished\.tmp: .* Received: Is a directory"):
        store.save(pretext, 3)
    (store.directory / "step_000000003.npz").mkdir()
    assert int(store.load(pretext)["step"]) == 2
