"""The zoo hands out what was exported, whole and unchanged, or says why not."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sslzoo import export, zoo
from sslzoo.errors import UserError
from sslzoo.zoo.entry import SCORES


def tiny_encoder(width):
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(width, 3, name="stage1")(inputs))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    for name, width in (("lion", 3), ("bear", 4)):
        export.save(tiny_encoder(width), root / name, card={"method": name})
    (root / ".tmp-half").mkdir()
    (root / "nothing").mkdir()
    return root


@pytest.fixture
def root(exported, tmp_path):
    return pathlib.Path(shutil.copytree(exported, tmp_path / "zoo", symlinks=True))


def test_lists_by_name_what_has_a_card(root):
    entries = zoo.list(root)
    assert [(e.name, e.card["method"]) for e in entries] == [("bear", "bear"), ("lion", "lion")]
    (root / "bear" / "card.json").write_text("{")
    assert [e.name for e in zoo.list(root)] == ["lion"]


def test_root_comes_from_the_environment(root, monkeypatch):
    monkeypatch.setenv("SSLZOO_ZOO", str(root))
    assert [e.name for e in zoo.list()] == ["bear", "lion"]
    assert zoo.encoder("lion").output_shape[-1] == 3


def test_saved_model_and_encoder_agree(root):
    images = np.random.default_rng(0).random((2, 9, 7, 3), np.float32)
    encoder = zoo.encoder("bear", root)
    expected = np.mean(encoder(images), axis=(1, 2))
    got = zoo.load("bear", root).embed(images)["embedding"]
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert encoder.trainable_weights


@pytest.mark.parametrize("name", ["", "..", ".", "../zoo/bear", "/bear", "a/b", "a\\b", "x..y", 3])
def test_names_are_no_paths(root, name):
    with pytest.raises(UserError, match="one folder name"):
        zoo.load(name, root)


def test_unknown_name_lists_the_known(root):
    with pytest.raises(UserError, match=r"known: bear, lion. Received: 'wolf'"):
        zoo.encoder("wolf", root)


@pytest.mark.parametrize(
    "file", ["1/saved_model.pb", "1/variables/variables.index", "1/assets.extra/encoder.keras"]
)
def test_a_changed_file_is_refused_by_name(root, file):
    data = bytearray((root / "bear" / file).read_bytes())
    data[len(data) // 2] ^= 1
    (root / "bear" / file).write_bytes(data)
    for load in (zoo.load, zoo.encoder):
        with pytest.raises(UserError, match=file):
            load("bear", root)


def test_a_missing_or_an_added_file_is_refused(root):
    (root / "bear" / "1" / "fingerprint.pb").unlink()
    (root / "bear" / "1" / "assets" / "extra.txt").write_text("x")
    with pytest.raises(UserError, match=r"1/assets/extra.txt, 1/fingerprint.pb"):
        zoo.load("bear", root)


def test_a_copy_made_through_the_link_is_checked_too(exported, tmp_path):
    root = pathlib.Path(shutil.copytree(exported, tmp_path / "copy"))  # follows links
    zoo.encoder("bear", root)
    with open(root / "bear" / "encoder.keras", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"encoder.keras"):
        zoo.encoder("bear", root)


def test_a_card_without_checksums_is_refused(root):
    card = json.loads((root / "bear" / "card.json").read_text())
    (root / "bear" / "card.json").write_text(json.dumps({**card, "files": {}}))
    with pytest.raises(UserError, match="SHA-256"):
        zoo.load("bear", root)


def test_code_in_an_encoder_is_not_run_even_if_the_card_vouches_for_it(root):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs))
    file = root / "bear" / "1" / export.ENCODER
    model.save(file)
    card = json.loads((root / "bear" / "card.json").read_text())
    card["files"][f"1/{export.ENCODER}"] = export.digest(file)
    (root / "bear" / "card.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="safe_mode"):
        zoo.encoder("bear", root)


# === Swaps, links and pipes ===


@pytest.mark.parametrize("name", ["load", "encoder"])
def test_what_was_checked_is_loaded_though_it_changes_meanwhile(root, monkeypatch, name):
    module = {"load": tf.saved_model, "encoder": keras.saving}[name]
    attribute = {"load": "load", "encoder": "load_model"}[name]
    load, folders = getattr(module, attribute), []

    def late(path, *args, **kwargs):
        for file in (root / "bear" / "1").rglob("*"):
            if file.is_file():
                file.write_bytes(b"other")
        folders.append(pathlib.Path(path))
        return load(path, *args, **kwargs)

    monkeypatch.setattr(module, attribute, late)
    assert getattr(zoo, name)("bear", root)
    (folder,) = folders
    assert not folder.is_relative_to(root)
    assert not folder.exists()


def link(path):
    path.symlink_to("/etc/hostname")


def link_to_a_folder(path):
    path.symlink_to("/etc")


@pytest.mark.parametrize("make", [link, link_to_a_folder, os.mkfifo])
@pytest.mark.parametrize("name", ["1/assets/new", "1/saved_model.pb", "1/variables", "1"])
def test_links_and_pipes_are_refused_by_name(root, name, make):
    path = root / "bear" / name
    if path.is_dir():
        shutil.move(path, root / "aside")
    path.unlink(missing_ok=True)
    make(path)
    for load in (zoo.load, zoo.encoder):
        with pytest.raises(UserError, match=f"bear/{name}: expected a plain file"):
            load("bear", root)


def test_a_link_within_is_no_way_around(root):
    file = root / "bear" / "1" / "saved_model.pb"
    file.rename(root / "bear" / "real.pb")
    file.symlink_to("../real.pb")
    with pytest.raises(UserError, match="plain file"):
        zoo.load("bear", root)


def test_the_link_to_the_encoder_leads_into_the_entry(root):
    twin = root / "bear" / "encoder.keras"
    twin.unlink()
    twin.symlink_to(root / "lion" / "1" / export.ENCODER)
    with pytest.raises(UserError, match=r"encoder.keras: expected a link into"):
        zoo.load("bear", root)
    twin.unlink()
    twin.symlink_to("encoder.keras")  # a circle inside
    assert zoo.load("bear", root)


def test_no_copy_is_left_behind(root, monkeypatch, tmp_path):
    (tmp_path / "private").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "private"))
    zoo.load("bear", root)
    (root / "bear" / "1" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(UserError, match="saved_model"):
        zoo.load("bear", root)
    assert not [*(tmp_path / "private").glob("sslzoo-*")]


# === Pins ===


def test_a_pinned_card_is_that_card(root):
    digest = zoo.digest("bear", root)
    assert zoo.load("bear", root, sha256=digest).embed
    assert zoo.encoder("bear", root, sha256=digest)
    with open(root / "bear" / "card.json", "a") as file:
        file.write(" ")
    for load in (zoo.load, zoo.encoder):
        with pytest.raises(UserError, match=f"bear/card.json: expected SHA-256 {digest}"):
            load("bear", root, sha256=digest)


def test_what_comes_with_sslzoo_is_pinned_where_it_lies_and_nowhere_else(root, monkeypatch):
    monkeypatch.delenv("SSLZOO_ZOO", raising=False)
    monkeypatch.setitem(export.SHIPPED, "bear", "0" * 64)
    assert zoo.load("bear", root)
    monkeypatch.setattr(zoo, "_shipped", lambda: root)
    for where in (None, root):
        with pytest.raises(UserError, match="expected SHA-256 0000"):
            zoo.load("bear", where)
    assert zoo.load("bear", sha256=zoo.digest("bear"))
    assert zoo.load("lion")


# === Listing ===


def test_listing_needs_no_tensorflow(root):
    code = "import sys; from sslzoo.cli import console\ntry: console()\n"
    code += "finally: assert not {'tensorflow', 'keras', 'numpy'} & {*sys.modules}"
    command = [sys.executable, "-c", code, "list", f"--root={root}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["name", "bear", "lion"]


def change(root, **values):
    """The card of `bear` is that of `lion` with other values."""
    card = json.loads((root / "lion" / "card.json").read_text())
    (root / "bear" / "card.json").write_text(json.dumps({**card, **values}))


def shown(root):
    """The names that are listed; what is shown is one line of printable characters each."""
    entries = zoo.list(root)
    for entry in entries:
        assert str(entry).isprintable()
    return [entry.name for entry in entries]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '"words"', "{}", "[" * 100_000, "\xff\xfe", '{"version": 1}'],
    ids=str.__len__,
)
def test_a_card_that_is_none_is_left_out(root, text):
    (root / "bear" / "card.json").write_text(text, encoding="latin-1")
    assert shown(root) == ["lion"]
    with pytest.raises(UserError, match=r"bear/card.json: expected a card"):
        zoo.load("bear", root)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
ROWS = st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(SCORES, JSON)), max_size=2)
DATASET = st.fixed_dictionaries({}, optional={"name": JSON, "images": JSON})
KEYS = ("version", "files", "recipe", "dataset", "scores", "image_size", "kind", "created")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON)),
    scores=st.none() | ROWS,
    dataset=st.none() | DATASET,
)
def test_no_value_of_a_card_stops_the_list(root, values, scores, dataset):
    change(root, **{"scores": scores, "dataset": dataset, **values})
    assert shown(root) in (["bear", "lion"], ["lion"])


@pytest.mark.parametrize(
    "values",
    [
        {"scores": [{"accuracy": "90 %"}]},
        {"scores": [{"accuracy": 10**400}]},
        {"scores": {"accuracy": 0.5}},
        {"scores": [[0.5]]},
        {"dataset": "cifar10"},
        {"dataset": {"name": 3}},
        {"recipe": ["jigsaw"]},
        {"version": True},
        {"image_size": "96"},
        {"files": ["1/saved_model.pb"]},
    ],
    ids=str,
)
def test_a_card_of_wrong_types_is_left_out(root, values):
    change(root, **values)
    assert shown(root) == ["lion"]


def test_nothing_in_a_zoo_steers_the_terminal(root):
    change(root, recipe="\x1b[2Jrotation\u202e", dataset={"name": "a\nb\ud800\x07"})
    evil = root / "wolf\x1b[31m"
    shutil.copytree(root / "lion", evil, symlinks=True)
    (root / "fox\x1b[31m").mkdir()
    (root / "fox\x1b[31m" / "card.json").write_text("{")
    command = [sys.executable, "-m", "sslzoo", "list", f"--root={root}"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (done.stdout + done.stderr).decode().splitlines()
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert r"\x1b[2Jrotation\u202e" in done.stdout.decode()


def test_a_pipe_for_a_card_makes_nobody_wait(root):
    (root / "bear" / "card.json").unlink()
    os.mkfifo(root / "bear" / "card.json")
    assert shown(root) == ["lion"]


def test_a_card_as_long_as_a_disk_is_not_read(root):
    with open(root / "bear" / "card.json", "ab") as file:
        file.truncate(2**40)
    assert shown(root) == ["lion"]


# === Publishing ===


def test_a_crash_between_any_two_steps_leaves_a_whole_animal(root, monkeypatch):
    """Every reader who comes at any moment of a second publication gets one whole version."""
    seen = []

    def watched(step):
        def wrapper(*args):
            seen.append(zoo.encoder("bear", root).output_shape[-1])
            zoo.load("bear", root)
            step(*args)
            seen.append(zoo.encoder("bear", root).output_shape[-1])

        return wrapper

    monkeypatch.setattr(os, "rename", watched(os.rename))
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda a, b: (watched(replace) if ".tmp-" in str(a) else replace)(a, b)
    )
    export.save(tiny_encoder(5), root / "bear")
    assert seen == [4, 4, 4, 4, 4, 5]
