"""A signature is a command line: names, defaults and types are the flags, the docstring the help.

A parameter of `main` may also stand for many flags: `run=Run(...)`, an instance of a dataclass, for
its fields, and `puzzle=partial(Jigsaw, ...)` for those arguments of `Jigsaw` that have a default.
"""

import dataclasses
import functools
import inspect
import re
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags as absl_flags

from sslzoo.errors import UserError
from sslzoo.flags import ranges


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag: name, type, default and help, and the parameter of `main` it belongs to."""

    name: str
    kind: Any  # a type, a `Literal` or a tuple of a type
    allowed: ranges.Range | None
    default: Any
    about: str
    parameter: str


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
    if {"-h", "--h", "-help", "--help", "-helpfull", "--helpfull"} & {*argv[1:]}:
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


def read(text: str) -> dict[str, str]:
    """{name: value} of a flagfile whose lines are `--name=value`."""
    lines = text.splitlines()
    return dict(line[2:].split("=", 1) for line in lines if line.startswith("--") and "=" in line)


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


def text(value: Any) -> str:
    """A flag's value as it stands on a command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def texts(flags: Sequence[Flag]) -> dict[str, str]:
    """{name: value}, as they stand on a command line."""
    return {flag.name: text(flag.default) for flag in flags}


def _help(main: Callable[..., Any], flags: Sequence[Flag]) -> str:
    lines = [inspect.getdoc(inspect.getmodule(main)) or "", "", "Flags:"]
    for flag in flags:
        literal = typing.get_origin(flag.kind) is typing.Literal
        allowed = "|".join(typing.get_args(flag.kind)) if literal else flag.allowed
        about = flag.about + (f" [{allowed}]" if allowed else "")
        lines.append(f"  --{flag.name}={text(flag.default)}")
        lines += textwrap.wrap(about, 90, initial_indent="      ", subsequent_indent="      ")
    lines += ["  --flagfile=FILE", "      flags from a file, one a line; # starts a comment"]
    lines += ["  --debug", "      show the traceback of an error"]
    return "\n".join(lines) + "\n"
