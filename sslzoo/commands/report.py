"""a page of runs side by side, or of a zoo, as one HTML file

sslzoo report runs/jigsaw                  # writes runs/jigsaw/report.html
sslzoo report runs/jigsaw runs/rotation    # report.html, with the comparison on top
sslzoo report --root=exported              # exported/index.html, a card for each encoder
"""

import pathlib

from sslzoo import report
from sslzoo.errors import UserError, writable_folder
from sslzoo.flags.ranges import Count
from sslzoo.report import reading


def main(*runs: str, root: str = "", output: str = "", images: Count = 1000) -> None:
    """Writes the page.

    Args:
        root: the folder of a zoo, in place of runs.
        output: the HTML file; empty means report.html in the run's folder, of several runs here,
            or index.html in the zoo's.
        images: held-back images for neighbours and map, at most.
    """
    if bool(runs) == bool(root):
        received = " ".join([*runs, *([f"--root={root}"] if root else [])]) or "neither"
        raise UserError(
            f"sslzoo report: expected folders of runs, or --root=FOLDER of a zoo. Received: "
            f"{received}"
        )
    report.check()
    if root:
        from sslzoo.report import index  # imported here: Bokeh may be missing, TensorFlow is slow

        folder = pathlib.Path(root)
        entries = index.entries_of(folder)  # before the file's folder is made
        index.write(entries, folder, _file(output, folder / "index.html"))
        return
    found = reading.runs(runs)
    file = _file(output, (found[0].path if len(found) == 1 else pathlib.Path()) / "report.html")
    from sslzoo.report import page

    page.write(found, file, images)


def _file(output: str, usual: pathlib.Path) -> pathlib.Path:
    """Where to write, seen to be possible before the long work."""
    file = pathlib.Path(output or usual)
    if file.is_dir():
        raise UserError(f"--output: expected the name of a file. Received: {file}, a folder")
    writable_folder(file.parent, "--output")
    return file
