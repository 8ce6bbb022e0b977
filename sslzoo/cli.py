"""A recipe's signature is its command line."""

import dataclasses
import functools
import importlib
import inspect
import logging as std_logging
import os
import pkgutil
import re
import sys
import textwrap
import traceback
import typing

from absl import flags as absl_flags
from absl import logging

from sslzoo.errors import UserError

USAGE = """The classic self-supervised pretext tasks of computer vision.

sslzoo list              encoders that are trained already
sslzoo train NAME        a recipe, the same as python -m sslzoo.recipes.NAME
sslzoo classify          a classifier from an encoder and labelled images
sslzoo serving-config    what TensorFlow Serving is started with

Each lists its flags with --help. NAME is one of
"""


def recipe(main):
    """Makes `main(run=Run(...), **settings)` a recipe: the same from Python and from the shell.

    On each call the run is told its name and the values of all flags, and started.
    """
    name = os.path.basename(inspect.getfile(main)).removesuffix(".py")
    signature = inspect.signature(main)

    @functools.wraps(main)
    def started(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        settings = dict(bound.arguments)
        run = dataclasses.replace(settings.pop("run"))  # a recipe's default run is never changed
        values = {**dataclasses.asdict(run), **settings}
        run.start(name, {key: _text(value) for key, value in values.items()})
        return main(run, **settings)

    return started


def run(main, argv=None):
    """Parses the command line, calls the recipe, and exits: 0, 2 for bad input, 130 for Ctrl-C."""
    sys.exit(_guarded(lambda argv: main(**parse(main, argv)), argv or sys.argv))


def console():
    """The `sslzoo` command: `train NAME`, `classify`, `serving-config`, each + flags; `list`."""
    sys.exit(_guarded(_command, sys.argv))


def parse(main, argv):
    """Command line -> keyword arguments of `main`; `--help` prints the help and exits."""
    settings = _settings(main)
    values = absl_flags.FlagValues()
    for name, (kind, default, text) in settings.items():
        _define(values, name, kind, default, text)
    absl_flags.DEFINE_boolean("debug", False, "show the traceback of an error", flag_values=values)
    if any(arg.lstrip("-") in ("help", "h", "helpfull") for arg in argv[1:]):
        sys.stdout.write(_help(main, settings))
        sys.exit(0)
    try:
        extra = values(argv)[1:]
    except (absl_flags.Error, OSError) as error:
        raise UserError(f"{error}. --help lists the flags") from None
    if extra:
        raise UserError(f"expected flags, --name=value. Received: {' '.join(extra)}")
    chosen = {name: _typed(kind, values[name].value) for name, (kind, *_) in settings.items()}
    if "run" not in inspect.signature(main).parameters:
        return chosen
    default_run = inspect.signature(main).parameters["run"].default
    shared = {field.name for field in dataclasses.fields(default_run)}
    run = dataclasses.replace(default_run, **{k: v for k, v in chosen.items() if k in shared})
    return {"run": run, **{k: v for k, v in chosen.items() if k not in shared}}


def _guarded(function, argv):
    """Runs a command with errors as a person wants them; returns the exit code."""
    _show_our_log()
    try:
        function(argv)
    except UserError as error:
        if "--debug" in argv:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    return 0


def _show_our_log():
    """Our log lines on the terminal, plain; of TensorFlow's and Keras' only the errors."""
    ours = os.path.dirname(__file__)
    absl_flags.FLAGS(sys.argv[:1])  # or absl warns that it logs before flags are parsed
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(None)
    handler.addFilter(lambda r: r.pathname.startswith(ours) or r.levelno >= std_logging.ERROR)
    std_logging.getLogger("tensorflow").setLevel("ERROR")


def _command(argv):
    names = [
        m.name for m in pkgutil.iter_modules(importlib.import_module("sslzoo.recipes").__path__)
    ]
    word, rest = argv[1] if argv[1:] else "help", argv[1:]
    if word in ("help", "--help", "-h"):
        sys.stdout.write(USAGE + textwrap.fill(", ".join(names), 90) + "\n")
    elif word == "list":
        _list(**parse(_list, rest))
    elif word == "train" and argv[2:3] and argv[2] in names:
        main = importlib.import_module(f"sslzoo.recipes.{argv[2]}").main
        main(**parse(main, argv[2:]))
    elif word == "classify":
        classify = importlib.import_module("sslzoo.classify").Classify
        classify(**parse(classify, rest)).run()
    elif word == "serving-config":
        serving = importlib.import_module("sslzoo.serving")
        serving.main(**parse(serving.main, rest))
    else:
        raise UserError(
            f"expected list, classify, serving-config or train NAME, where NAME is one of "
            f"{', '.join(names)}. Received: {' '.join(['sslzoo', *argv[1:]])}"
        )


def _list(root: str = ""):
    """Lists the encoders of a zoo: name, recipe, data, best linear probe, size.

    Args:
        root: the folder; empty means SSLZOO_ZOO, or exported/ of the checkout.
    """
    if root and not os.path.isdir(root):
        raise UserError(f"--root: expected a folder. Received: {root}")
    zoo = importlib.import_module("sslzoo.zoo")
    entries = zoo.list(root or None)
    lines = [zoo.HEADER, *map(str, entries)] if entries else ["the zoo is empty"]
    sys.stdout.write("\n".join(lines) + "\n")


# === From a signature to flags ===


def _settings(main):
    """All flags of a recipe or command: name -> (type, default, help), the shared ones first."""
    text, hints = _arguments(main), typing.get_type_hints(main)
    parameters = dict(inspect.signature(main).parameters)
    run = parameters.pop("run", None)
    own = {
        name: (hints.get(name, type(p.default)), p.default, text.get(name, ""))
        for name, p in parameters.items()
    }
    if run is None:
        return own
    shared = {
        name: (kind, getattr(run.default, name), about)
        for name, (kind, _, about) in _settings(type(run.default)).items()
    }
    return {**shared, **own}


def _arguments(documented):
    """The `Args:` section of a docstring: name -> text."""
    doc = inspect.getdoc(documented) or ""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", doc, re.M)
    if not section:
        return {}
    entries = re.findall(r"^(\w+): (.*(?:\n[ \t]+.*)*)", textwrap.dedent(section.group(1)), re.M)
    return {name: " ".join(text.split()) for name, text in entries}


def _define(values, name, kind, default, text):
    if typing.get_origin(kind) is typing.Literal:
        absl_flags.DEFINE_enum(name, default, typing.get_args(kind), text, flag_values=values)
        return
    define = {
        bool: absl_flags.DEFINE_boolean,
        int: absl_flags.DEFINE_integer,
        float: absl_flags.DEFINE_float,
        str: absl_flags.DEFINE_string,
    }.get(kind, absl_flags.DEFINE_list)
    default = [str(value) for value in default] if define is absl_flags.DEFINE_list else default
    define(name, default, text, flag_values=values)


def _typed(kind, value):
    """absl's lists are of strings: the numbers they stand for."""
    if not isinstance(value, list):
        return value
    try:
        return tuple(typing.get_args(kind)[0](item) for item in value)
    except ValueError:
        raise UserError(f"expected numbers separated by commas. Received: {value}") from None


def _text(value):
    """A flag's value as it stands on a command line."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _help(main, settings):
    lines = [inspect.getdoc(inspect.getmodule(main)) or "", "", "Flags:"]
    for name, (kind, default, text) in settings.items():
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
        text += f" [{'|'.join(choices)}]" if choices else ""
        lines.append(f"  --{name}={_text(default)}")
        lines += textwrap.wrap(text, 90, initial_indent="      ", subsequent_indent="      ")
    lines += ["  --flagfile=FILE", "      flags from a file, one a line; # starts a comment"]
    lines += ["  --debug", "      show the traceback of an error"]
    return "\n".join(lines) + "\n"
