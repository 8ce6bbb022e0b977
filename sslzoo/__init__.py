"""Self-supervised pretext tasks of computer vision, from pixels to servable encoders."""

import ctypes
import os
import sys

# TensorFlow reads these when it is first imported; what the environment says already wins.
# A jigsaw step on two AVX2 cores took 0.44 s with the first two and 1.87 s without them:
# oneDNN's convolutions are off by default on CPUs without AVX-512 VNNI, and the default allocator
# gives large tensors back to the system after each op, so that every page comes anew.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only

# What oneDNN borrows within an operation comes from the C library, which gave it back each time: a
# step of `small` met 1,200 new pages, now none, and takes 0.93 of the time. Blocks of up to 32 MB
# come from memory that is kept (M_MMAP_THRESHOLD, at its limit), of which up to 512 MB may lie idle
# (M_TRIM_THRESHOLD); the heap of a thread grows by 64 MB (M_TOP_PAD), all of it address space until
# it is used. What the environment says to glibc's malloc wins here too. Linux's parameters by
# number, in glibc; other C libraries have no `mallopt`.
if sys.platform == "linux" and hasattr(_libc := ctypes.CDLL(None), "mallopt"):
    for _name, _number, _bytes in (
        ("MALLOC_MMAP_THRESHOLD_", -3, 32 << 20),
        ("MALLOC_TRIM_THRESHOLD_", -1, 512 << 20),
        ("MALLOC_TOP_PAD_", -2, 64 << 20),
    ):
        if _name not in os.environ and "glibc.malloc." not in os.environ.get("GLIBC_TUNABLES", ""):
            _libc.mallopt(_number, _bytes)

__version__ = "0.1.0"
