"""Imports point down: each package may import those above it in this list."""

import ast
import pathlib

import pytest

import sslzoo

ROOT = pathlib.Path(sslzoo.__file__).parent
ORDER = [
    *("errors", "flags", "progress", "precision", "images", "pictures", "data", "pretext", "parts"),
    *("encoders", "pretexts", "probes", "export", "zoo", "training", "judging", "comparison"),
    *("report", "cli", "recipes", "commands", "__main__"),
]
NEVER = {  # package -> what it may not import though it comes earlier
    "parts": {"data"},
    "pretexts": {"data", "encoders"},  # a pretext is given its encoder and its images
    "probes": {"pretext", "pretexts", "data"},
    "export": {"pretext", "pretexts", "data", "probes"},
    "zoo": {"pretext", "pretexts", "data", "probes"},
    "training": {"pretexts"},
    "judging": {"pretext", "pretexts", "parts"},
    "comparison": {"pretexts", "judging"},
    "report": {"training", "judging", "comparison", "pretext", "pretexts", "parts"},
    # It finds recipes and commands by name.
    "cli": {*ORDER} - {"errors", "flags"},
    "commands": {"recipes", "pretexts"},
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported(path):
    """The packages of sslzoo that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("sslzoo."))


def test_every_package_is_in_the_list():
    assert {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES} == {*ORDER}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    allowed = {*ORDER[: ORDER.index(part) + 1]} - NEVER.get(part, set())
    # `from sslzoo import __version__` is of no package.
    wrong = {*imported(path)} - allowed - {"__version__"}
    assert not wrong, f"{path}: {part} may not import {sorted(wrong)}"
