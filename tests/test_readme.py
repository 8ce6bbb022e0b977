"""What the READMEs say is there: the toy, a whole recipe, files, recipes, flags."""

import functools
import importlib
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from sslzoo import cli
from sslzoo.export import formats
from sslzoo.flags import signature

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
TEXTS = [README, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("[a-z]*/README.md"))]
FOLDERS = "recipes|exported|tools|tests|sslzoo"
ABSL = {"flagfile", "debug", "help"}
IMPORTS = """
import keras, tensorflow as tf
from sslzoo import cli, training
from sslzoo.pretext import Pretext
from sslzoo.training import Run
"""
each_text = pytest.mark.parametrize(
    "text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def test_the_example_is_the_toy_that_passes_the_contract():
    example = next(block for block in blocks() if "class UpsideDown" in block)
    toy = (README.parent / "tests" / "toy.py").read_text()
    assert re.sub(r"  #.*", "", example) in toy


def test_the_example_trains_probes_and_exports_as_a_script(tmp_path):
    example = [b for b in blocks() if "class UpsideDown" in b or "@cli.recipe" in b]
    assert len("".join(example).splitlines()) < 40
    script = tmp_path / "upside_down.py"
    script.write_text("\n".join([IMPORTS, *example, "cli.run(main)"]))
    x = np.random.default_rng(0).integers(0, 256, (96, 24, 24, 3), np.uint8)
    y = np.arange(96) % 2
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    flags = ["--dataset=tiny.npz", "--epochs=1", "--batch_size=32", "--probe_images=40"]
    flags.append("--formats=litert")
    done = subprocess.run(
        [sys.executable, str(script), *flags], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    version = tmp_path / "runs/upside_down/exported/upside_down/1"
    assert (version / "saved_model.pb").is_file()
    assert (version / formats.FILES["litert"]).is_file()
    assert "random init" in done.stderr


# === What the texts name ===


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_the_results_have_their_markers():
    """What `sslzoo compare --readme=README.md` put there, with its command."""
    table = re.search(
        r"<!-- results -->\n\|.*\|\n\n(.*)\n<!-- /results -->\n", README.read_text(), re.S
    )
    assert "`sslzoo compare --dataset=" in table[1]


@each_text
def test_every_path_and_link_leads_to_something(text):
    words = text.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", words)
    missing = [link for link, _ in links if not (text.parent / link).exists()]
    missing += [
        f"{link}#{anchor}"
        for link, anchor in links
        if anchor and anchor not in headings(text.parent / link if link else text)
    ]
    # A path that begins with a folder of ours, and not in the middle of another one.
    named = re.findall(rf"(?<![\w./{{-])(?:{FOLDERS})/[\w./-]*", words)
    named = [path.rstrip(".") for path in named if "NAME" not in path]
    missing += [path for path in named if not (ROOT / path).exists()]
    assert not missing


@each_text
def test_every_recipe_that_is_named_exists(text):
    named = re.findall(r"sslzoo\.recipes\.(\w+)|sslzoo train (\w+)", text.read_text())
    unknown = {a or b for a, b in named} - {"NAME"} - {*cli.modules("recipes")}
    assert not unknown


@each_text
def test_every_flag_that_is_named_exists(text):
    wrong = [
        f"{owner or 'every recipe'}: --{flag}"
        for owner, flag in flags_named(text.read_text())
        if not {flag, flag.removeprefix("no")} & (known(owner) | ABSL)
    ]
    assert not wrong


def headings(path):
    """Anchors of a Markdown file, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def flags_named(words):
    """(owner, flag) of every `--flag` in code; the owner is the recipe, tool or sub-command.

    A flag that stands alone is of the owner that was named before it in its paragraph, list item
    or row; without one, of every recipe.
    """
    for fence in re.findall(r"```sh\n(.*?)```", words, re.S):
        for line in fence.replace("\\\n", " ").splitlines():
            if owner := owner_of(line):
                yield from in_command(line.partition("  #")[0], owner)
    words = re.sub(r"```.*?```", "", words, flags=re.S)
    for paragraph in re.split(r"\n\n|\n(?=[-|#])", words):
        owner = None
        for span in re.findall(r"`([^`]+)`", paragraph):
            owner = owner_of(span) or owner
            if span.startswith("--") or owner_of(span):
                yield from in_command(span, owner)


def owner_of(command):
    """Whose flags a piece of code has, or None."""
    if command in cli.modules("recipes"):
        return command
    named = r"(tools/\w+\.py)|sslzoo\.recipes\.(\w+)|\bsslzoo\s+(?:train\s+)?([\w-]+)"
    if owner := re.search(named, command):
        return next(filter(None, owner.groups()))
    sheet = re.search(r"recipes/(\w+)\.flags", command)
    recipes = [name for name in cli.modules("recipes") if sheet and sheet[1].startswith(name)]
    return max(recipes, key=len, default=None)


def in_command(command, owner):
    """(owner, flag) of each flag; those behind a tool's ` -- ` are another's."""
    own = command.partition(" -- ")[0]
    yield from ((owner, flag) for flag in re.findall(r"(?<![\w-])--(\w+)", own))


@functools.cache
def known(owner):
    """The flags of a recipe, sub-command or tool; of None or NAME: those of every recipe."""
    if owner in (None, "NAME"):
        return frozenset.intersection(*map(known, cli.modules("recipes")))
    if owner.startswith("tools/"):
        defined = r"(?:DEFINE_\w+|add_argument)\(\s*\"(?:--)?(\w+)\""
        return frozenset(re.findall(defined, (ROOT / owner).read_text()))
    package = "recipes" if owner in cli.modules("recipes") else "commands"
    main = importlib.import_module(f"sslzoo.{package}.{owner.replace('-', '_')}").main
    return frozenset(flag.name for flag in signature.flags_of(main))
