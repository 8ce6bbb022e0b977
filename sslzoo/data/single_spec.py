"""`single:FILE[,FILE...][,NAME=VALUE...]`: which images, and how views of them are made."""

import dataclasses
import pathlib
import typing
from typing import Annotated

from sslzoo.data import photos
from sslzoo.data.folder import list_images
from sslzoo.errors import UserError
from sslzoo.flags.ranges import Area, Count, Range, Seed, Share, range_of

BUILT_IN = "motorcycle_left.png"  # the busiest scene of the wheel: tools, metal, cloth, shadows


@dataclasses.dataclass(frozen=True)
class Options:
    """What may follow the files, as `name=value`.

    Args:
        n: training views; a tenth as many are for tests. The paper has a million.
        beta: least area of a box, as a share of the image; 0.001 is the paper's, 0.002 its
            released code's, 0.0001 a survey's.
        gamma: least ratio of a box's height to its width; the highest is 1 / gamma.
        rotate: the largest angle, in degrees, to both sides.
        color: strength of the change of colours, of half of the views.
        flip: share of the views that are mirrored.
        seed: of all of that.
    """

    n: Count = 25_000
    beta: Area = 0.001
    gamma: Area = 0.75
    rotate: Annotated[float, Range(0, 45)] = 35.0
    color: Share = 0.4
    flip: Share = 0.5
    seed: Seed = 0


def parse(spec):
    """(paths of images, `Options`)."""
    kinds = typing.get_type_hints(Options, include_extras=True)
    paths, options = [], {}
    for item in spec.removeprefix("single:").split(","):
        path = pathlib.Path(item).expanduser()
        name, equals, text = item.partition("=")
        if equals and not path.exists():  # a file may be called so
            if name not in kinds:
                raise UserError(
                    f"{spec}: expected images, a folder of them, or {'=, '.join(kinds)}=. "
                    f"Received: {item!r}"
                )
            options[name] = _number(spec, name, text, kinds[name])
        elif item and path.is_dir():
            if not (found := list_images(path)):
                raise UserError(f"{spec}: expected images in the folder {path}. Received: none")
            paths += [path / name for name in found]
        elif item:
            paths.append(path)
    return paths or [photos.wheel() / BUILT_IN], Options(**options)


def _number(spec, name, text, kind):
    """A value, in its range."""
    number, allowed = kind.__origin__, range_of(kind)
    try:
        value = number(text)
        if value in allowed:
            return value
    except ValueError:
        pass
    what = "a whole number" if number is int else "a number"
    raise UserError(f"{spec}: {name}: expected {what}, {allowed}. Received: {text!r}")
