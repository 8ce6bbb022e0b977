"""What is where in a scene: numbers drawn for camera, light, solids, walls and their paint.

Camera coordinates in metres: x to the right, y down, z along the viewing axis.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from sslzoo.data.order import fold, uniform
from sslzoo.data.scenes.poses import between, outline, pose, proportions, support
from sslzoo.data.scenes.solids import KINDS
from sslzoo.data.scenes.textures import PATTERNS
from sslzoo.data.scenes.vectors import dot, inverse_root, turn, unit

SOLIDS = 6  # at most; the first is the largest and the nearest
PLANES = ("floor", "wall", "side wall", "sky")
SKY = SOLIDS + len(PLANES) - 1
FAR = 40.0  # of the sky
NOWHERE = 1e6
# Per slot: how often it is there, its side, and ranges of its distance (of the first's), of its
# place beside the first (of half the picture's width) and of its size (of the first's).
SHARE = (1.0, 1.0, 0.75, 0.6, 0.6, 0.5)
SIDE = (0.0, -1.0, 1.0, -1.0, 1.0, 1.0)
DISTANCE = ((1.0, 1.15, 1.15, 1.75, 1.75, 2.5), (1.0, 1.5, 1.5, 2.3, 2.3, 3.2))
ASIDE = ((0.0, 0.68, 0.68, 0.35, 0.35, -0.6), (0.0, 0.95, 0.95, 0.8, 0.8, 0.6))
SIZE = ((1.0, 0.4, 0.4, 0.4, 0.4, 0.4), (1.0, 0.7, 0.7, 0.75, 0.75, 0.8))


class Scene(NamedTuple):
    """n scenes of K solids and P planes; surfaces are first the solids, then the planes."""

    lens: Any  # (n,) tangent of half the field of view
    up: Any  # triple of (n,)
    lights: Any  # (direction to it, its colour), triples of (n,): the key light, the fill light
    ambient: Any  # triple of (n,)
    kind: Any  # (n, K) int32, of KINDS
    extra: Any  # (n, K) what the kind wants to know
    centre: Any  # triple of (n, K)
    local: Any  # triple of triples of (n, K): camera directions -> the solid's own coordinates
    reach: Any  # (n, K) radius of a sphere around it, below 0 where there is none
    normal: Any  # triple of (n, P), of the planes, towards the camera
    offset: Any  # (n, P) normal . p
    top: Any  # (n, P) how far along `up` a plane goes
    paint: Any  # 21 of (n, S): 3 x 4 camera -> cells of the pattern, two colours, pattern,
    # gloss, cells per metre


def draw(key, kind):
    """Scenes of keys (n,) uint64, whose largest solid is of `kind` (n,) int32."""
    one = _numbers(fold(key, 1), 40)
    many = _numbers(fold(fold(key, 2)[:, None], tf.range(SOLIDS)), 16)
    lens = between(next(one), 0.4, 0.62)
    cos, sin = turn(between(next(one), 0.05, 0.25))  # of the pitch
    zero = tf.zeros_like(cos)
    world = ((zero + 1, zero, zero), (zero, -sin, cos), (zero, -cos, -sin))  # right, ahead, up
    up = world[2]

    kinds = tf.cast(next(many) * len(KINDS), tf.int32)
    kinds = tf.concat([kind[:, None], kinds[:, 1:]], 1)
    distance = between(next(one), 2.5, 5.0)
    radius = distance * lens * between(next(one), 0.36, 0.5)
    size = radius[:, None] * between(next(many), *SIZE)
    place = (between(next(one), -0.25, 0.25) * lens, between(next(one), -0.05, 0.2) * lens)
    turned = pose(many)
    axes = tuple(  # of each solid, in camera coordinates
        tuple(sum(turned[i][axis] * world[i][j][:, None] for i in range(3)) for j in range(3))
        for axis in range(3)
    )
    view = [x[:, None] for x in unit((*place, zero + 1))]
    half, extra, around = proportions(kinds, many)
    area = outline(kinds, half, extra, [dot(axis, view) for axis in axes])
    scale = size * inverse_root(area)
    half, around = tuple(scale * x for x in half), scale * around
    rest = support(kinds, half, extra, turned[2])
    first = (place[0] * distance, place[1] * distance, distance)
    floor = dot(up, first) - rest[:, 0]  # along `up`; below the camera, so negative
    depth = distance[:, None] * between(next(many), *DISTANCE)
    mirror = tf.where(next(one) < 0.5, -1.0, 1.0)[:, None]
    aside = mirror * tf.constant(SIDE) * between(next(many), *ASIDE) * lens[:, None]
    foot_x = (aside + place[0][:, None]) * depth
    foot_y = -(floor[:, None] + sin[:, None] * depth) / cos[:, None]
    centre = tuple(
        foot + rest * up[:, None] for foot, up in zip((foot_x, foot_y, depth), up, strict=True)
    )
    there = next(many) < tf.constant(SHARE)
    reach = tf.where(there, around, -1.0)

    local = tuple(tuple(x / h for x in axis) for axis, h in zip(axes, half, strict=True))
    planes = _planes(one, world, floor, radius, centre, reach)
    lights, ambient = _lights(one, world)
    frames = tuple(
        tuple(tf.concat([axes[i][j], planes["axes"][i][j]], 1) for j in range(3)) for i in range(3)
    )
    origin = tuple(tf.concat(x, 1) for x in zip(centre, planes["origin"], strict=True))
    sizes = tf.concat([size, tf.repeat(1.2 * radius[:, None], len(PLANES), 1)], 1)
    return Scene(
        *(lens, up, lights, ambient, kinds, extra, centre, local, reach),
        *(planes["axes"][2], planes["offset"], planes["top"]),
        _paint(key, frames, origin, sizes),
    )


def _numbers(key, count):
    """Iterator over `count` tensors of uniform numbers, of the shape of `key`."""
    data = tf.reshape(tf.range(count // 2), [-1, *[1] * key.shape.rank])
    drawn = uniform(fold(key[None], data))
    return iter([x for pair in tf.unstack(drawn) for x in tf.unstack(pair, axis=-1)])


def _planes(numbers, world, floor, radius, centre, reach):
    """Floor, two walls behind whatever is there, the sky: axes, origin, offset, top."""
    right, ahead, up = world
    cos, sin = turn(between(next(numbers), -0.22, 0.22))
    tangent = tuple(cos * r - sin * a for r, a in zip(right, ahead, strict=True))
    back = tuple(-(sin * r + cos * a) for r, a in zip(right, ahead, strict=True))
    sign = tf.where(next(numbers) < 0.5, -1.0, 1.0)
    side = tuple(sign * t for t in tangent)

    def behind(normal, room, there):
        far = tf.reduce_max(
            tf.where(reach > 0, reach - dot([x[:, None] for x in normal], centre), 0.0), 1
        )
        return tf.where(there, -(far + room * radius), -NOWHERE)

    walled = next(numbers)
    offset = (
        floor,
        behind(back, between(next(numbers), 0.2, 3.0), walled < 0.75),
        behind(side, between(next(numbers), 0.0, 1.0), walled < 0.4),
        tf.fill(tf.shape(floor), -FAR),
    )
    low = floor + radius * between(next(numbers), 2.0, 5.0)
    top = tf.where(next(numbers) < 0.35, low, NOWHERE)
    far = tf.fill(tf.shape(floor), NOWHERE)
    normals = (up, back, side, (0 * floor, 0 * floor, 0 * floor - 1))
    yaw, dip = turn(between(next(numbers), -1.0, 1.0))
    along = tuple(yaw * r + dip * a for r, a in zip(right, ahead, strict=True))
    across = tuple(yaw * a - dip * r for r, a in zip(right, ahead, strict=True))
    depth_axis = tuple(-x for x in back)
    first = (along, tangent, depth_axis, right)
    second = (across, up, up, (0 * floor, 0 * floor - 1, 0 * floor))

    def stack(triples):
        return tuple(tf.stack(x, 1) for x in zip(*triples, strict=True))

    axes = (stack(first), stack(second), stack(normals))
    offset = tf.stack(offset, 1)
    return {
        "axes": axes,
        "offset": offset,
        "origin": tuple(x * tf.maximum(offset, -FAR) for x in axes[2]),
        "top": tf.stack([far, top, top, far], 1),
    }


def _lights(numbers, world):
    """A key light, which casts shadows, in half of the scenes a fill light, and the rest."""
    right, ahead, up = world

    def light(strength):
        cos, sin = turn(between(next(numbers), -1.0, 1.0))  # azimuth: 0 is behind the camera
        flat, high = turn(between(next(numbers), 0.22, 0.6))
        direction = tuple(
            flat * (sin * r - cos * a) + high * u for r, a, u in zip(right, ahead, up, strict=True)
        )
        return direction, _tint(numbers, strength)

    key = light(between(next(numbers), 0.75, 1.1))
    second = next(numbers)
    fill = light(tf.where(second < 0.5, 0.0, between(second, 0.0, 0.4)))
    return (key, fill), _tint(numbers, between(next(numbers), 0.22, 0.4))


def _tint(numbers, strength):
    warm = between(next(numbers), -0.15, 0.15)
    return strength * (1 + warm), strength * tf.ones_like(warm), strength * (1 - warm)


def _paint(key, frames, origin, size):
    """21 tensors of (n, S): see `Scene`."""
    numbers = _numbers(fold(fold(key, 3)[:, None], tf.range(SKY + 1)), 16)
    sky = tf.constant([False] * SKY + [True])
    plain = next(numbers) < 0.15
    kind = tf.floor(1 + next(numbers) * (len(PATTERNS) - 1))
    kind = tf.where(sky, float(PATTERNS.index("noise")), tf.where(plain, 0.0, kind))
    cells = between(next(numbers), 1.0, 2.6) / size
    cells = tf.where(sky, 0.12, cells)
    shift = [between(next(numbers), 0.0, 64.0) for _ in range(3)]
    # A plane lies in the middle of a layer of cells.
    shift[2] = tf.where(tf.range(SKY + 1) < SOLIDS, shift[2], tf.floor(shift[2]) + 0.5)
    affine = []
    for axis, start in zip(frames, shift, strict=True):
        row = [cells * x for x in axis]
        affine += [*row, start - dot(row, origin)]
    first = (next(numbers), between(next(numbers), 0.0, 0.9), between(next(numbers), 0.45, 1.0))
    blue = (between(first[0], 0.52, 0.64), 0.6 * first[1], between(first[2], 0.5, 1.0))
    first = tuple(tf.where(sky, s, c) for s, c in zip(blue, first, strict=True))
    hue, saturation = first[0] + between(next(numbers), -0.25, 0.25), 0.7 * next(numbers)
    value = first[2] + tf.where(first[2] < 0.72, 0.35, -0.4) * between(next(numbers), 0.6, 1.0)
    second = (hue, tf.where(sky, 0.05, saturation), tf.where(sky, 0.95, value))
    gloss = tf.maximum(between(next(numbers), -0.4, 0.6), 0.0)
    colours = (*_colour(*first), *_colour(*second))
    return [*affine, *colours, kind, gloss, cells]


def _colour(hue, saturation, value):
    """Hue, saturation and value of a display's colour -> linear light, a triple."""
    for shift in (0, 2 / 3, 1 / 3):
        wheel = tf.abs(6 * (hue + shift - tf.floor(hue + shift)) - 3) - 1
        shown = value * (1 - saturation * (1 - tf.clip_by_value(wheel, 0.0, 1.0)))
        yield shown * shown
