"""What is committed in exported/: small, whole, remade by its card, and what the README shows.

Without an animal there, every test here is skipped.
"""

import importlib
import pathlib
import re
import shlex

import numpy as np
import pytest
import skimage
import tensorflow as tf

from sslzoo import export, zoo
from sslzoo.flags import signature

ROOT = pathlib.Path(__file__).parents[1]
LIMIT = 2_000_000  # bytes an animal: a clone should stay light
ANIMALS = zoo.list(ROOT / "exported")
each = pytest.mark.parametrize("animal", ANIMALS, ids=lambda animal: animal.name)


@each
def test_is_small(animal):
    files = [file for file in pathlib.Path(animal.path).rglob("*") if not file.is_symlink()]
    assert 0 < sum(file.stat().st_size for file in files if file.is_file()) <= LIMIT


def test_the_pins_are_current():
    """After an animal is trained anew: its `zoo.digest` goes into sslzoo/export/pins.py."""
    assert {animal.name: animal.sha256 for animal in ANIMALS} == export.SHIPPED


def set_by(main, parsed):
    """All flags as text, but for where it is done."""
    flags = signature.flags_of(main, parsed)
    return {f.name: signature.text(f.default) for f in flags if f.name != "workdir"}


@each
def test_the_card_remakes_it_anywhere_and_is_honest(animal):
    card = animal.card
    package = "commands" if card["recipe"] == "classify" else "recipes"
    main = importlib.import_module(f"sslzoo.{package}.{card['recipe']}").main
    flags = [f"--{name}={value}" for name, value in card["flags"].items()]
    parsed = signature.parse(main, [card["recipe"], *flags])
    assert parsed["classify" if package == "commands" else "run"].seed == card["seed"]
    if command := card.get("command"):  # that of `rotation` is older
        words = [word for word in shlex.split(command) if word.startswith("--")]
        again = signature.parse(main, [card["recipe"], *words])
        assert set_by(main, again) == set_by(main, parsed)
    assert not re.search(r'"[/~]', pathlib.Path(animal.path, "card.json").read_text())
    assert all({"accuracy", "random_accuracy"} <= row.keys() for row in card["scores"])
    assert re.search(r"% \(random init .*% *\) *[\d.]+ MB", str(animal))


@each
def test_embeds_photographs_as_its_keras_encoder_does(animal):
    served = zoo.load(animal.name, ROOT / "exported")  # checked against its SHA-256
    names = ("astronaut.png", "coffee.png", "rocket.jpg")
    files = [pathlib.Path(skimage.data_dir, name).read_bytes() for name in names]
    embedded = served.embed_bytes(tf.constant(files))["embedding"].numpy()
    assert np.isfinite(embedded).all()
    assert len(np.unique(embedded.round(3), axis=0)) == 3
    side = animal.card["image_size"]
    images = np.stack([tf.image.resize(skimage.data.astronaut() / 255, (side, side))])
    encoder = zoo.encoder(animal.name, ROOT / "exported")
    expected = np.mean(encoder(images), axis=(1, 2))
    np.testing.assert_allclose(served.embed(images)["embedding"], expected, atol=1e-4)


@pytest.mark.parametrize(
    "animal", [a for a in ANIMALS if "classes" in a.card], ids=lambda animal: animal.name
)
def test_a_classifier_names_classes_of_its_card(animal):
    served = zoo.load(animal.name, ROOT / "exported")
    photo = pathlib.Path(skimage.data_dir, "chelsea.png").read_bytes()  # a cat
    answer = served.classify_bytes(tf.constant([photo]))
    names = [name.decode() for name in answer["classes"].numpy()[0]]
    assert {*names} <= {*animal.card["classes"]}
    assert len({*names}) == 5
    scores = answer["scores"].numpy()[0]
    assert [*scores] == sorted(scores, reverse=True)
    assert 0 < scores.sum() <= 1


@pytest.mark.skipif(not ANIMALS, reason="exported/ is empty")
def test_the_first_example_of_the_readme_embeds_a_photograph(monkeypatch):
    monkeypatch.setenv("SSLZOO_ZOO", str(ROOT / "exported"))
    first = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S).group(1)
    assert "zoo.load(" in first
    lines = first.strip().splitlines()
    names = {}
    exec("\n".join(lines[:-1]), names)
    shape = re.search(r"# \((\d+), (\d+)\)$", lines[-1])
    assert eval(lines[-1], names).shape == tuple(map(int, shape.groups()))
