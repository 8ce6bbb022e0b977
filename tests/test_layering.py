"""Imports point down (see the README's map of the code)."""

import ast
import pathlib

import pytest

import sslzoo

ROOT = pathlib.Path(sslzoo.__file__).parent
BOTTOM = {"errors"}
PUZZLE = {"pretext", "images", "lab", "layers", "heads", "adversarial", "memory", "permutations"}
PUZZLE |= {"clusters"}
ALLOWED = {  # part -> what it may import of ours
    "errors": set(),
    "images": BOTTOM,
    "lab": BOTTOM,
    "layers": BOTTOM,
    "permutations": BOTTOM,
    "clusters": BOTTOM,
    "album": BOTTOM | {"images"},
    "pretext": BOTTOM,
    "heads": BOTTOM | {"layers"},
    "adversarial": BOTTOM | {"pretext", "heads"},
    "memory": BOTTOM | {"pretext"},
    "headers": BOTTOM,
    "uploads": BOTTOM | {"headers"},
    "data": BOTTOM | {"headers"},
    "encoders": BOTTOM | {"layers"},
    "checkpoints": BOTTOM,
    "devices": BOTTOM,
    "callbacks": BOTTOM | {"checkpoints", "images"},
    "training": BOTTOM | {"checkpoints", "callbacks", "pretext"},
    "probes": BOTTOM | {"encoders"},
    "folding": BOTTOM | {"layers"},
    "warmup": BOTTOM,
    "runtimes": BOTTOM | {"folding"},
    "export": BOTTOM | {"encoders", "folding", "runtimes", "uploads", "warmup"},
    "zoo": BOTTOM | {"export"},
    "serving": BOTTOM | {"zoo"},
    "pretexts": BOTTOM | PUZZLE | {"pretexts"},
    "run": BOTTOM | {"data", "devices", "encoders", "export", "probes", "runtimes", "training"},
    "cli": BOTTOM | {"zoo"},
    "confusion": BOTTOM,
    "classify": BOTTOM | {"confusion", "data", "encoders", "export", "images", "probes", "zoo"},
    "recipes": BOTTOM
    | {"cli", "run", "training", "probes", "export", "data", "encoders", "pretexts", "lab"}
    | {"album"},
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def imported(path):
    """The parts of sslzoo that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("sslzoo."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_down(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    # `from sslzoo import __version__` is of no part.
    wrong = {*imported(path)} - ALLOWED[part] - {part, "__version__"}
    assert not wrong, f"{path}: {part} may not import {sorted(wrong)}"
