"""The import of Keras and TensorFlow without what a command does not need of it.

Where it finds scikit-learn and matplotlib, Keras imports them, for wrappers and plots that nothing
here uses; and Python's garbage collector looks again and again through modules that are to stay.
Without both `import sslzoo.training` took 2.9 s of CPU, with them 4.8 s (Keras 3.15).
"""

import gc
import sys

UNUSED = ("matplotlib", "sklearn")


def begin() -> None:
    """From here on an import of what is not used is an `ImportError`, which Keras expects."""
    gc.disable()
    for name in UNUSED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def end() -> None:
    """All can be imported again; what is there now the collector leaves alone."""
    for name in UNUSED:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
    gc.freeze()
    gc.enable()
