"""Scenes -> pixels: nearest surface, normal, pattern, light, shadow."""

import tensorflow as tf

from sslzoo.data.scenes import solids
from sslzoo.data.scenes.layout import FAR, PLANES, SKY, SOLIDS
from sslzoo.data.scenes.textures import pattern
from sslzoo.data.scenes.vectors import add, along, dot, unit

SHARPNESS = 5  # the highlight is a cosine squared that often
AHEAD = 2e-3  # metres that a shadow's ray starts above the surface


def render(scene, rows, columns, side):
    """Renders windows of pictures of `side` x `side`.

    Args:
        scene: `layout.Scene` of n.
        rows, columns: (n, h) and (n, w) int32, pixels.
        side: pixels of the whole picture, which say how wide one is.

    Returns:
        dict of (n, h, w, c): `image` [0, 1], `depth` in metres along the viewing axis, `normals`
        unit; and `instance` (n, h, w) int32.
    """
    n, h, w = tf.shape(rows)[0], tf.shape(rows)[1], tf.shape(columns)[1]
    ray = _rays(scene, rows, columns, side)
    depth, surface, normal = _planes(scene, ray)
    depth, surface, normal = _solids(scene, ray, depth, surface, normal)
    normal = unit(normal)
    point = (ray[0] * depth, ray[1] * depth, depth)
    shine = _light(scene, ray, point, normal, surface)
    image = [*_colour(scene, ray, point, normal, surface, shine, 2 * scene.lens / side)]
    shape = [n, h, w, -1]
    return {
        "image": tf.reshape(tf.stack(image, -1), shape),
        "depth": tf.reshape(depth, shape),
        "normals": tf.reshape(tf.stack(normal, -1), shape),
        "instance": tf.reshape(surface, [n, h, w]),
    }


def _rays(scene, rows, columns, side):
    """x and y (n, h * w) of the ray (x, y, 1) through the middle of each pixel."""
    lens = scene.lens[:, None]
    x = ((tf.cast(columns, tf.float32) + 0.5) * (2 / side) - 1) * lens
    y = ((tf.cast(rows, tf.float32) + 0.5) * (2 / side) - 1) * lens
    shape = [tf.shape(x)[0], tf.shape(y)[1], tf.shape(x)[1]]
    flat = [shape[0], shape[1] * shape[2]]
    x = tf.reshape(tf.broadcast_to(x[:, None, :], shape), flat)
    return x, tf.reshape(tf.broadcast_to(y[:, :, None], shape), flat)


def _planes(scene, ray):
    """Depth (n, P) of the nearest plane, its surface, its normal (n, P, 3)."""
    depth = tf.fill(tf.shape(ray[0]), FAR)
    surface = tf.fill(tf.shape(ray[0]), SKY)
    for i in range(len(PLANES) - 1):
        here = slice(i, i + 1)  # [:, i, None] of a stack is rewritten wrongly by TensorFlow 2.21
        slope = dot([x[:, here] for x in scene.normal], (*ray, 1.0))
        t = scene.offset[:, here] / tf.minimum(slope, -1e-6)
        height = t * dot([x[:, None] for x in scene.up], (*ray, 1.0))
        nearer = (slope < -1e-6) & (t < depth) & (height < scene.top[:, here])
        depth = tf.where(nearer, t, depth)
        surface = tf.where(nearer, SOLIDS + i, surface)
    normal = tf.gather(_rows(scene.normal), _row(surface - SOLIDS, len(PLANES)))
    return depth, surface, normal


def _rows(values):
    """C tensors of (n, K) -> (n * K, C): one row is gathered as fast as one number."""
    return tf.reshape(tf.stack(values, -1), [-1, len(values)])


def _columns(rows):
    """(..., C) -> C tensors of (...)."""
    count = rows.shape[-1]
    flat = tf.unstack(tf.transpose(tf.reshape(rows, [-1, count])), count)
    return [tf.reshape(x, tf.shape(rows)[:-1]) for x in flat]


def _row(index, count):
    """(n, P) index among the `count` of its scene -> among those of all scenes."""
    return index + count * tf.range(tf.shape(index)[0])[:, None]


def _solids(scene, ray, depth, surface, normal):
    """What `_planes` gave, with the solids before it."""
    n, pixels = tf.shape(depth)[0], tf.shape(depth)[1]
    centre = [c[:, :, None] for c in scene.centre]
    toward = dot(centre, (ray[0][:, None], ray[1][:, None], 1.0))  # (n, K, P)
    square = add(ray[0] * ray[0], ray[1] * ray[1], 1.0)[:, None]
    pairs = _Pairs(scene, toward * toward > square * _bound(scene))

    target = pairs.scene * pixels + pairs.pixel
    d = (*_columns(tf.gather(_rows(ray), target)), 1.0)
    direction = [dot(row, d) for row in pairs.local]
    origin = [-dot(row, pairs.centre) for row in pairs.local]
    t = pairs.entry(origin, direction)
    nearest = tf.minimum(
        tf.reshape(depth, [-1]), tf.math.unsorted_segment_min(t, target, n * pixels)
    )
    wins = tf.where(t <= tf.gather(nearest, target))[:, 0]

    ours = pairs.normal(along(origin, direction, tf.where(t < FAR, t, 0.0)))
    ours = [dot(column, ours) for column in zip(*pairs.local, strict=True)]
    ours = tf.gather(tf.stack(ours, 1), wins)
    where = tf.gather(target, wins)[:, None]
    normal = tf.tensor_scatter_nd_update(tf.reshape(normal, [-1, 3]), where, ours)
    slot = tf.gather(pairs.solid % SOLIDS, wins)
    surface = tf.tensor_scatter_nd_update(tf.reshape(surface, [-1]), where, slot)
    shape = [n, pixels]
    return (
        tf.reshape(nearest, shape),
        tf.reshape(surface, shape),
        _columns(tf.reshape(normal, [*shape, 3])),
    )


def _bound(scene):
    """(n, K, 1) how far the sphere around each solid is from the camera, squared: a tangent's."""
    square = dot(scene.centre, scene.centre) - scene.reach * scene.reach
    return tf.where(scene.reach > 0, square, solids.INF)[:, :, None]


class _Pairs:
    """Lines beside the solids that they may hit, m in all, those of one kind together.

    Args:
        scene: `layout.Scene`.
        mask: (n, K, P), which line may hit which solid.
    """

    def __init__(self, scene, mask):
        kind = tf.reshape(scene.kind, [-1])
        order = tf.argsort(kind, stable=True)
        rows = tf.gather(tf.reshape(mask, [-1, tf.shape(mask)[2]]), order)
        pairs = tf.cast(tf.where(rows), tf.int32)  # (m, 2)
        self.pixel = pairs[:, 1]
        self.solid = tf.gather(order, pairs[:, 0])
        self.scene = self.solid // SOLIDS
        starts = tf.searchsorted(tf.gather(kind, order), tf.range(len(solids.KINDS)))
        starts = tf.searchsorted(pairs[:, 0], starts)
        self._sizes = tf.concat([starts[1:], tf.shape(pairs)[:1]], 0) - starts
        table = _rows([*(x for row in scene.local for x in row), *scene.centre, scene.extra])
        of_pair = _columns(tf.gather(table, self.solid))
        self.local = of_pair[:3], of_pair[3:6], of_pair[6:9]
        self.centre, self._extra = of_pair[9:12], of_pair[12]

    def entry(self, origin, direction):
        """t (m,) at which rays, in the solids' coordinates, enter them."""
        return tf.concat(
            [
                solids.entry(kind, part[:3], part[3:6], part[6])
                for kind, part in self._by_kind(*origin, *direction)
            ],
            0,
        )

    def normal(self, point):
        """Triple of (m,), in the solids' coordinates."""
        parts = [
            tf.stack(solids.normal(kind, part[:3], part[3])) for kind, part in self._by_kind(*point)
        ]
        return tf.unstack(tf.concat(parts, 1))

    def _by_kind(self, *values):
        parts = tf.split(tf.stack([*values, self._extra]), self._sizes, 1, len(solids.KINDS))
        return zip(solids.KINDS, (tf.unstack(part) for part in parts), strict=True)


def _light(scene, ray, point, normal, surface):
    """Light on each pixel, and what it mirrors: two triples of (n, P)."""
    (sun, sun_colour), (fill, fill_colour) = (
        tuple([x[:, None] for x in triple] for triple in light) for light in scene.lights
    )
    facing = dot(normal, sun)
    lit = (facing > 0) & (surface != SKY)
    seen = tf.where(lit & ~_shadow(scene, point, normal, surface, lit), facing, 0.0)
    other = tf.maximum(dot(normal, fill), 0.0)
    above = 0.65 + 0.35 * dot(normal, [x[:, None] for x in scene.up])
    light = [
        add(a[:, None] * above, s * seen, f * other)
        for a, s, f in zip(scene.ambient, sun_colour, fill_colour, strict=True)
    ]
    view = unit((*ray, tf.ones_like(ray[0])))
    middle = unit([s - v for s, v in zip(sun, view, strict=True)])
    mirror = tf.where(seen > 0, tf.maximum(dot(normal, middle), 0.0), 0.0)
    for _ in range(SHARPNESS):
        mirror *= mirror
    return light, [s * mirror for s in sun_colour]


def _shadow(scene, point, normal, surface, lit):
    """(n, P): whether a solid is between the point and the key light."""
    n, pixels = tf.shape(lit)[0], tf.shape(lit)[1]
    sun = scene.lights[0][0]
    centre = [c[:, :, None] for c in scene.centre]
    ahead = dot(scene.centre, [s[:, None] for s in sun])[:, :, None]
    ahead -= dot(point, [s[:, None] for s in sun])[:, None]  # (n, K, P)
    twice = dot([2 * c for c in centre], [p[:, None] for p in point])
    square = _bound(scene) + dot(point, point)[:, None] - twice
    # Of all kinds only the torus casts a shadow on itself.
    other = tf.where(scene.kind == solids.KINDS.index("torus"), -1, tf.range(SOLIDS))
    mask = lit[:, None] & (other[:, :, None] != surface[:, None])
    mask &= (square < ahead * ahead) & (ahead > -scene.reach[:, :, None])
    pairs = _Pairs(scene, mask)

    target = pairs.scene * pixels + pairs.pixel
    above = [p + AHEAD * x for p, x in zip(point, normal, strict=True)]
    above = _columns(tf.gather(_rows(above), target))
    above = [a - c for a, c in zip(above, pairs.centre, strict=True)]
    direction = _columns(tf.gather(_rows(sun), pairs.scene))
    t = pairs.entry(*([dot(row, x) for row in pairs.local] for x in (above, direction)))
    nearest = tf.math.unsorted_segment_min(t, target, n * pixels)
    return tf.reshape(nearest < FAR, [n, pixels])


def _colour(scene, ray, point, normal, surface, shine, pixel):
    """RGB (triple of (n, P)) for a display, whose gamma is taken as 2."""
    count = SKY + 1
    paint = _columns(tf.gather(_rows(scene.paint), _row(surface, count)))
    affine, (kind, gloss, cells) = paint[:12], paint[18:]
    cell = [dot(affine[i : i + 3], point) + affine[i + 3] for i in (0, 4, 8)]
    # A pattern fades where a pixel sees much of a cell: no aliasing of far floors.
    view = (*ray, tf.ones_like(ray[0]))
    slope = tf.maximum(-dot(normal, view), 0.02)
    width = cells * point[2] * pixel[:, None] / slope
    contrast = tf.clip_by_value(1.3 - 2.2 * width, 0.0, 1.0)
    share = 0.5 + contrast * (pattern(kind, cell) - 0.5)
    share = tf.where(kind > 0, share, 0.0)
    light, mirrored = shine
    sky = surface == SKY
    for i in range(3):
        albedo = paint[12 + i] + share * (paint[15 + i] - paint[12 + i])
        shaded = tf.where(sky, albedo, add(albedo * light[i], gloss * mirrored[i]))
        yield tf.sqrt(tf.clip_by_value(shaded, 0.0, 1.0))
