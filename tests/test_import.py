"""What `import sslzoo` tells TensorFlow and the C library, each in a process of its own."""

import os
import platform
import subprocess
import sys

import pytest

SETTINGS = ("TF_ENABLE_ONEDNN_OPTS", "TF_CPU_ALLOCATOR_USE_BFC", "TF_CPP_MIN_LOG_LEVEL")
NEW_PAGES = """
import ctypes, resource, sslzoo
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def borrow():  # 128 MB, written and given back
    blocks = [ctypes.c_void_p(libc.malloc(16 << 20)) for _ in range(8)]
    for block in blocks:
        ctypes.memset(block, 1, 16 << 20)
    for block in blocks:
        libc.free(block)
borrow()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    borrow()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def printed(code, **environment):
    """What Python prints for `code` where the environment says nothing else of these settings."""
    plain = {k: v for k, v in os.environ.items() if k not in SETTINGS and "MALLOC" not in k}
    plain.pop("GLIBC_TUNABLES", None)
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env={**plain, **environment}, capture_output=True, text=True, check=True
    ).stdout.split()


def test_tensorflow_is_told_what_the_environment_leaves_open():
    code = f"import os, sslzoo; print(*(os.environ[name] for name in {SETTINGS}))"
    assert printed(code) == ["1", "true", "2"]
    assert printed(code, TF_ENABLE_ONEDNN_OPTS="0") == ["0", "true", "2"]


glibc_alone = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks for glibc")


@glibc_alone
def test_memory_that_is_given_back_stays_in_the_process():
    assert int(*printed(NEW_PAGES)) < 100


@glibc_alone
@pytest.mark.parametrize(
    "said",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
    ids=["variables", "tunables"],
)
def test_what_the_user_says_of_memory_wins(said):
    assert int(*printed(NEW_PAGES, **said)) > 10_000
