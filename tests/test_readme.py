"""The README's example is the toy of the contract, and a whole recipe of twenty lines."""

import pathlib
import re
import subprocess
import sys

import numpy as np

from sslzoo.export import formats

README = pathlib.Path(__file__).parents[1] / "README.md"
IMPORTS = """
import keras, tensorflow as tf
from sslzoo import cli, training
from sslzoo.pretext import Pretext
from sslzoo.training import Run
"""


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
