"""Rendered data sets on disk: every map is where its image is, and what is wrong is named."""

import re
import struct
import sys

import numpy as np
import OpenEXR
import pytest
import tensorflow as tf
from PIL import Image

from sslzoo import data
from sslzoo.data import exr, folder, map_window
from sslzoo.data.source import MAPS
from sslzoo.errors import UserError

H, W, N = 24, 30, 12


def arrays(i, shape=(H, W)):
    """An image, depth in mm, normals and instances, all of which tell the pixel's place."""
    rows, columns = np.indices(shape)
    red = np.stack([rows * 8, columns * 8, np.full(shape, i)], -1)
    normals = np.stack([rows / 40 - 0.3, columns / 50 - 0.3, np.full(shape, -1.0)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {
        "rgb": red.astype(np.uint8),
        "depth": (1000 + 100 * rows + columns + i).astype(np.uint16),
        "normal": normals,
        "edge": (255 * (columns % 5 == 2)).astype(np.uint8),
        "instance": ((rows + columns) // 7 * 300).astype(np.uint16),
    }


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif array.dtype.kind == "f":
        Image.fromarray(np.round((array + 1) * 127.5).astype(np.uint8)).save(path)
    else:
        Image.fromarray(array).save(path)


def fill(root, contours="edge", n=N, npy=False, **other):
    """A small data set below `root`; NPY are of float metres; `other` arrays in place of some."""
    for i in range(n):
        for name, array in (arrays(i) | other).items():
            if name not in ("rgb", "depth", "normal", contours):
                continue
            if npy and name == "depth":
                array = array.astype(np.float32) / 1000
            extension = ".npy" if npy and name != "rgb" else ".png"
            save(root / name / "room" / f"{i:02d}{extension}", array)
    return f"rendered:{root}"


def load(spec, *args, **kwargs):
    return data.load(spec, *args, maps=True, **kwargs)


def cut(source, index=0, place=(0.5, 0.5), crop=0):
    """What `source` opens: eagerly, as a dataset takes a second to build."""
    raw = source.fetch(tf.constant([index], tf.int64))[0]
    opened = source.opened(raw, tf.constant(place, tf.float32), crop)
    return {name: values.numpy() for name, values in opened.items()}


def places(element):
    """Rows and columns (h, w) of an example's pixels, as its image tells them."""
    rows, columns, _ = np.moveaxis(np.round(element["image"] * 255).astype(int), -1, 0)
    return rows // 8, columns // 8


def number(element):
    """Which file an example is of, as its image tells."""
    return round(element["image"][0, 0, 2] * 255)


def borders(ids):
    """Of (h + 1, w + 1) ids."""
    here = ids[:-1, :-1]
    return (here != ids[1:, :-1]) | (here != ids[:-1, 1:])


@pytest.mark.parametrize("contours", ["edge", "instance"])
@pytest.mark.parametrize("npy", [False, True])
def test_values_are_exact_and_all_maps_are_cut_where_the_image_is(tmp_path, contours, npy):
    source = load(fill(tmp_path, contours, n=2, npy=npy))
    true = arrays(number(cut(source)))
    ids = np.pad(true["instance"], ((0, 1), (0, 1)), "edge")
    edges = true["edge"] > 0 if contours == "edge" else borders(ids)
    for place, crop in ((0.5, 0.5), 0), ((0.0, 0.99), 16), ((0.8, 0.3), 13):
        element = cut(source, 0, place, crop)
        at = places(element)
        if crop:
            corner = [int((n - crop + 1) * p) for n, p in zip((H, W), place, strict=True)]
            assert [at[0][0, 0], at[1][0, 0]] == corner
        depth = true["depth"][at].astype(np.float32) / 1000
        np.testing.assert_array_equal(element["depth"][..., 0], depth)
        limit = 1e-6 if npy else 1 / 127.5
        np.testing.assert_allclose(element["normals"], true["normal"][at], atol=limit)
        np.testing.assert_allclose(np.linalg.norm(element["normals"], axis=-1), 1, atol=1e-6)
        np.testing.assert_array_equal(element["edges"][..., 0], edges[at])
    assert {values.dtype for values in element.values()} == {np.dtype(np.float32)}


def test_a_depth_of_1234_is_1234_millimetres(tmp_path):
    source = load(fill(tmp_path, n=2, depth=np.full((H, W), 1234, np.uint16)), resize=16)
    assert (cut(source, crop=12)["depth"] == np.float32(1.234)).all()


@pytest.mark.parametrize("resize", [12, 17, 48])
def test_resized_maps_stay_with_the_image(tmp_path, resize):
    size = resize, round(W * resize / H)
    source = load(fill(tmp_path, "instance", n=2), resize=resize)
    whole = cut(source)
    assert whole["image"].shape == (*size, 3)
    pairs = zip(size, (H, W), strict=True)
    at = np.ix_(*((2 * np.arange(n) + 1) * old // (2 * n) for n, old in pairs))
    true = arrays(number(whole))
    np.testing.assert_allclose(whole["depth"][..., 0], true["depth"][at] / 1000, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(whole["normals"], axis=-1), 1, atol=1e-6)
    ids = np.pad(true["instance"][at], ((0, 1), (0, 1)), "edge")
    np.testing.assert_array_equal(whole["edges"][..., 0], borders(ids))
    # The image is smooth, so it tells how far away the nearest pixel is: half a pixel at most.
    rows = whole["image"][2:-2, 2:-2, 0] * 255 / 8
    assert np.abs(rows - np.floor(whole["depth"][2:-2, 2:-2, 0] * 10 - 10 + 1e-4)).max() <= 0.52
    top, left = (int((n - 10 + 1) * p) for n, p in zip(size, (0.9, 0.2), strict=True))
    for name, values in cut(source, 0, (0.9, 0.2), 10).items():
        part = whole[name][top : top + 10, left : left + 10]
        np.testing.assert_allclose(values, part, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("resize", [6, 11, 17, 24, 37])
def test_a_line_of_one_pixel_is_still_there_and_thin(resize):
    window = map_window.Window(tf.constant([H, H]), resize, 0, tf.constant([0.5, 0.5]))
    for column in range(3, 9):
        line = np.zeros((H, H, 1), np.int64)
        line[:, column] = 1
        drawn = map_window.CUT["edge"](tf.constant(line), window)["edges"].numpy()[..., 0]
        assert (drawn == drawn[0]).all()
        assert 1 <= drawn[0].sum() <= np.ceil(resize / H), column
        middle = (np.flatnonzero(drawn[0]).mean() + 0.5) * H / resize
        assert abs(middle - column - 0.5) <= max(0.5 * H / resize, 0.5)


def test_colours_and_palettes_tell_instances_apart(tmp_path):
    ids = np.zeros((H, W, 3), np.uint8)
    ids[:, 10:] = 10, 0, 0
    ids[:, 20:] = 0, 0, 10
    source = load(fill(tmp_path, "instance", n=2, instance=ids))
    for _ in range(2):
        assert np.flatnonzero(cut(source)["edges"][3]).tolist() == [9, 19]
        for path in (tmp_path / "instance" / "room").iterdir():
            Image.fromarray(ids).quantize(3).save(path)


def test_black_is_no_normal(tmp_path):
    normals = arrays(0)["normal"].copy()
    normals[:5] = -1
    drawn = cut(load(fill(tmp_path, n=2, normal=normals)))["normals"]
    assert (drawn[:5] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(drawn[5:], axis=-1), 1, atol=1e-6)


def test_an_example_is_pure_and_a_restart_sees_the_same(tmp_path):
    options = {"seed": 3, "crop": 16, "epoch_size": N - 2, "stop": 2 * N}
    source = load(fill(tmp_path), resize=20)
    assert source.maps == data.load("scenes", maps=True).maps
    whole, resumed = (source.examples(**options, start=start) for start in (0, 7))
    assert all(whole.element_spec[k].shape == (16, 16, n) for k, n in source.maps.items())
    once, rest = (list(ds.as_numpy_iterator()) for ds in (whole, resumed))
    for first, second in zip(once[7:], rest, strict=True):
        assert first.keys() == second.keys() == {*MAPS, "index", "seed"}
        assert all(np.array_equal(first[name], second[name]) for name in first)
    assert len({element["depth"].tobytes() for element in once}) > N


def test_parts_names_and_labels(tmp_path, caplog):
    spec = fill(tmp_path / "whole", n=20)
    train, test = (load(spec, split, labels=True) for split in ("train", "test"))
    assert (train.size, test.size) == (18, 2)
    paths = folder.list_images(tmp_path / "whole" / "rgb")
    names = [train.name(i) for i in range(18)]
    assert names == folder.held_out(paths, "train")
    assert train.class_names == ["room"]
    for i in range(18):
        element = cut(train, i)
        assert train.name(i) == f"room/{number(element):02d}.png"
        assert round(element["depth"][0, 0, 0] * 1000) == 1000 + number(element)
    fill(tmp_path / "parts" / "train", n=5)
    fill(tmp_path / "parts" / "test", n=3)
    assert [load(f"rendered:{tmp_path}/parts", s).size for s in ("train", "test")] == [5, 3]
    load(f"rendered:{tmp_path}/parts/train")
    assert caplog.text.endswith(f"has test/: use --dataset=rendered:{tmp_path}/parts\n")


def test_without_maps_it_is_a_folder_of_its_images(tmp_path):
    (tmp_path / "bare").mkdir()
    spec = fill(tmp_path / "all")
    (tmp_path / "all" / "rgb").rename(tmp_path / "bare" / "rgb")
    rendered = data.load(f"rendered:{tmp_path}/bare", resize=20, labels=True)
    plain = data.load(f"{tmp_path}/bare/rgb", resize=20, labels=True)
    assert [rendered.name(i) for i in range(3)] == [plain.name(i) for i in range(3)]
    assert rendered.maps == plain.maps
    np.testing.assert_array_equal(cut(rendered, 1)["image"], cut(plain, 1)["image"])
    np.testing.assert_array_equal(rendered.labels, plain.labels)
    with pytest.raises(UserError, match=r"all: expected the folders rgb\. Received: depth, edge"):
        data.load(spec)


# === OpenEXR ===


def save_exr(path, **channels):
    channels = {name.replace("_", "."): values for name, values in channels.items()}
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, channels) as file:
        file.write(str(path))


def fill_exr(root, n=2, **other):
    """A small data set whose maps are OpenEXR; `other` depths or normals in place of some."""
    spec = fill(root, "instance", n, npy=True)
    for path in root.rglob("*.npy"):
        values = other.get(path.parts[-3], np.load(path))
        if path.parts[-3] == "normal":
            x, y, z = np.ascontiguousarray(np.moveaxis(values.astype(np.float32), -1, 0))
            save_exr(path.with_suffix(".exr"), X=x, Y=y, Z=z)
        else:
            save_exr(path.with_suffix(".exr"), View_Z=values.astype(np.float32))
    return spec


def test_openexr_holds_what_npy_holds(tmp_path):
    spec = fill_exr(tmp_path)
    source = load(spec)
    assert source.path(0).endswith(".png")
    arrays = cut(source, crop=16)
    for path in tmp_path.rglob("*.npy"):
        path.unlink()
    for name, values in cut(load(spec), crop=16).items():
        np.testing.assert_array_equal(values, arrays[name])


def test_where_a_ray_hits_nothing_there_is_no_depth(tmp_path):
    depth = np.full((H, W), 2.5, np.float32)
    depth[0, :4] = np.inf, 1e10, 65504, 999
    spec = fill_exr(tmp_path, depth=depth)
    for path in tmp_path.rglob("*.npy"):
        path.unlink()
    np.testing.assert_array_equal(cut(load(spec))["depth"][0, :5, 0], [0, 0, 0, 999, 2.5])


@pytest.mark.parametrize(
    "numbers", [np.uint32([1, 70_000, 2**24 + 1]), np.float32([0.2, 0.5, 7e4])]
)
def test_instances_keep_apart_whatever_their_numbers(tmp_path, numbers):
    spec = fill_exr(tmp_path)
    for path in tmp_path.rglob("*.npy"):
        path.unlink()
    ids = np.repeat(np.repeat(numbers[None], H, 0), W // 3, 1)
    for path in (tmp_path / "instance").rglob("*.exr"):
        save_exr(path, Id=np.ascontiguousarray(ids))
    edges = cut(load(spec))["edges"][..., 0]
    np.testing.assert_array_equal(
        edges, np.broadcast_to(np.arange(W) % 10 == 9, (H, W)) * ([1] * 29 + [0])
    )


@pytest.mark.parametrize(
    ("names", "channels", "chosen"),
    [
        (["depth"], 1, ["depth"]),
        (["B", "G", "R"], 1, ["R"]),
        (["B", "G", "R"], 3, ["R", "G", "B"]),
        (["N.Z", "N.Y", "N.X", "A"], 3, ["N.X", "N.Y", "N.Z"]),
        (["L.Depth.Z", "L.Combined.R"], 1, ["L.Depth.Z"]),
        (["a.Z", "b.Z"], 1, None),
        (["R", "G"], 3, None),
    ],
)
def test_channels_of_openexr_are_found_by_their_last_names(names, channels, chosen):
    assert exr.chosen(names, channels) == chosen


def test_what_is_wrong_with_openexr_is_said(tmp_path, monkeypatch):
    spec = fill_exr(tmp_path)
    for path in tmp_path.rglob("*.npy"):
        path.unlink()
    source = load(spec)
    depth, normal = (
        (tmp_path / name / source.name(0)).with_suffix(".exr") for name in ("depth", "normal")
    )
    whole = {path: path.read_bytes() for path in (depth, normal)}
    save_exr(depth, Z=np.full((H, W), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"Expected|damaged"):
        cut(source)
    with pytest.raises(UserError, match=rf"{depth}: .* whole and of finite numbers"):
        load(spec)
    depth.write_bytes(whole[depth])
    normal.write_bytes(whole[normal][:-40])
    with pytest.raises(ValueError, match=r"Expected|damaged"):
        cut(source)
    source.undecodable.bad, source.undecodable.failure = {0}, UserError("too many")
    assert re.search(f"too many; {normal}: .* whole", str(source.failure))
    save_exr(normal, X=np.ones((H, W), np.float32))
    with pytest.raises(UserError, match=rf"{normal}: expected .* RGB\. Received: an OpenEXR of X"):
        load(spec)
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(UserError, match=r"exr: expected `pip install -e '\.\[exr\]'`"):
        load(spec)


def test_images_may_be_mostly_holes(tmp_path):
    some = np.arange(W) % 4 == 0
    normal = np.where(some[:, None], arrays(0)["normal"], -1.0)  # black
    spec = fill(tmp_path, n=4, depth=(some * arrays(0)["depth"]).astype(np.uint16), normal=normal)
    source = load(spec)
    save(tmp_path / "depth" / source.name(0), np.zeros((H, W), np.uint16))
    cut(load(spec))


# === Errors at opening ===

GREY = np.full((H, W), 7, np.uint8)


@pytest.mark.parametrize(
    ("npy", "other", "message"),
    [
        (False, {"depth": GREY}, "depth/room/01.png: .* 16 bits in mill.* a PNG of 8 bits, grey"),
        (False, {"depth": np.zeros((H, W), np.uint16)}, "0.*.png: expected depths up to 1000 m.*0"),
        (False, {"normal": GREY}, "normal/room/01.png: expected an RGB PNG of 8.* 8 bits, grey"),
        (False, {"normal": np.full((H, W, 3), 128, np.uint8)}, "length 1. R.* median .* 0.01"),
        (False, {"edge": GREY[1:]}, "edge/room/01.png: expected 24 x 30 pixels.*: 23 x 30"),
        (False, {"rgb": np.zeros((30, 24, 3), np.uint8)}, "01.png: expected 30 x 24.*: 24 x 30"),
        (True, {"depth": np.full((H, W), 1.5e6, "f4")}, "01.npy: exp.*: at most 1.5e.06 m"),
        (True, {"depth": GREY}, r"float NPY \(H, W\).*Received: a NPY \(24, 30\) uint8"),
        (True, {"depth": np.ones((H, W), ">f4")}, "big-endian"),
        (True, {"normal": np.asfortranarray(arrays(0)["normal"])}, "columns first"),
        (True, {"normal": np.ones((H, W), "f4")}, r"NPY \(H, W, 3\).*Received: a NPY \(24, 30\) f"),
        (True, {"normal": np.full((H, W, 3), np.nan)}, "finite numbers"),
        (True, {"edge": np.ones((H, W + 1), bool)}, "expected 24 x 30 pixels.*: 24 x 31"),
    ],
)
def test_what_is_wrong_with_files_is_said_at_opening(tmp_path, npy, other, message):
    if "depth" in other and npy:
        spec = fill(tmp_path, n=2, npy=True)
        for i in range(2):
            np.save(tmp_path / "depth" / "room" / f"{i:02d}.npy", other["depth"])
    else:
        spec = fill(tmp_path, n=2, npy=npy, **other)
    with pytest.raises(UserError, match=message):
        load(spec)


def test_what_is_missing_is_said_at_opening(tmp_path):
    with pytest.raises(UserError, match=r"expected rendered:FOLDER\. Received: 'rendered:', no fo"):
        load("rendered:")
    with pytest.raises(UserError, match=r"expected rendered:FOLDER\. Received: .*none', no folder"):
        load(f"rendered:{tmp_path}/none")
    spec = fill(tmp_path)
    found = [load(spec, split).path(0) for split in ("train", "test")][1]
    (tmp_path / "depth" / found.split("rgb/")[1]).unlink()
    load(spec)
    with pytest.raises(UserError, match=r"depth: expected a PNG .*none for room/.*1 of 1 in all"):
        load(spec, "test")
    folders = r"expected the folders rgb, depth, normal, edge or instance\. Received: "
    (tmp_path / "edge").rename(tmp_path / "contours")
    with pytest.raises(UserError, match=f"{folders}contours, depth, normal, rgb"):
        load(spec)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"{folders}none"):
        load(f"rendered:{tmp_path}/empty")


def test_an_image_turned_by_its_tag_is_refused(tmp_path):
    spec = fill(tmp_path, n=2)
    exif = Image.Exif()
    exif[0x0112] = 3
    image = tmp_path / "rgb" / "room" / "00"
    Image.open(image.with_suffix(".png")).save(image.with_suffix(".jpg"), exif=exif)
    image.with_suffix(".png").unlink()
    with pytest.raises(UserError, match=r"00\.jpg: expected an image that is upright"):
        [load(spec, split) for split in ("train", "test")]


# === Errors that only reading finds ===


def later(path, how):
    """Does that to a file that was fine when it was looked at."""
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif how == "nan":
        array = np.load(path)
        np.save(path, np.where(np.arange(W) < 3, np.nan, array).astype(array.dtype))
    elif how == "8 bits":
        save(path, GREY)
    elif how == "another size":
        save(path, np.asarray(Image.open(path))[1:])
    elif how == "another dtype":
        np.save(path, np.load(path).astype(np.float16))
    else:
        header = struct.pack(">II", 60_000, 60_000)
        path.write_bytes(path.read_bytes()[:16] + header + path.read_bytes()[24:])


@pytest.mark.parametrize(
    ("name", "npy", "how", "message"),
    [
        ("depth", True, "cut", "whole and of finite numbers"),
        ("normal", False, "cut", "whole and of finite numbers"),
        ("depth", True, "nan", "whole and of finite numbers"),
        ("depth", False, "8 bits", "a PNG of 8 bits, grey"),
        ("edge", False, "another size", "expected 24 x 30.*23 x 30"),
        ("depth", True, "another dtype", "expected <f4, as the first file has. Received: <f2"),
        ("edge", False, "huge", "expected 24 x 30.*60000 x 60000"),
    ],
)
def test_what_only_reading_finds_is_said_of_the_file(tmp_path, name, npy, how, message):
    source = load(fill(tmp_path, n=2, npy=npy))
    path = tmp_path / name / f"{source.name(0).removesuffix('.png')}{'.npy' if npy else '.png'}"
    later(path, how)
    with pytest.raises(tf.errors.InvalidArgumentError):
        cut(source)
    source.undecodable.bad, source.undecodable.failure = {0}, UserError("too many")
    assert re.search(rf"too many; {path}: .*{message}", str(source.failure))


def test_a_bad_map_is_replaced_with_its_image_and_too_many_end_the_run(tmp_path):
    source = load(fill(tmp_path))
    paths = [tmp_path / "depth" / source.name(i) for i in (2, 4)]
    later(paths[0], "8 bits")
    ds = source.examples(crop=16, shuffle=False)
    got = list(ds.as_numpy_iterator())
    assert [element["index"] for element in got] == [0, 1, 3, *range(3, source.size)]
    assert all(np.array_equal(got[2][name], got[3][name]) for name in MAPS)
    assert source.failure is None
    later(paths[1], "8 bits")
    with pytest.raises(tf.errors.OpError):
        list(ds.as_numpy_iterator())
    line = rf"2 of {source.size} images cannot be decoded .*; {paths[0]}: .* a PNG of 8 bits"
    assert isinstance(source.failure, UserError)
    assert re.search(line, str(source.failure))
