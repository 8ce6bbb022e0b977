"""A signature is a command line: names, defaults and types are the flags, the docstring the help.

A parameter of `main` may also stand for many flags: `run=Run(...)`, an instance of a dataclass, for
its fields, and `puzzle=partial(Jigsaw, ...)` for those arguments of `Jigsaw` that have a default.
"""

import ast
import dataclasses
import functools
import importlib
import inspect
import logging as std_logging
import os
import pkgutil
import re
import signal
import sys
import textwrap
import traceback
import typing
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags as absl_flags
from absl import logging

from sslzoo import ranges
from sslzoo.errors import STOPPING, UserError, stop


def recipe(main: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `main(run=Run(...), **settings)` a recipe: the same from Python and from the shell.

    On each call the run is told its name and the values of all flags, and started.
    """
    name = os.path.basename(inspect.getfile(main)).removesuffix(".py")
    signature = inspect.signature(main)
    defaults = {flag.name: _text(flag.default) for flag in flags_of(main)}

    @functools.wraps(main)
    def started(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        given["run"] = dataclasses.replace(given["run"])  # the default one is never changed
        check(main, given)
        values = {f.name: _text(f.default) for f in flags_of(main, given)}
        given["run"].start(name, values, defaults)
        return main(**given)

    return started


def run(main: Callable[..., Any], argv: list[str] | None = None) -> typing.NoReturn:
    """Parses the command line, calls the recipe, and exits.

    The code is 0; 2 for bad input; 128 + its number for a signal, 130 for Ctrl-C.
    """
    sys.exit(_guarded(functools.partial(call, main), argv or sys.argv))


def console() -> typing.NoReturn:
    """The `sslzoo` command: a file of `sslzoo/commands/` for each word, their flags behind it."""
    sys.exit(_guarded(_command, sys.argv))


def call(main: Callable[..., Any], argv: list[str]) -> None:
    """Calls `main` with what the command line says; `*words` are given as they are."""
    if any(p.kind is p.VAR_POSITIONAL for p in inspect.signature(main).parameters.values()):
        main(*argv[1:])
        return
    given = parse(main, argv)
    check(main, given)
    main(**given)


def check(main: Callable[..., Any], given: dict[str, Any]) -> None:
    """Raises a `UserError` where an argument of `main`, or a flag in it, is out of its range."""
    ranges.check(main, given)
    for value in given.values():
        if dataclasses.is_dataclass(value):
            ranges.check(type(value).__init__, vars(value))
        elif isinstance(value, functools.partial):
            ranges.check(_constructor(value.func), value.keywords)


def parse(main: Callable[..., Any], argv: list[str]) -> dict[str, Any]:
    """Command line -> keyword arguments of `main`; `--help` prints the help and exits."""
    flags = flags_of(main)
    values = absl_flags.FlagValues()
    for flag in flags:
        _define(values, flag)
    absl_flags.DEFINE_boolean("debug", False, "show the traceback of an error", flag_values=values)
    if any(arg.lstrip("-") in ("help", "h", "helpfull") for arg in argv[1:]):
        sys.stdout.write(_help(main, flags))
        sys.exit(0)
    try:
        extra = values(argv)[1:]
    except (absl_flags.Error, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{error}. --help lists the flags") from None
    if extra:
        raise UserError(f"expected flags, --name=value. Received: {' '.join(extra)}")
    arguments: dict[str, dict[str, Any]] = {}
    for flag in flags:
        value = _typed(flag, values[flag.name].value)
        arguments.setdefault(flag.parameter, {})[flag.name] = value
    defaults = {name: p.default for name, p in inspect.signature(main).parameters.items()}
    return {name: _filled(defaults[name], name, given) for name, given in arguments.items()}


def modules(package: str) -> list[str]:
    """The names of the modules of `sslzoo.<package>`, without importing them."""
    folder = os.path.join(os.path.dirname(__file__), package)
    return [module.name for module in pkgutil.iter_modules([folder])]


# === Running ===


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
    call(importlib.import_module(f"sslzoo.commands.{name}").main, argv[1:])


def _usage() -> str:
    """What `sslzoo` can do, read off the commands' files, none of which is imported."""
    lines = ["The classic self-supervised pretext tasks of computer vision.", ""]
    for name in modules("commands"):
        path = os.path.join(os.path.dirname(__file__), "commands", f"{name}.py")
        with open(path, encoding="utf-8") as file:
            about = ast.get_docstring(ast.parse(file.read())) or ""
        lines.append(f"sslzoo {name.replace('_', '-'):<18} {about.partition(chr(10))[0]}")
    lines += ["", "Each lists its flags with --help. The recipes that `sslzoo train` knows:"]
    return "\n".join(lines) + "\n" + textwrap.fill(", ".join(modules("recipes")), 90) + "\n"


# === From a signature to flags ===


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag: name, type, default and help, and the parameter of `main` it belongs to."""

    name: str
    kind: Any  # a type, a `Literal` or a tuple of a type
    allowed: ranges.Range | None
    default: Any
    about: str
    parameter: str


def flags_of(main: Callable[..., Any], given: dict[str, Any] | None = None) -> list[Flag]:
    """The flags of a recipe or command: its own, and those of what its parameters stand for.

    Args:
        main: the function.
        given: values for its parameters; default: those of its signature.

    Raises:
        TypeError: two parameters stand for a flag of one name, or a setting has a type that no flag
            can have. A parameter of the same name makes either good.
    """
    own, parts = _flags(main, given), []
    for flag in own:
        if dataclasses.is_dataclass(flag.default):
            values = {
                f.name: getattr(flag.default, f.name) for f in dataclasses.fields(flag.default)
            }
            parts.append(_flags(type(flag.default), values, flag.parameter))
        elif isinstance(flag.default, functools.partial):
            parts.append(_flags(flag.default.func, flag.default.keywords, flag.parameter))
    plain = [flag for flag in own if _typed_as_flag(flag.kind)]
    taken, found = {flag.name for flag in plain}, {}
    for flag in [flag for part in parts for flag in part if flag.name not in taken]:
        if flag.name in found or not _typed_as_flag(flag.kind):
            why = "is there twice" if flag.name in found else f"cannot be of {flag.kind}"
            raise TypeError(f"{main.__module__}: the flag --{flag.name} {why}")
        found[flag.name] = flag
    return [*found.values(), *plain]


def _flags(
    documented: Callable[..., Any],
    values: dict[str, Any] | None = None,
    parameter: str | None = None,
) -> list[Flag]:
    """A flag for each parameter that has a default, whose value may be another one in `values`."""
    text = _arguments(documented)
    constructor = _constructor(documented)
    hints = typing.get_type_hints(constructor, include_extras=True)
    kinds = typing.get_type_hints(constructor)
    found = []
    for name, p in inspect.signature(documented).parameters.items():
        if p.default is p.empty:  # the caller's to give
            continue
        default = (values or {}).get(name, p.default)
        kind, allowed = kinds.get(name, type(p.default)), ranges.range_of(hints.get(name))
        found.append(Flag(name, kind, allowed, default, text.get(name, ""), parameter or name))
    return found


def _constructor(documented: Callable[..., Any]) -> Callable[..., Any]:
    return documented.__init__ if inspect.isclass(documented) else documented


def _typed_as_flag(kind: Any) -> bool:
    return kind in (bool, int, float, str) or typing.get_origin(kind) in (typing.Literal, tuple)


def _filled(default: Any, name: str, given: dict[str, Any]) -> Any:
    """The value of a parameter from those of its flags."""
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return dataclasses.replace(default, **given)
    if isinstance(default, functools.partial):
        return functools.partial(default.func, **{**default.keywords, **given})
    return given[name]


def _arguments(documented: Callable[..., Any]) -> dict[str, str]:
    """The `Args:` section of a docstring: name -> text."""
    doc = inspect.getdoc(documented) or ""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", doc, re.M)
    if not section:
        return {}
    entries = re.findall(r"^(\w+): (.*(?:\n[ \t]+.*)*)", textwrap.dedent(section.group(1)), re.M)
    return {name: " ".join(text.split()) for name, text in entries}


def _define(values: absl_flags.FlagValues, flag: Flag) -> None:
    if typing.get_origin(flag.kind) is typing.Literal:
        choices = typing.get_args(flag.kind)
        absl_flags.DEFINE_enum(flag.name, flag.default, choices, flag.about, flag_values=values)
        return
    kinds: dict[Any, Callable[..., Any]] = {
        bool: absl_flags.DEFINE_boolean,
        int: absl_flags.DEFINE_integer,
        float: absl_flags.DEFINE_float,
        str: absl_flags.DEFINE_string,
    }
    define = kinds.get(flag.kind, absl_flags.DEFINE_list)
    default = flag.default
    default = [str(value) for value in default] if define is absl_flags.DEFINE_list else default
    define(flag.name, default, flag.about, flag_values=values)


def _typed(flag: Flag, value: Any) -> Any:
    """absl's lists are of strings: the numbers they stand for."""
    if not isinstance(value, list):
        return value
    try:
        return tuple(typing.get_args(flag.kind)[0](item) for item in value)
    except ValueError:
        expected = f"--{flag.name}: expected numbers separated by commas"
        raise UserError(f"{expected}. Received: {','.join(value)}") from None


def _text(value: Any) -> str:
    """A flag's value as it stands on a command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _help(main: Callable[..., Any], flags: Sequence[Flag]) -> str:
    lines = [inspect.getdoc(inspect.getmodule(main)) or "", "", "Flags:"]
    for flag in flags:
        literal = typing.get_origin(flag.kind) is typing.Literal
        allowed = "|".join(typing.get_args(flag.kind)) if literal else flag.allowed
        text = flag.about + (f" [{allowed}]" if allowed else "")
        lines.append(f"  --{flag.name}={_text(flag.default)}")
        lines += textwrap.wrap(text, 90, initial_indent="      ", subsequent_indent="      ")
    lines += ["  --flagfile=FILE", "      flags from a file, one a line; # starts a comment"]
    lines += ["  --debug", "      show the traceback of an error"]
    return "\n".join(lines) + "\n"


def _is_the_program() -> bool:
    """Whether this process is `python -m sslzoo.recipes.NAME`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name.startswith("sslzoo.recipes.")


if _is_the_program():  # it imports TensorFlow, which takes seconds, before it can call `run`
    _listen(_quit)
