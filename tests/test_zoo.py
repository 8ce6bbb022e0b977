"""The zoo hands out what was exported, whole and unchanged, or says why not."""

import json
import os
import pathlib
import shutil

import keras
import numpy as np
import pytest

from sslzoo import export, zoo
from sslzoo.errors import UserError


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
    model = zoo.load("bear", root)  # kept: TensorFlow frees the weights with it
    got = model.embed(images)["embedding"]
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
