"""From parts to one HTML file that holds everything it shows."""

import base64
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
from bokeh.embed import components
from bokeh.resources import Resources
from markupsafe import Markup
from PIL import Image

from sslzoo.errors import UserError, replacing

HERE = pathlib.Path(__file__).parent
LARGEST = 1_000_000  # bytes of a picture that is embedded as it is
SIDE = 1600  # pixels of one that is not


def write(file: pathlib.Path, template: str, plots: Mapping[str, Any], **parts: Any) -> None:
    """Fills a template of this folder and writes it.

    Args:
        file: where.
        template: its name.
        plots: figures of Bokeh by name; the template places {{ plots[name] }}.
        **parts: what else it names.

    Raises:
        UserError: the file cannot be written.
    """
    # Text from folders, flags and cards is escaped; what Bokeh makes is not escaped again.
    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"percent": percent, "gain": gain}
    script, divs = components(dict(plots)) if plots else ("", {})
    bokeh = Resources(mode="inline", components=["bokeh"]).render() if plots else ""
    html = env.get_template(template).render(
        plots={name: Markup(div) for name, div in divs.items()},
        scripts=Markup(bokeh + script),
        **parts,
    )
    with replacing(file) as aside:
        aside.write_text(html, encoding="utf-8")


def picture(file: pathlib.Path) -> str | None:
    """A picture file as a data URI, a large one smaller; None where there is none.

    Raises:
        UserError: it is no picture.
    """
    if not file.is_file():
        return None
    try:
        with Image.open(file) as image:
            if image.format == "PNG" and file.stat().st_size <= LARGEST:
                return _uri(file.read_bytes(), "png")
            image.thumbnail((SIDE, 4 * SIDE))
            return _webp(image.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{file}: expected a picture. Received: {error}") from None


def thumbnail(pixels: np.ndarray, side: int) -> str:
    """(H, W, 3) uint8 as a data URI of at most that side."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return _webp(image)


def _webp(image: Image.Image) -> str:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=80)
    return _uri(stream.getvalue(), "webp")


def _uri(contents: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(contents).decode()}"


def percent(share: Any, std: Any = None) -> str:
    """0.6 -> "60.0 %", with its standard deviation if there is one; a dash for no number."""
    if not isinstance(share, int | float):
        return "–"
    spread = f" ± {100 * std:.1f}" if std and isinstance(std, int | float) else ""
    return f"{100 * share:.1f}{spread} %"


def gain(row: Any) -> str:
    """Points from random init to trained, "+10.4": of a row, or of two (trained, random init)."""
    trained, random = row if isinstance(row, tuple) else (row, row)
    pair = trained.get("accuracy"), random.get("random_accuracy")
    if not all(isinstance(score, int | float) for score in pair):
        return "–"
    return f"{100 * (pair[0] - pair[1]):+.1f}".replace("-", "−")
