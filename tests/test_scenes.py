"""The source that renders: its maps agree with each other, and its labels are honest."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import elements, same
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sslzoo import data
from sslzoo.data.scenes import layout, solids
from sslzoo.data.scenes.pixels import render
from sslzoo.data.scenes.solids import KINDS
from sslzoo.errors import UserError

SIDE = 48


@tf.function(autograph=False, reduce_retracing=True)
def rendered(scene, side):
    rows = tf.tile(tf.range(side)[None], [tf.shape(scene.lens)[0], 1])
    return render(scene, rows, rows, side)


@pytest.fixture(scope="module")
def source():
    return data.load("scenes", resize=SIDE, labels=True, maps=True)


@pytest.fixture(scope="module")
def many(source):
    """The first 900 scenes: dict of arrays, with `lens`, `instance` and the area of the main
    solid without the others."""
    got = []
    for start in range(0, 900, 100):
        scene = source.scene(tf.range(start, start + 100, dtype=tf.int64))
        out = rendered(scene, SIDE)
        others = -tf.ones_like(scene.reach[:, 1:])
        alone = scene._replace(reach=tf.concat([scene.reach[:, :1], others], 1))
        alone = rendered(alone, SIDE)["instance"] == 0
        out["alone"] = tf.reduce_sum(tf.cast(alone, tf.int32), [1, 2])
        got.append({**out, "lens": scene.lens})
    return {name: np.concatenate([part[name] for part in got]) for name in got[0]}


# === Maps ===


def test_ranges(many):
    for name in ("image", "depth", "normals"):
        assert many[name].dtype == np.float32
        assert np.isfinite(many[name]).all()
    assert many["image"].min() >= 0
    assert many["image"].max() <= 1
    assert many["depth"].min() > 0.1
    assert many["depth"].max() == layout.FAR
    np.testing.assert_allclose(np.linalg.norm(many["normals"], axis=-1), 1, atol=1e-5)
    means = many["image"].mean((1, 2, 3))
    assert 0.35 < means.mean() < 0.65
    assert np.mean((means > 0.15) & (many["image"].std((1, 2, 3)) > 0.08)) > 0.97


def test_normals_are_the_gradient_of_depth(many):
    """Of three pixels of one surface, without a crease between them."""
    count = 300
    depth, lens = many["depth"][:count, ..., 0], many["lens"][:count, None, None]
    middle = (np.arange(SIDE) + 0.5) * 2 / SIDE - 1
    point = np.stack([middle * lens * depth, middle[:, None] * lens * depth, depth], -1)
    right, down = point[:, 1:-1, 2:] - point[:, 1:-1, :-2], point[:, 2:, 1:-1] - point[:, :-2, 1:-1]
    found = np.cross(down, right)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    inner = many["normals"][:count, 1:-1, 1:-1]
    smooth = np.ones(inner.shape[:-1], bool)
    for i, j in ((0, 1), (2, 1), (1, 0), (1, 2)):
        rows, columns = slice(i, i + SIDE - 2), slice(j, j + SIDE - 2)
        smooth &= (many["normals"][:count, rows, columns] * inner).sum(-1) > 0.9
        instance = many["instance"][:count]
        smooth &= instance[:, rows, columns] == instance[:, 1:-1, 1:-1]
    assert smooth.mean() > 0.8
    cosine = (found * inner).sum(-1)[smooth]
    assert np.mean(cosine > 0.99) > 0.985
    assert np.mean(cosine > 0.9) > 0.998
    on_solid = smooth & (many["instance"][:count, 1:-1, 1:-1] < layout.SOLIDS)
    assert np.mean((found * inner).sum(-1)[on_solid] > 0.99) > 0.95


def test_normals_face_the_camera(many):
    lens = many["lens"][:, None, None]
    middle = (np.arange(SIDE) + 0.5) * 2 / SIDE - 1
    x, y = np.broadcast_arrays(middle * lens, middle[:, None] * lens)
    facing = np.stack([x, y, np.ones_like(x)], -1) * many["normals"]
    assert np.mean(facing.sum(-1) <= 1e-3) > 0.999
    assert facing.sum(-1).max() < 0.4  # where a torus is grazed


def test_edges_are_where_the_instance_changes(source, many):
    got = elements(source, shuffle=False, stop=20)
    instance = many["instance"][:20]
    edges = np.stack([e["edges"][..., 0] for e in got])[:, :-1, :-1]
    expected = (instance[:, :-1, :-1] != instance[:, 1:, :-1]) | (
        instance[:, :-1, :-1] != instance[:, :-1, 1:]
    )
    np.testing.assert_array_equal(edges, expected.astype(np.float32))
    assert {*np.unique(many["instance"])} == {*range(layout.SKY + 1)}


# === One solid after the other ===


def inside(kind, extra, p):
    """Of points (3, n), in the solid's own coordinates."""
    x, y, z = p
    flat = np.hypot(x, y)
    if kind == "superquadric" and extra > 0.5:
        return np.sqrt(p**2 + solids.ROUND**2).sum(0) < 1
    return {
        "sphere": (p**2).sum(0) < 1,
        "box": np.abs(p).max(0) < 1,
        "cylinder": (flat < 1) & (np.abs(z) < 1),
        "cone": (flat < (1 - z) / 2) & (z > -1),
        "torus": np.hypot(flat - (1 - extra), z) < extra,
        "superquadric": (p**4).sum(0) < 1,
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(
    octahedron=st.booleans(), tube=st.floats(0.2, 0.36),
    seed=st.integers(0, 2**32 - 1), distance=st.floats(2, 20),
)  # fmt: skip
def test_a_ray_enters_where_a_solid_begins(kind, octahedron, tube, seed, distance):
    rng = np.random.default_rng(seed)
    extra = tube if kind == "torus" else float(octahedron)
    start = rng.normal(size=3)
    start *= distance / np.linalg.norm(start)
    direction = rng.uniform(-1.3, 1.3, (3, 40)) - start[:, None]
    rays = [np.full(40, x, np.float32) for x in start], list(direction.astype(np.float32))
    numbers = tf.fill([40], np.float32(extra))
    t = solids.entry(kind, *rays, numbers).numpy()
    span = 3 / distance
    steps = 1 + np.linspace(-span, span, 1500)
    within = inside(kind, extra, start[:, None, None] + direction[:, :, None] * steps)
    first = np.where(within.any(1), steps[within.argmax(1)], np.inf)
    agree = np.abs(np.minimum(t, 9) - np.minimum(first, 9)) < 8 * span / 1500
    thick = within.sum(1) > 75
    # A ray that grazes a torus may pass its other side by.
    assert agree[thick].all() or (kind == "torus" and agree[thick].mean() > 0.75)
    # Whatever is hit is of the surface: a little further in is in, further out is out.
    point = (start[:, None] + direction * np.where(np.isfinite(t), t, 0))[:, np.isfinite(t)]
    if kind == "torus":
        assert inside(kind, extra + 0.02, point * (0.98 - extra) / (1 - extra)).all()
    else:
        assert inside(kind, extra, 0.98 * point).all()
        assert not inside(kind, extra, 1.02 * point).any()
    # The normal: out of it is out, into it is in.
    hit = thick & np.isfinite(t)
    point = start[:, None] + direction * np.where(hit, t, 0)
    normal = np.stack(solids.normal(kind, [tf.constant(p, tf.float32) for p in point], numbers))
    normal = normal[:, hit] / np.linalg.norm(normal[:, hit], axis=0)
    point = point[:, hit]
    assert ((normal * direction[:, hit]).sum(0) < 1e-3).all()
    assert np.mean(inside(kind, extra, point - 0.005 * normal)) >= 0.7 or not hit.any()
    assert not inside(kind, extra, point + 0.02 * normal).any()


@pytest.fixture
def ball(source):
    """One sphere of radius 0.8 at 5 metres in front of the camera, plain, matt, on a floor."""
    scene = source.scene(tf.constant([0], tf.int64))
    third = [0.0, 0.0, 5.0]
    reach = tf.constant([[0.8] + [-1.0] * (layout.SOLIDS - 1)])
    centre = tuple(tf.fill([1, layout.SOLIDS], x) for x in third)
    local = tuple(
        tuple(tf.fill([1, layout.SOLIDS], 1.25 * (i == j)) for j in range(3)) for i in range(3)
    )
    paint = [*scene.paint[:18], 0 * scene.paint[18], 0 * scene.paint[19], scene.paint[20]]
    up = [x[:, None] for x in scene.up]
    below, far = 5 * up[2] - 0.8, tf.fill([1, 1], -layout.NOWHERE)
    offset = tf.concat([below, far, far, scene.offset[:, 3:]], 1)
    solid = {"reach": reach, "centre": centre, "local": local}
    one = tf.ones([1])
    fill = (0 * one, 0 * one, -one), (0.3 * one, 0.2 * one, 0.1 * one)  # from the camera
    solid["lights"] = scene.lights[0], fill
    return scene._replace(**solid, offset=offset, paint=paint)


def test_a_ball_in_front_of_the_camera(ball):
    side = 65
    out = {name: x[0].numpy() for name, x in rendered(ball, side).items()}
    assert out["instance"][32, 32] == 0
    np.testing.assert_allclose(out["depth"][32, 32], 5 - 0.8, rtol=1e-5)
    np.testing.assert_allclose(out["normals"][32, 32], [0, 0, -1], atol=1e-5)
    on = out["instance"] == 0
    # Half its angle: sin = 0.8 / 5, on a picture whose half is `lens`.
    radius = np.tan(np.arcsin(0.16)) / ball.lens.numpy()[0] * side / 2
    np.testing.assert_allclose(on.sum(), np.pi * radius**2, rtol=0.05)
    right, below = out["normals"][32, 32 + int(radius) - 2], out["normals"][30 + int(radius), 32]
    assert right[0] > 0.5
    assert below[1] > 0.5


def test_light_is_lamberts_law(ball):
    out = {name: x[0].numpy() for name, x in rendered(ball, 64).items()}
    (sun, sun_colour), (fill, fill_colour) = np.array(ball.lights)[..., 0]
    above = 0.65 + 0.35 * out["normals"] @ np.array(ball.up)[:, 0]
    cosine = np.maximum(out["normals"] @ sun, 0)
    light = np.array(ball.ambient)[:, 0] * above[..., None] + sun_colour * cosine[..., None]
    light += fill_colour * np.maximum(out["normals"] @ fill, 0)[..., None]
    albedo = np.array(ball.paint[12:15])[:, 0, 0]
    on = out["instance"] == 0
    np.testing.assert_allclose(
        out["image"][on], np.sqrt(np.clip(albedo * light, 0, 1))[on], atol=1e-4
    )
    np.testing.assert_allclose(np.linalg.norm(sun), 1, rtol=1e-5)


def test_the_ball_casts_its_shadow_away_from_the_light(ball):
    """A pixel is darker than without the ball just where the ray to the light meets it."""
    reach = -tf.ones_like(ball.reach)
    with_ball, without = (
        {name: x[0].numpy() for name, x in rendered(scene, 64).items()}
        for scene in (ball, ball._replace(reach=reach))
    )
    off = with_ball["instance"] != 0
    darker = (with_ball["image"] < without["image"] - 0.01).any(-1) & off
    lens = ball.lens.numpy()[0]
    middle = ((np.arange(64) + 0.5) / 32 - 1) * lens
    point = np.stack([*np.meshgrid(middle, middle), np.ones([64, 64])], -1) * with_ball["depth"]
    sun = np.array(ball.lights[0][0])[:, 0]
    toward = np.array([0, 0, 5]) - point
    along = toward @ sun
    meets = (along > 0) & ((toward**2).sum(-1) - along**2 < 0.8**2)
    lit = (without["normals"] @ sun > 0.02) & (with_ball["instance"] != layout.SKY)
    assert np.mean(darker == (meets & lit & off)) > 0.995
    assert (meets & lit & off).sum() > 50


# === Purity ===


def test_a_crop_is_rendered_as_the_whole_is(source):
    index = tf.range(12, dtype=tf.int64)
    places = np.random.default_rng(0).random([12, 2], np.float32)
    whole = source.open_chunk(index, tf.constant(places), 0)
    crops = source.open_chunk(index, tf.constant(places), 24)
    for name, crop in crops.items():
        for i, (top, left) in enumerate((25 * places).astype(int)):
            cut = whole[name][i, top : top + 24, left : left + 24]
            assert np.mean(np.abs(crop[i] - cut) < 1e-4) > 0.998, name


def test_neither_chunks_nor_order_matter(source):
    options = {"crop": 24, "seed": 4, "epoch_size": 50, "stop": 90}
    spec = source.examples(**options).element_spec
    assert all(spec[name].shape == (24, 24, count) for name, count in source.maps.items())
    once = elements(source, **options)
    other = data.load("scenes", resize=SIDE, labels=True, maps=True)
    other.chunk = 7
    assert same(once[33:], elements(other, **options, start=33))


def test_no_two_scenes_are_alike(many):
    def first(*spec):
        scene = data.load(*spec).scene(tf.range(100, dtype=tf.int64))
        return rendered(scene, SIDE)["image"].numpy()

    specs = [("scenes", "train"), ("scenes", "test"), ("scenes:10000:1", "train")]
    firsts = [first(*spec) for spec in specs]
    for i in range(3):
        assert np.abs(firsts[i] - firsts[i - 1]).mean((1, 2, 3)).min() > 0.03
    np.testing.assert_array_equal(first("scenes:100:1"), firsts[2])
    np.testing.assert_array_equal(many["image"][:100], firsts[0])
    small = many["image"][:, ::6, ::6].reshape(len(many["image"]), -1)
    products = small @ small.T
    square = np.diag(products)
    apart = square[:, None] + square - 2 * products + 1e9 * np.eye(len(small))
    assert apart.min() / small.shape[1] > 1e-3


def test_maps_change_no_colour(source):
    plain = data.load("scenes", resize=SIDE)
    assert plain.maps == {"image": 3}
    assert source.maps == {"image": 3, "depth": 1, "normals": 3, "edges": 1}
    index, place = tf.range(12, dtype=tf.int64), tf.fill([12, 2], 0.2)
    one, two = (s.open_chunk(index, place, 24) for s in (plain, source))
    assert one.keys() == {"image"}
    assert one["image"].shape == (12, 24, 24, 3)
    assert np.mean(np.abs(one["image"] - two["image"]) < 1e-4) > 0.9999


# === Labels ===


def test_classes_are_balanced_and_the_main_solid_is_the_largest_and_seen(source, many):
    labels = source.labels.numpy()
    np.testing.assert_allclose(np.bincount(labels), len(labels) / 6, atol=1)
    assert source.class_names == list(KINDS)
    np.testing.assert_array_equal(
        labels[:12], source.scene(tf.range(12, dtype=tf.int64)).kind[:, 0]
    )
    area = np.stack([(many["instance"] == i).sum((1, 2)) for i in range(layout.SOLIDS)], 1)
    assert (area[:, 0] > 1.2 * area[:, 1:].max(1)).all()
    assert (area[:, 0] > 0.05 * SIDE**2).all()
    assert (area[:, 0] >= 0.9 * many["alone"]).all()
    assert 3 < (area > 4).sum(1).mean() < 5


def score(features, model):
    """Accuracy on 300 held-back scenes of who learnt from 600: chance is 16.7 +- 2.2 %."""
    labels = np.arange(900) % 6
    return model.fit(features[:600], labels[:600]).score(features[600:], labels[600:])


def test_colours_and_size_do_not_tell_the_kind(many):
    flat = many["image"].reshape(900, -1, 3)
    bins = (flat * 3.999).astype(int) @ [16, 4, 1]
    colours = np.stack([np.bincount(x, minlength=64) for x in bins]) / SIDE**2
    grey = flat.mean(-1).reshape(900, SIDE, SIDE)
    steps = [np.abs(np.diff(grey, axis=axis)).mean((1, 2)) for axis in (1, 2)]
    statistics = np.concatenate([flat.mean(1), flat.std(1), np.stack(steps, 1)], 1)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
    assert score(colours, linear) < 0.25
    assert score(statistics, linear) < 0.25
    area = many["alone"][:, None].astype(float)
    assert score(area, KNeighborsClassifier(40)) < 0.25
    means = [area[np.arange(900) % 6 == kind].mean() for kind in range(6)]
    assert max(means) < 1.1 * min(means)


# === What the user asks for ===


@pytest.mark.parametrize(
    "spec",
    ["scenes:", "scenes:x", "scenes:10:1:2", "scenes:-5", "scenes:4", "scenes:10:", "scenes:²"],
)
def test_wrong_specs(spec):
    with pytest.raises(UserError, match=f"--dataset: expected scenes.*Received: '{spec}'"):
        data.load(spec)


def test_sizes():
    for spec, train, test in (("scenes", 10_000, 2_000), ("scenes:57:9", 57, 11)):
        assert [data.load(spec, split).size for split in ("train", "test")] == [train, test]
    plain = data.load("scenes:30")
    assert plain.side == 64
    assert plain.class_names is None
    with pytest.raises(UserError, match="scenes of 64 x 64"):
        plain.examples(crop=65)
    with pytest.raises(UserError, match=r"scenes or rendered:FOLDER, as depth.*: 'photos'"):
        data.load("photos", maps=True)
