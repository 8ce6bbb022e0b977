"""The command line: recipes and sub-commands, their errors, signals and exit codes."""

import ast
import atexit
import dataclasses
import functools
import importlib
import inspect
import itertools
import logging as std_logging
import os
import pkgutil
import signal
import sys
import textwrap
import traceback
import typing
from collections.abc import Callable
from typing import Any

from absl import flags as absl_flags
from absl import logging

from sslzoo.errors import STOPPING, UserError, stop
from sslzoo.flags import idle, names_only, quick_import, signature

NOTHING_TO_SAY = 3  # an exit code


def recipe(main: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `main(run=Run(...), **settings)` a recipe: the same from Python and from the shell.

    On each call the run is told its name and the values of all flags, and started.
    """
    name = os.path.basename(inspect.getfile(main)).removesuffix(".py")
    bare = inspect.signature(main)
    flags = signature.flags_of(main)
    typed_defaults, defaults = {flag.name: flag.default for flag in flags}, signature.texts(flags)

    @functools.wraps(main)
    def started(*args: Any, **kwargs: Any) -> Any:
        bound = bare.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        given["run"] = dataclasses.replace(given["run"])  # the default one is never changed
        signature.check(main, given)
        flags = signature.flags_of(main, given)
        typed, values = {flag.name: flag.default for flag in flags}, signature.texts(flags)
        for one, switch in idle.idle(typed, typed_defaults):
            logging.warning(
                "--%s=%s does nothing beside --%s=%s", one, values[one], switch, values[switch]
            )
        given["run"].start(name, values, defaults)
        return main(**given)

    return started


def run(main: Callable[..., Any], argv: list[str] | None = None) -> typing.NoReturn:
    """Parses the command line, calls the recipe, and exits.

    The code is 0; 2 for bad input; 128 + its number for a signal, 130 for Ctrl-C.
    """
    quick_import.end()
    sys.exit(_guarded(functools.partial(call, main), argv or sys.argv))


def console() -> typing.NoReturn:
    """The `sslzoo` command: a file of `sslzoo/commands/` for each word, their flags behind it."""
    sys.exit(_guarded(_command, sys.argv))


def start(module: str, argv: list[str]) -> None:
    """Imports a recipe or command and calls its `main`, if the command line is right."""
    _look(module, argv)
    quick_import.begin()
    try:
        main = importlib.import_module(module).main
    finally:
        quick_import.end()
    call(main, argv)


def call(main: Callable[..., Any], argv: list[str]) -> None:
    """Calls `main` with what the command line says."""
    words, given = _arguments(main, argv)
    main(*words, **given)


def modules(package: str) -> list[str]:
    """The names of the modules of `sslzoo.<package>`, without importing them."""
    folder = os.path.join(os.path.dirname(__file__), package)
    return [module.name for module in pkgutil.iter_modules([folder])]


# === Running ===


def _arguments(main: Callable[..., Any], argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """What `main` is called with: its `*words`, and settings within their ranges.

    A `main` of words alone takes them all as they are, flags too; else words stand before flags.
    """
    parameters = inspect.signature(main).parameters.values()
    takes_words = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if takes_words and len(parameters) == 1:
        return argv[1:], {}
    words = [*itertools.takewhile(lambda arg: not arg.startswith("-"), argv[1:] * takes_words)]
    given = signature.parse(main, [argv[0], *argv[1 + len(words) :]])
    signature.check(main, given)
    return words, given


def _look(module: str, argv: list[str]) -> None:
    """Answers --help and wrong flags before TensorFlow is imported, which takes seconds.

    A child of this process, where Keras and TensorFlow are names only, reads the command line.
    Where it had something to say this process ends with its code; where there was nothing, or the
    child could not tell, this process goes on.
    """
    if "tensorflow" in sys.modules:  # nothing to gain, and its threads do not survive a fork
        return
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code in (0, 2):
            sys.exit(code)
        return
    _listen(signal.SIG_DFL)  # the parent says "interrupted"
    names_only.install()
    try:
        _arguments(importlib.import_module(module).main, argv)
    except UserError:
        raise
    except Exception:
        pass  # the parent meets it too, or it comes of the names
    os._exit(NOTHING_TO_SAY)


def _guarded(function: Callable[..., Any], argv: list[str]) -> int:
    """Runs a command with errors as a person wants them; returns the exit code."""
    _listen(stop)
    try:
        _show_our_log()
        function(argv)
    except UserError as error:
        if "--debug" in argv:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt as stopped:
        _listen(signal.SIG_DFL)  # a second one shall not be a traceback
        sys.stderr.write("\ninterrupted\n")
        return 128 + getattr(stopped, "signum", signal.SIGINT)
    atexit.register(_listen, signal.SIG_IGN)  # all is done, but TensorFlow's end takes seconds
    return 0


def _listen(handler: Any) -> None:
    """Sets the handler of what stops a command. One that is ignored stays so: nohup's SIGHUP."""
    for signum in STOPPING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)


def _quit(signum: int, frame: Any) -> None:
    """A signal handler for a process that has nothing to lose yet."""
    os.write(2, b"\ninterrupted\n")
    os._exit(128 + signum)


def _show_our_log() -> None:
    """Our log lines on the terminal, plain; of TensorFlow's and Keras' only the errors."""
    ours = os.path.dirname(__file__)
    absl_flags.FLAGS(sys.argv[:1])  # or absl warns that it logs before flags are parsed
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(None)
    handler.addFilter(lambda r: r.pathname.startswith(ours) or r.levelno >= std_logging.ERROR)
    std_logging.getLogger("tensorflow").setLevel("ERROR")


def _command(argv: list[str]) -> None:
    word = argv[1] if argv[1:] else "help"
    if word in ("help", "--help", "-h"):
        sys.stdout.write(_usage())
        return
    name = word.replace("-", "_")
    if name not in modules("commands"):
        words = ", ".join(name.replace("_", "-") for name in modules("commands"))
        received = " ".join(["sslzoo", *argv[1:]])
        raise UserError(f"expected one of {words}. Received: {received}")
    start(f"sslzoo.commands.{name}", argv[1:])


def _usage() -> str:
    """What `sslzoo` can do, read off the commands' files, none of which is imported."""
    lines = ["The classic self-supervised pretext tasks of computer vision.", ""]
    for name in modules("commands"):
        path = os.path.join(os.path.dirname(__file__), "commands", f"{name}.py")
        with open(path, encoding="utf-8") as file:
            about, *_ = (ast.get_docstring(ast.parse(file.read())) or "").split("\n")
        lines.append(f"sslzoo {name.replace('_', '-'):<18} {about}")
    lines += ["", "Each lists its flags with --help. The recipes that `sslzoo train` knows:"]
    return "\n".join(lines) + "\n" + textwrap.fill(", ".join(modules("recipes")), 90) + "\n"


def _program() -> str:
    """The recipe, if this process is `python -m sslzoo.recipes.NAME`, as its module's name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec and spec.name.startswith("sslzoo.recipes.") else ""


if _program():  # it imports TensorFlow before it can call `run`
    if code := _guarded(functools.partial(_look, _program()), sys.argv):
        sys.exit(code)
    _listen(_quit)
    quick_import.begin()
