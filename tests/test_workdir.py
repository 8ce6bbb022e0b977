"""The folder of a run: one process, the same flags, the same images; what is damaged is named."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import jpeg

from sslzoo import data
from sslzoo.errors import UserError
from sslzoo.training import Run, workdir
from sslzoo.training.run import MAY_DIFFER

HOLDER = """
import fcntl, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(str(os.getpid()))
file.flush()
print(flush=True)
time.sleep(100)
"""


def images(n=20, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 16, 16, 3), np.uint8)


def start(tmp_path, x=None, **settings):
    """A started run of two images a step."""
    if x is not None:
        np.savez(tmp_path / "x.npz", x_train=x, x_test=x[:4])
    settings = {"dataset": str(tmp_path / "x.npz"), "batch_size": 2, **settings}
    run = Run(workdir=str(tmp_path / "run"), **settings)
    run.start("toy", {"crop": "3"})
    return run


def trained(tmp_path):
    """As if there was something to resume."""
    (tmp_path / "run/log.csv").write_text("epoch\n1\n")


# === One process ===


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path):
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run/lock")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    holder.stdout.readline()
    try:
        with pytest.raises(UserError, match=rf"--workdir: .* by process {holder.pid}$"):
            start(tmp_path, images())
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    start(tmp_path)
    start(tmp_path)  # in the same process, though the first Run is still there
    assert (tmp_path / "run/lock").read_text() == str(os.getpid())


def test_no_other_process_gets_the_folder_of_this_one(tmp_path):
    start(tmp_path, images())
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    command = [sys.executable, "-c", script, str(tmp_path / "run/lock")]
    assert b"BlockingIOError" in subprocess.run(command, stderr=subprocess.PIPE).stderr


# === The same images ===


def test_other_images_under_the_same_path_are_refused(tmp_path):
    x = images()
    start(tmp_path, x)
    trained(tmp_path)
    start(tmp_path, x)
    x[7] ^= 1
    with pytest.raises(
        UserError, match=r"--dataset: .* where x_train\[7\] and 0 more of 20 differ"
    ):
        start(tmp_path, x)
    with pytest.raises(UserError, match=r"20 images \(then\) but 18 \(now\)"):
        start(tmp_path, x[:18])


def test_other_images_are_fine_where_nothing_was_trained(tmp_path):
    start(tmp_path, images())
    start(tmp_path, images(18))
    assert json.loads((tmp_path / "run/images.json").read_text())["images"] == 18


def test_a_folder_made_before_there_was_a_fingerprint_gets_one(tmp_path):
    start(tmp_path, images())
    trained(tmp_path)
    (tmp_path / "run/images.json").unlink()
    start(tmp_path)
    with pytest.raises(UserError, match="--dataset"):
        start(tmp_path, images(seed=1))


def test_the_files_of_a_folder_are_looked_into(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(16, i))
    before = workdir.fingerprint(data.load(str(tmp_path)))
    assert workdir.fingerprint(data.load(str(tmp_path))) == before
    name = next(iter(before["sha256"]))
    (tmp_path / name).write_bytes(jpeg(16, 9))
    after = workdir.fingerprint(data.load(str(tmp_path)))
    assert [n for n, sha in after["sha256"].items() if sha != before["sha256"][n]] == [name]


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"[]", b'{"images": 20}', b""])
def test_a_damaged_fingerprint_is_named(damaged, tmp_path):
    start(tmp_path, images())
    trained(tmp_path)
    (tmp_path / "run/images.json").write_bytes(damaged)
    with pytest.raises(UserError, match=r"images\.json: expected .* Received: a damaged file"):
        start(tmp_path)


# === The same flags ===


def test_comments_and_blank_lines_in_flags_are_left_out(tmp_path):
    start(tmp_path, images())
    trained(tmp_path)
    path = tmp_path / "run/flags.txt"
    path.write_text("# mine\n\n" + path.read_text() + "  \n")
    start(tmp_path)
    path.write_text("--crop=4\n")
    with pytest.raises(UserError, match=r"--crop=4 \(then\) but 3 \(now\)"):
        start(tmp_path)


def test_a_folder_may_be_moved(tmp_path):
    def claim(folder, crop):
        flags = {"crop": crop, "workdir": folder}
        workdir.claim_flags(tmp_path / folder, flags, {}, MAY_DIFFER)

    (tmp_path / "run").mkdir()
    claim("run", "3")
    trained(tmp_path)
    (tmp_path / "run").rename(tmp_path / "moved")
    claim("moved", "3")
    with pytest.raises(UserError, match=r"Received: --crop=3 \(then\) but 4 \(now\)$"):
        claim("moved", "4")


def test_binary_flags_are_named(tmp_path):
    start(tmp_path, images())
    trained(tmp_path)
    (tmp_path / "run/flags.txt").write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match=r"flags\.txt: expected the text that a run wrote"):
        start(tmp_path)
