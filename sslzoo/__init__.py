"""Self-supervised pretext tasks of computer vision, from pixels to servable encoders."""

import os

# TensorFlow reads these when it is first imported; what the environment says already wins.
# A jigsaw step on two AVX2 cores took 0.44 s with the first two and 1.87 s without them:
# oneDNN's convolutions are off by default on CPUs without AVX-512 VNNI, and the default allocator
# gives large tensors back to the system after each op, so that every page comes anew.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPU_ALLOCATOR_USE_BFC", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only

__version__ = "0.1.0"
