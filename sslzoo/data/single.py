"""A data set made of one image, or of a few (Asano, Rupprecht & Vedaldi 2020, arXiv:1904.13132).

--dataset=single:                                a photograph of scikit-image, a garage
--dataset=single:street.jpg,n=1000000            the paper's number
--dataset=single:street.jpg,beta=0.002,rotate=30,seed=1
--dataset=single:images,beta=0.01                all images in a folder
"""

import math
import zlib

import numpy as np
import tensorflow as tf

from sslzoo.data import decode, single_spec
from sslzoo.data.order import fold, uniform
from sslzoo.data.pyramid import Pyramid
from sslzoo.data.source import Source
from sslzoo.errors import UserError
from sslzoo.images import color

SIDE = 64  # of a view, where --resize says nothing
LEAST = 3.0  # pixels of the shorter side of the smallest box: less is one colour
MOST = 2**27  # pixels of all images: 1 GB
CHUNK_PIXELS = 2**16  # of the views made at once: more of them leave the cache
HUE = 0.25  # of `color`: the released code jitters 0.4, 0.4, 0.4 and the hue 0.1


class Single(Source):
    """View `i` is a box of image `i % k`, turned, mirrored and recoloured by a hash of `i`.

    `single:FILE[,FILE...][,NAME=VALUE...]`; a folder stands for all images in it, see `single_spec`
    for the names. The hash is of (seed, split, i, the file's bytes), so views keep their indices,
    and a run that is resumed notices another image. Labels: the file, if there are several.

    A box of some area and aspect is stretched to a square, turned, and the part of the square that
    no turn takes out of the box is the view: only pixels of the image are ever seen. Everything is
    one bilinear sampling, see `pyramid`.

    Departures from the paper, whose released code crops, resizes (bicubic), turns (bilinear) and
    cuts in turn: interpolation is bilinear alone. What is cut away around the turned square is what
    the largest `rotate` needs, in place of always 1 / sqrt(2). The aspect is drawn first, log-
    uniform, then the area, uniform among those that fit: the code draws both until they fit, which
    in images far from square favours some aspects. No shear, and no first crop of half the shorter
    side, which the code has, rewritten since the paper. Colours change by one linear map, in
    which the hue is a turn about the grey axis; the code's goes through HSV and clips after each.
    """

    def __init__(self, spec, split, resize, labels):
        super().__init__(spec, split, resize)
        self.paths, self.options = single_spec.parse(spec)
        self.side = resize or SIDE
        images, sums = zip(*(_load(path) for path in self.paths), strict=True)
        if (pixels := sum(image.shape[0] * image.shape[1] for image in images)) > MOST:
            raise UserError(f"{spec}: expected at most {MOST:,} pixels. Received: {pixels:,}")
        for path, image in zip(self.paths, images, strict=True):
            _check(path, image.shape, self.options)
        self._shapes = tf.constant([image.shape[:2] for image in images], tf.float32)
        self._sums = tf.constant(sums, tf.uint64)
        self._pyramid = Pyramid(images)
        self.size = self.options.n if split == "train" else max(self.options.n // 10, 1)
        if labels:
            if len(self.paths) == 1:
                raise UserError(
                    f"{spec}: labels are the files, so they need two at least. "
                    f"Received: one, {self.paths[0]}"
                )
            self.class_names = [str(path) for path in self.paths]
            self.labels = tf.range(self.size, dtype=tf.int64) % len(self.paths)

    def fetch(self, index):
        """(n,) int64 -> `image` (n,) int32 and twelve numbers in [0, 1), `draws` (n, 12)."""
        image = index % len(self.paths)
        key = fold(tf.cast(index, tf.uint64), self.options.seed)
        key = fold(fold(key, 0 if self.split == "train" else 1), tf.gather(self._sums, image))
        draws = tf.concat([uniform(fold(key, i)) for i in range(6)], 1)
        return {"image": tf.cast(image, tf.int32), "draws": draws}

    def open(self, raw, place, crop):
        """One view."""
        raw = {name: value[None] for name, value in raw.items()}
        return self.open_chunk(raw, place[None], crop)[0]

    def open_chunk(self, raw, place, crop):
        """`fetch` -> the crops of the views at their places, (n, crop, crop, 3)."""
        rows, columns, ratio = self.points(raw, place, crop)
        views = self._pyramid.sample(raw["image"], rows, columns, ratio)
        return self._recolored(views, raw["draws"]) if self.options.color else views

    def boxes(self, raw):
        """`fetch` -> (n, 4) float32: top, left, height and width in pixels of the image."""
        shape, options = tf.gather(self._shapes, raw["image"]), self.options
        height, width = shape[:, 0], shape[:, 1]
        aspect_at, area_at, top_at, left_at = tf.unstack(raw["draws"][:, :4], axis=1)
        aspect = tf.exp((2 * aspect_at - 1) * math.log(1 / options.gamma))
        # A box that is as wide or as high as the image.
        most = tf.minimum(1.0, tf.minimum(aspect * width / height, height / (aspect * width)))
        area = (options.beta + (most - options.beta) * area_at) * height * width
        high = tf.minimum(tf.sqrt(area * aspect), height)  # rounding
        wide = tf.minimum(tf.sqrt(area / aspect), width)
        return tf.stack([(height - high) * top_at, (width - wide) * left_at, high, wide], 1)

    def angles(self, raw):
        """`fetch` -> (n,) float32, in radians."""
        return (2 * raw["draws"][:, 4] - 1) * math.radians(self.options.rotate)

    def points(self, raw, place, crop):
        """Where in the image the pixels of the crops lie.

        Returns:
            rows, columns: (n, crop, crop) float32, in pixels.
            ratio: (n,), how far neighbours are apart at most.
        """
        box, angle = self.boxes(raw), self.angles(raw)
        corner = decode.offset(tf.constant([self.side] * 2), crop or self.side, place)  # (n, 2)
        at = tf.range(crop or self.side)[None, None] + corner[:, :, None]
        at = (tf.cast(at, tf.float32) + 0.5) / self.side - 0.5  # (n, 2, crop), 0 is the middle
        y, x = at[:, 0, :, None], at[:, 1, None, :]
        x *= tf.where(raw["draws"][:, 5] < self.options.flip, -1.0, 1.0)[:, None, None]
        cos, sin = tf.cos(angle)[:, None, None], tf.sin(angle)[:, None, None]
        extent = box[:, 2:] / self._margin  # (n, 2)
        middle = (box[:, :2] + box[:, 2:] / 2)[:, :, None, None]
        rows = middle[:, 0] + extent[:, 0, None, None] * (cos * y - sin * x)
        columns = middle[:, 1] + extent[:, 1, None, None] * (sin * y + cos * x)
        return rows, columns, tf.reduce_max(extent, 1) / self.side

    @property
    def _margin(self):
        """Side of the square that a unit square stays in when it is turned."""
        angle = math.radians(self.options.rotate)
        return math.cos(angle) + math.sin(angle)

    def _recolored(self, views, draws):
        changed = tf.where(draws[:, 6:7] < 0.5, self.options.color, 0.0)
        change = (2 * draws[:, 7:11] - 1) * changed  # (n, 4)
        return color.recolor(views, *tf.unstack(1 + change[:, :3], axis=1), HUE * change[:, 3])

    def shapes(self, crop):
        """All views have one size."""
        return super().shapes(crop or self.side)

    def chunk_of(self, crop):
        """So they are made a chunk at a time, whole ones too."""
        return max(1, min(CHUNK_PIXELS // (crop or self.side) ** 2, self.chunk))

    def name(self, index):
        """Its image."""
        return f"{self.paths[index % len(self.paths)]}, view {index}"

    def smallest(self):
        """The side of all of them."""
        return self.side, f"views of {self.side} x {self.side}"


def _load(path):
    """((H, W, 3) uint8, a checksum of the file)."""
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a zero byte
        reason = getattr(error, "strerror", error)
        raise UserError(
            f"--dataset: expected an image, or a folder of them. Received: {path}, {reason}"
        ) from None
    try:
        image = decode.decode(tf.constant(data), tf.constant([0.5, 0.5]), 0, 0)
    except tf.errors.OpError:
        raise UserError(
            f"{path}: expected an image: JPEG, PNG, GIF or BMP. Received: bytes that are none"
        ) from None
    return np.uint8(np.round(image.numpy() * 255)), zlib.crc32(data)


def _check(path, shape, options):
    """Raises a `UserError` where boxes cannot have the least area."""
    height, width = shape[:2]
    skew = max(height / width, width / height) / options.gamma
    if options.beta > 1 / skew + 1e-6:
        raise UserError(
            f"{path}: beta: expected at most {math.floor(1e3 / skew) / 1e3:g}, what the widest and "
            f"the highest box of its shape hold with gamma={options.gamma:g}. "
            f"Received: {options.beta:g}"
        )
    short = math.sqrt(options.beta * options.gamma * height * width)
    if short < LEAST:
        need = LEAST**2 / (options.gamma * height * width)
        raise UserError(
            f"{path}: expected an image whose smallest box has {LEAST:g} pixels a side; "
            f"beta={math.ceil(need * 1e4) / 1e4:g} would do. "
            f"Received: {height} x {width} pixels, so {short:.1f} with beta={options.beta:g}"
        )
