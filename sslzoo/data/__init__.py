"""Where images come from: `load` a source (or pair two), ask it for `examples`."""

import pathlib

from sslzoo.data.paired import Paired
from sslzoo.data.source import Source
from sslzoo.errors import UserError

__all__ = ["Paired", "Source", "load"]

SPECS = (
    "photos, scenes, single:FILE, rendered:FOLDER, a folder of images, a name.npz file, "
    "or tfds:NAME"
)


def load(
    spec: str,
    split: str = "train",
    *,
    data_dir: str = "",
    resize: int = 0,
    labels: bool = False,
    maps: bool = False,
) -> Source:
    """Opens a source and checks it, before any long work.

    Args:
        spec: `photos` or `scenes[:N[:SEED]]` (built in), `single:FILE` (views of one image),
            `rendered:FOLDER` (images and maps), a folder, `name.npz`, or `tfds:NAME[/CONFIG]`.
        split: "train" or "test".
        data_dir: where tensorflow-datasets keeps its prepared datasets.
        resize: wanted length of the shorter side in pixels; 0 leaves images as they are.
        labels: whether examples carry labels. Only probes ask for them.
        maps: whether examples carry depth, normals and edges. Only `scenes` and
            `rendered:FOLDER` have them.
    """
    # Imported where used: each brings imports of its own, TFDS a second of them.
    if split not in ("train", "test"):
        raise UserError(f"split: expected train or test. Received: {split}")
    if resize < 0:
        raise UserError(f"--resize: expected a side in pixels, or 0. Received: {resize}")
    if spec.split(":")[0] == "scenes":
        from sslzoo.data.scenes import Scenes

        return Scenes(spec, split, resize, labels, maps)
    if spec.startswith("rendered:"):
        from sslzoo.data.rendered import Rendered

        return Rendered(spec, split, resize, labels, maps)
    if maps:
        raise UserError(
            "--dataset: expected scenes or rendered:FOLDER, as depth, normals and edges are asked "
            f"for. Received: {spec!r}, which has none"
        )
    if spec == "photos":
        from sslzoo.data.photos import Photos

        return Photos(split, resize, labels)
    if spec.startswith("single:"):
        from sslzoo.data.single import Single

        return Single(spec, split, resize, labels)
    if spec.startswith("tfds:"):
        from sslzoo.data.tfds import Records

        return Records(spec, split, data_dir, resize, labels)
    if spec.endswith(".npz"):
        from sslzoo.data.arrays import Arrays

        return Arrays(spec, split, resize, labels)
    path = pathlib.Path(spec).expanduser()
    if spec and path.is_dir():
        from sslzoo.data.folder import Folder

        return Folder(spec, split, resize, labels)
    what = "another kind of file" if path.exists() else "not there"
    raise UserError(f"--dataset: expected {SPECS}. Received: {spec!r}, {what}")
