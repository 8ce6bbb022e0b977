"""`keras` and `tensorflow` as names with nothing behind them, so that a signature can be read.

The flags of a recipe are the signature of its pretext's class. The module of that class imports
Keras and TensorFlow, which takes seconds, but its arguments, annotations and docstrings need
neither. After `install` this process imports nothing of them, and can do nothing else any more.
"""

import importlib.abc
import importlib.machinery
import inspect
import sys
import types
from typing import Any

LIBRARIES = ("keras", "tensorflow")


class Name(types.ModuleType):
    """Any module, base class, decorator, function or value: all that is asked of it is one too."""

    def __getattr__(self, name: str) -> "Name":
        if name.startswith("__"):  # Python asks whether there is such a thing
            raise AttributeError(name)
        return Name(name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A decorator gives back what it is put on."""
        decorates = len(args) == 1 and (inspect.isclass(args[0]) or inspect.isfunction(args[0]))
        return args[0] if decorates else Name("called")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[()]:
        """A class that inherits from it inherits from nothing."""
        return ()

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keras' table of custom objects."""

    def __or__(self, other: Any) -> Any:
        """In annotations, `keras.Model | None`."""
        return Any

    __ror__ = __or__


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a `Name` for every module of the libraries."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Every module is a package: any may have modules in it."""
        if name.partition(".")[0] not in LIBRARIES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Name:
        """The module."""
        return Name(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


def install() -> None:
    """From now on every import of the libraries in this process is of names only."""
    sys.meta_path.insert(0, Finder())
