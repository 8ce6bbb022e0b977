"""`rendered:FOLDER`: rendered images on disk with depth, normals and contours beside them.

As SUNCG or SceneNet RGB-D once they are brought to FOLDER/{rgb,depth,normal,edge or instance}/, or
to FOLDER/train/{rgb,...}/ and FOLDER/test/{rgb,...}/.
"""

import os
import pathlib

import numpy as np
import tensorflow as tf
from PIL import Image

from sslzoo.data import decode, map_files, map_window
from sslzoo.data.folder import HEADERS, Folder, find_parts, list_images
from sslzoo.data.source import MAPS
from sslzoo.errors import UserError
from sslzoo.images import orientation

PREFIX = "rendered:"
FIRST = 3  # images whose maps are read whole at opening
FARTHEST = 1000.0  # metres: more is another unit
UNIT = 0.1  # how far from 1 the length of most normals may be, of all in an image


class Rendered(Folder):
    """A folder `rgb`, and the maps of each image at the same path, but for the extension.

    Without maps it is a `Folder` of rgb/: its parts, held-out tenth and labels. With them:

    `depth`: z in metres, 0 where there is none. depth/ has grey PNG of 16 bits in millimetres, or
    float NPY or OpenEXR in metres.
    `normals`: of length 1. normal/ has PNG of 8 bits, v / 127.5 - 1, or float NPY or OpenEXR. Which
    camera they are in differs between data sets, and they are taken as they are: x to the right, y
    down, z into the picture are those of `scenes`. A vector whose length is off by more than a
    half, such as the black of a hole, becomes (0, 0, 0).
    `edges`: 1 where edge/, PNG or NPY, is not 0; made smaller, a line of one pixel stays one. If
    there is no edge/: where the pixel to the right or the one below is of another instance in the
    example, by instance/, PNG (a number or a colour), NPY or OpenEXR.

    A folder with any NPY is of NPY, all of one dtype, else one with any OpenEXR is of that, whose
    channels `exr.NAMES` has. All but edge/ is resized by the nearest neighbour, and everything cut
    where the image is.

    Opening looks for every counterpart, at up to some 2,000 headers (sizes, bits) and at the first
    maps' values. What is met later (another size, damage, NaN) is replaced as undecodable images
    are; where they are more than 1 %, the run ends, and the message says what is wrong with one.

    Departures from the paper (arXiv:1711.09082), whose authors squash images to 256 x 256: the
    aspect is kept. Images with few contours are not left out.
    """

    below = "rgb"

    def __init__(self, spec, split, resize, labels, maps=False):
        path = spec.removeprefix(PREFIX)
        root = pathlib.Path(path).expanduser()
        if not path or not root.is_dir():
            raise UserError(f"--dataset: expected rendered:FOLDER. Received: {spec!r}, no folder")
        top, parts = find_parts(root)
        for part in parts.values() or [top]:
            _check_folders(part, maps)
        super().__init__(spec, split, resize, labels, path)
        self._kinds = {}
        if not maps:
            return
        self.maps = MAPS
        part = parts.get(split, top)
        contours = "edge" if (part / "edge").is_dir() else "instance"
        images = [self.name(i) for i in range(self.size)]
        self._kinds = {
            name: _Maps(part / name, map_files.KINDS[name], images)
            for name in ("depth", "normal", contours)
        }
        self._check()

    def fetch(self, index):
        """(n,) int64 -> (n,) paths, or with maps (n, 4)."""
        images = super().fetch(index)
        if not self._kinds:
            return images
        return tf.stack([images, *(maps.fetch(index) for maps in self._kinds.values())], 1)

    def open(self, raw, place, crop):
        """Reads and decodes the file at the path `raw` (), or the four at `raw` (4,)."""
        if not self._kinds:
            return super().open(raw, place, crop)
        path, *paths = tf.unstack(raw, num=1 + len(self._kinds))
        data = tf.io.read_file(path)
        image = decode.decode(data, place, self.resize, crop)
        shape = decode.stored_shape(data)
        with tf.control_dependencies([image]):  # which looks at sizes
            window = map_window.Window(shape, self.resize, crop, place)
        opened = {"image": image}
        for (name, maps), path in zip(self._kinds.items(), paths, strict=True):
            opened |= map_window.CUT[name](map_window.checked(maps.read(path), shape), window)
        return {
            name: tf.ensure_shape(opened[name], spec.shape)
            for name, spec in self.shapes(crop).items()
        }

    @property
    def failure(self):
        """With what is wrong with one of the files."""
        failure = super().failure
        if failure is None:
            return None
        faults = filter(None, map(self._fault, sorted(self.undecodable.bad)))
        return next((UserError(f"{failure}; {fault}") for fault in faults), failure)

    # === Checks ===

    def _check(self):
        for index in range(0, self.size, max(1, self.size // HEADERS)):
            self._check_headers(index)
        for maps in self._kinds.values():
            maps.check_values(range(min(FIRST, self.size)))

    def _check_headers(self, index):
        try:
            with Image.open(self.path(index)) as image:
                size = image.size[::-1]
                turned = image.format == "JPEG" and image.getexif().get(orientation.TAG, 1) != 1
        except Exception:  # bad images are the business of the run itself
            size, turned = None, False
        if turned:
            raise UserError(
                f"{self.path(index)}: expected an image that is upright as it is stored, as its "
                "maps are. Received: one that is turned by its EXIF tag"
            )
        for maps in self._kinds.values():
            map_files.check(maps.path(index), maps.kind, maps.form, size)

    def _fault(self, index):
        """The `UserError` that says what is wrong with the maps of an image, or None."""
        try:
            self._check_headers(index)
            for maps in self._kinds.values():
                maps.check_contents(index)
        except UserError as error:
            return error
        return None


class _Maps:
    """One folder of maps, each in the place of its image.

    Args:
        top: the folder.
        kind: a `map_files.Kind`.
        images: relative paths of the images.
    """

    def __init__(self, top, kind, images):
        self.top, self.kind = os.fspath(top), kind
        found = {extension: {} for extension in map_files.EXTENSIONS}
        for path in list_images(top, map_files.EXTENSIONS):
            stem, extension = os.path.splitext(path)
            found[extension.lower()][stem] = path
        extension, by_stem = next(filter(lambda e: e[1], found.items()), (".png", {}))
        paths = [by_stem.get(os.path.splitext(image)[0]) for image in images]
        if None in paths:
            raise UserError(
                f"{top}: expected a {extension[1:].upper()} file for each image of "
                f"{top.parent / Rendered.below}. Received: none for {images[paths.index(None)]}, "
                f"and for {paths.count(None)} of {len(paths)} in all"
            )
        self._paths = tf.constant([os.fsencode(path) for path in paths])
        self.form = map_files.form_of(self.path(0))

    def path(self, index):
        """Where the map of an image is."""
        return os.path.join(self.top, os.fsdecode(self._paths[int(index)].numpy()))

    def fetch(self, index):
        """(n,) int64 -> (n,) paths."""
        return tf.strings.join([os.fsencode(self.top), b"/", tf.gather(self._paths, index)])

    def read(self, path):
        """() string -> (H, W, channels): float32 metres or vectors, or int64 numbers."""
        values = map_files.read(path, self.kind, self.form)
        if self.form != map_files.PNG or not self.kind.png:
            return values
        values = tf.cast(values, tf.float32)
        return values / 1000 if self.kind.channels == 1 else values / 127.5 - 1

    def check_contents(self, index):
        """Reads it; returns (H, W, channels) or raises a `UserError`."""
        try:
            return self.read(os.fsencode(self.path(index))).numpy()
        except (tf.errors.OpError, ValueError):
            raise UserError(
                f"{self.path(index)}: expected {self.kind.expected}, whole and of finite numbers. "
                "Received: a damaged file, or other numbers"
            ) from None

    def check_values(self, indices):
        """Raises a `UserError` where metres or vectors look mis-scaled; holes do not count."""
        values, wrong = [self.check_contents(index) for index in indices], ""
        if self.kind is map_files.KINDS["depth"]:
            farthest = max(map(np.max, values))
            if not 0 < farthest <= FARTHEST:
                wrong = f"depths up to {FARTHEST:g} m. Received: at most {farthest:g} m"
        if self.kind is map_files.KINDS["normal"]:
            lengths = np.concatenate([np.linalg.norm(v, axis=-1).ravel() for v in values])
            near = lengths[abs(lengths - 1) <= map_window.NO_NORMAL]
            length = np.median(near if near.size else lengths)
            if abs(length - 1) > UNIT:
                wrong = f"normals of length 1. Received: a median length of {length:.2f}"
        if wrong:
            raise UserError(f"{self.path(indices[0])}: expected {wrong}")


def _check_folders(part, maps):
    wanted = ["rgb", "depth", "normal", "edge or instance"] if maps else ["rgb"]
    for names in wanted:
        if not any((part / name).is_dir() for name in names.split(" or ")):
            found = sorted(e.name for e in os.scandir(part) if e.is_dir())
            raise UserError(
                f"{part}: expected the folders {', '.join(wanted)}. "
                f"Received: {', '.join(found) or 'none'}"
            )
