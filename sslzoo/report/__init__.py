"""Pages to look at runs and at a zoo: one HTML file each, which needs no network."""

import importlib.util

from sslzoo.errors import UserError


def check() -> None:
    """Raises a `UserError` where Bokeh, which draws the plots, is not installed."""
    if not importlib.util.find_spec("bokeh"):
        raise UserError("sslzoo report: expected Bokeh, pip install -e '.[report]'. Received: none")
