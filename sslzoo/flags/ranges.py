"""What values a setting may have: written once, in the annotation of an argument.

    def __init__(self, encoder, mask: Literal["center", "region"] = "center", grey: Share = 0.3):

Pretexts, recipes and commands are checked so before any work, and `--help` shows it.
"""

import dataclasses
import math
import typing
from collections.abc import Callable
from typing import Annotated, Any

from sslzoo.errors import UserError


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `above` and `below` leave out the ends themselves."""

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        """NaN is in no range, infinity is in none that ends there."""
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        ends = (self.above, self.below)
        if ends == (False, False) and self.high != math.inf:
            return f"{self.low} to {self.high}"
        start = f"more than {self.low}" if self.above else f"{self.low} or more"
        if self.high == math.inf:
            return f"{start}, and finite" if self.below else start
        return f"{start}, {'less than' if self.below else 'at most'} {self.high}"


Pixels = Annotated[int, Range(1, 8192)]  # of a side: 2^26 in an image, as `images.headers` has it
Pad = Annotated[int, Range(0, 8192)]  # pixels, or none
Width = Annotated[int, Range(1, 65536)]  # channels, units
OptionalWidth = Annotated[int, Range(0, 65536)]  # 0: no such layer
Count = Annotated[int, Range(1, 2**31 - 1)]
OptionalCount = Annotated[int, Range(0, 2**31 - 1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # NumPy's
Share = Annotated[float, Range(0, 1)]
Area = Annotated[float, Range(0, 1, above=True)]  # a share that is not nothing
Fraction = Annotated[float, Range(0, 1, below=True)]  # a share that is not all
HalfTurn = Annotated[float, Range(0, 0.5)]  # of the circle of hues
Epochs = Annotated[float, Range(0, 1_000_000)]
Positive = Annotated[float, Range(0, 1e30, above=True)]
Weight = Annotated[float, Range(0, 1e30)]  # of a loss, or a penalty; 0 switches it off


def check(constructor: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Raises a `UserError` for an argument that its annotation does not allow."""
    for name, hint in typing.get_type_hints(constructor, include_extras=True).items():
        if name not in arguments:
            continue
        value, expected = arguments[name], None
        if typing.get_origin(hint) is typing.Literal and value not in typing.get_args(hint):
            expected = f"one of {', '.join(map(str, typing.get_args(hint)))}"
        allowed = range_of(hint)
        if allowed and any(item not in allowed for item in _each(value)):
            expected = str(allowed)
        if expected:
            raise UserError(f"--{name}: expected {expected}. Received: {value!r}")


def range_of(hint: Any) -> Range | None:
    """The `Range` of an annotation, of the items in case of a tuple; None if it has none."""
    if typing.get_origin(hint) is tuple:
        return range_of(typing.get_args(hint)[0])
    found = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Range)]
    return found[0] if found else None


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
