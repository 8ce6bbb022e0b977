"""encoders that are trained already"""

import os
import sys

from sslzoo import zoo
from sslzoo.errors import UserError


def main(root: str = "") -> None:
    """Lists the encoders of a zoo: name, recipe, data, best linear probe, size.

    Args:
        root: the folder; empty means SSLZOO_ZOO, or the animals that come with sslzoo.
    """
    if root and not os.path.isdir(root):
        raise UserError(f"--root: expected a folder. Received: {root}")
    entries = zoo.list(root or None)
    lines = [zoo.HEADER, *map(str, entries)] if entries else ["the zoo is empty"]
    sys.stdout.write("\n".join(lines) + "\n")
