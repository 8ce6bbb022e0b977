"""A wheel brings its animals with it."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("pip")
ROOT = pathlib.Path(__file__).parents[1]
SOURCES = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "sslzoo", "exported")

ASK = """
import pathlib
import sys
import numpy as np
import sslzoo
from sslzoo import zoo
assert sslzoo.__file__.startswith(sys.argv[1]), sslzoo.__file__
assert [entry.name for entry in zoo.list()]
assert all(entry.path.startswith(sys.argv[1]) for entry in zoo.list())
images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
embedding = zoo.load("rotation").embed(images)["embedding"]
maps = zoo.encoder("rotation")(images)
assert (pathlib.Path(sslzoo.__file__).parent / "report" / "page.html").is_file()
np.testing.assert_allclose(embedding, np.mean(maps, (1, 2)), atol=1e-4)
"""


def run(*command, **kwargs):
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_installed_wheel_loads_what_it_brought(tmp_path):
    sources, target, empty = (tmp_path / name for name in ("sources", "target", "empty"))
    for name in SOURCES:  # not in the checkout: pip leaves its build/ there
        path = ROOT / name
        sources.mkdir(exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, sources / name, symlinks=True)
        else:
            shutil.copy(path, sources)
    quiet = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*quiet, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, sources)
    (wheel,) = tmp_path.glob("*.whl")
    run(*quiet, "install", "--no-deps", "--no-index", "--target", target, wheel)
    empty.mkdir()
    shutil.rmtree(sources)
    kept = {key: value for key, value in os.environ.items() if key != "SSLZOO_ZOO"}
    run("-c", ASK, target, cwd=empty, env={**kept, "PYTHONPATH": str(target)})
