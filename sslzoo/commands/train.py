"""a recipe: `sslzoo train NAME --flags`, the same as `python -m sslzoo.recipes.NAME`"""

import sys

from sslzoo import cli
from sslzoo.errors import UserError


def main(*words: str) -> None:
    """Runs the recipe that the first word names, with the others as its flags."""
    name, recipes = (words or ("",))[0], cli.modules("recipes")
    if name.lstrip("-") in ("help", "h"):
        sys.stdout.write(f"sslzoo train NAME --help, where NAME is one of {', '.join(recipes)}\n")
        return
    if name not in recipes:
        raise UserError(
            f"expected sslzoo train NAME, where NAME is one of {', '.join(recipes)}. "
            f"Received: {name!r}"
        )
    cli.start(f"sslzoo.recipes.{name}", list(words))
