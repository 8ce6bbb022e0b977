import os
import pathlib
import struct
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import elements, same
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sslzoo import data
from sslzoo.data import decode, folder, tfds
from sslzoo.data.order import keys
from sslzoo.data.photos import Photos
from sslzoo.errors import UserError
from sslzoo.images import orientation

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data"


def picture(height, width, seed=0):
    """A smooth colour picture (H, W, 3) uint8: one that survives JPEG and resizing."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.BICUBIC))


def save(path, array, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **kwargs)
    return path


def jpegs(root, count, shape=(40, 50)):
    for i in range(count):
        save(root / f"{i:03d}.jpg", picture(*shape, seed=i), quality=95)
    return str(root)


def whole(source, index=0):
    return source.read(index).numpy()


def npz(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def arrays(tmp_path):
    rng = np.random.default_rng(0)
    return npz(
        tmp_path / "a.npz",
        x_train=rng.integers(0, 256, (20, 8, 10, 3), np.uint8),
        y_train=np.arange(20) % 3,
        x_test=rng.integers(0, 256, (5, 8, 10), np.uint8),
        y_test=np.zeros((5, 1), np.uint8),
        class_names=np.array(["ant", "bee", "cat"]),
    )


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory):
    """A tiny dataset in both file formats, prepared here: nothing is downloaded."""
    import tensorflow_datasets as tfds

    class SslzooTiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["even", "odd"]),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {"train": self._examples(70), "validation": self._examples(4)}

        def _examples(self, count):
            for i in range(count):
                yield i, {"image": np.full((20, 24, 3), 3 * i, np.uint8), "label": i % 2}

        def _generate_examples(self):
            raise NotImplementedError

    root = tmp_path_factory.mktemp("tfds")
    for form in ("array_record", "tfrecord"):
        SslzooTiny(data_dir=str(root / form), file_format=form).download_and_prepare()
    return root


# === Every element is a pure function of (seed, epoch, index) ===


@pytest.fixture(params=["photos", "scenes", "single", "npz", "folder", "rendered", "tfds"])
def source(request, tmp_path, arrays, tfds_dir):
    if request.param == "photos":
        return data.load("photos", resize=40)
    if request.param == "scenes":
        return data.load("scenes", resize=40)
    if request.param == "single":
        return data.load("single:,n=70", resize=40)
    if request.param == "npz":
        return data.load(arrays, resize=36)
    if request.param == "tfds":
        return data.load("tfds:sslzoo_tiny", data_dir=str(tfds_dir / "array_record"), resize=36)
    if request.param == "rendered":
        jpegs(tmp_path / "rgb", 14)
        return data.load(f"rendered:{tmp_path}", resize=36)
    return data.load(jpegs(tmp_path / "f", 14), resize=36)


def test_an_example_is_pure_and_a_restart_sees_the_same(source):
    size = min(source.size, 70)
    options = {"seed": 3, "crop": 32, "epoch_size": size - 1, "stop": 2 * size}
    examples = source.examples(**options)
    once = list(examples.as_numpy_iterator())
    assert len(once) == 2 * size
    assert same(once[size + 2 :], elements(source, **options, start=size + 2, parallel=1))
    assert len(source) == source.size
    for element in once:
        assert element.keys() == {"image", "index", "seed"}
        assert element["image"].shape == (32, 32, 3)
        assert element["image"].dtype == np.float32
        assert element["image"].min() >= 0
        assert element["image"].max() <= 1
        assert (element["index"].dtype, element["index"].shape) == (np.int64, ())
        assert (element["seed"].dtype, element["seed"].shape) == (np.int32, (2,))
    assert examples.element_spec["image"].shape == (32, 32, 3)
    assert examples.cardinality() == 2 * size


def test_without_shuffle_the_order_is_the_index_and_the_crop_is_the_centre(source):
    got = elements(source, crop=20, shuffle=False, stop=4)
    assert [element["index"] for element in got] == [0, 1, 2, 3]
    for element in got[:2]:  # a scene is slow to read without a graph
        image = whole(source, element["index"])
        top, left = (image.shape[0] - 19) // 2, (image.shape[1] - 19) // 2
        centre = image[top : top + 20, left : left + 20]
        np.testing.assert_allclose(element["image"], centre, atol=0.02)


def test_no_crop_gives_the_whole_image(source):
    for element in elements(source, stop=2):
        np.testing.assert_allclose(element["image"], whole(source, element["index"]), atol=1e-5)


def test_labels_only_where_asked_for(arrays, tfds_dir, tmp_path):
    for i in range(4):
        save(tmp_path / "c" / ("ab"[i % 2] + "_class") / f"{i}.png", picture(9, 9, i))
    records = {"data_dir": str(tfds_dir / "array_record")}
    folders = str(tmp_path / "c")
    built_in = ("photos", {}), ("scenes", {})
    for spec, options in *built_in, (arrays, {}), (folders, {}), ("tfds:sslzoo_tiny", records):
        plain = data.load(spec, **options)
        assert plain.class_names is None
        assert plain.labels is None
        assert "label" not in plain.examples().element_spec
        labelled = data.load(spec, labels=True, **options)
        for element in elements(labelled, stop=3):
            assert element["label"].dtype == np.int64
            assert 0 <= element["label"] < len(labelled.class_names)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 300), seed=st.integers(-(2**63), 2**63 - 1), epoch=st.integers(0, 10**6))
def test_an_epoch_is_a_permutation(size, seed, epoch):
    position = tf.range(epoch * size, (epoch + 1) * size, dtype=tf.int64)
    key = keys(position, seed, size, size, True)
    assert sorted(key["index"].numpy()) == list(range(size))
    assert len(np.unique(key["seed"].numpy(), axis=0)) == size
    assert key["place"].numpy().min() >= 0
    assert key["place"].numpy().max() < 1


def test_epochs_and_seeds_differ_and_neighbours_are_unrelated():
    size = 1000
    runs = [
        keys(tf.range(epoch * size, (epoch + 1) * size, dtype=tf.int64), seed, size, size, True)
        for seed, epoch in [(0, 0), (0, 1), (1, 0), (1, 1)]
    ]
    orders = [key["index"].numpy() for key in runs] + [np.arange(size)]
    for i, order in enumerate(orders):
        for other in orders[:i]:
            assert np.mean(order == other) < 0.02
            assert abs(np.corrcoef(order, other)[0, 1]) < 0.15
    for key in runs:
        seeds = key["seed"].numpy()[np.argsort(key["index"])].astype(np.float64)  # by index
        numbers = np.concatenate([seeds / 2**32 + 0.5, key["place"].numpy()], 1)
        assert np.abs(numbers.mean(0) - 0.5).max() < 0.05
        assert np.abs(numbers.std(0) - 12**-0.5).max() < 0.03
        assert abs(np.corrcoef(seeds[1:, 0], seeds[:-1, 0])[0, 1]) < 0.15
        assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.15


def test_a_table_says_what_to_draw_from(arrays):
    source, table = data.load(arrays), np.array([7] * 12 + [3] * 4, np.int64)
    drawn = elements(source, table=table, seed=5)
    assert sorted(e["index"] for e in drawn) == sorted(table)
    assert len({tuple(e["seed"]) for e in drawn}) == 16  # twice the same image, two puzzles
    np.testing.assert_array_equal(drawn[0]["image"], whole(source, drawn[0]["index"]))
    assert same(drawn[5:], elements(source, table=table, seed=5, start=5))
    assert same(elements(source, seed=5), elements(source, seed=5, table=np.arange(20)))
    twice = [e["index"] for e in elements(source, table=table, seed=5, stop=32, epoch_size=16)]
    assert sorted(twice[16:]) == sorted(table)
    assert twice[16:] != twice[:16]


def test_chunks_do_not_matter(arrays):
    source = data.load(arrays)
    once = elements(source, crop=6)
    source.chunk = 3
    assert same(once, elements(source, crop=6))


def test_the_numbers_are_pinned():
    """A change of these would change every run that is to be resumed or repeated."""
    key = keys(tf.constant([0, 1, 1000], tf.int64), 7, 100, 100, True)
    assert key["index"].numpy().tolist() == [40, 27, 88]
    assert key["seed"].numpy()[0].tolist() == [885241767, 14984789]


# === Files of every kind ===


def kinds():
    colour = picture(48, 64)
    image = Image.fromarray(colour)
    palette = image.quantize(64)
    alpha = image.convert("RGBA")
    alpha.putalpha(77)
    deep = (np.arange(48 * 64).reshape(48, 64) * 21).astype(np.uint16)
    grey = np.asarray(image.convert("L"))
    grey3 = np.repeat(grey[..., None], 3, -1)
    flat = palette.convert("RGB")
    return {
        "progressive.jpg": (image, {"progressive": True, "quality": 95}, colour),
        "cmyk.jpg": (image.convert("CMYK"), {"quality": 95}, colour),
        "grey.jpg": (image.convert("L"), {"quality": 95}, grey3),
        "UPPER.JPEG": (image, {"format": "JPEG", "quality": 95}, colour),
        "plain.png": (image, {}, colour),
        "alpha.png": (alpha, {}, colour),
        "grey_alpha.png": (image.convert("LA"), {}, grey3),
        "palette.png": (palette, {}, flat),
        "palette_alpha.png": (palette, {"transparency": 0}, flat),
        "deep.png": (Image.fromarray(deep), {}, np.repeat(deep[..., None] >> 8, 3, -1)),
        "plain.bmp": (image, {}, colour),
        "grey.bmp": (image.convert("L"), {}, grey3),
        "alpha.bmp": (alpha, {}, colour),
        "palette.bmp": (palette, {}, flat),
        "plain.gif": (palette, {}, flat),
        "moving.gif": (
            palette,
            {"save_all": True, "append_images": [Image.fromarray(255 - colour).quantize(8)] * 2},
            flat,
        ),
        "wrongly_named.png": (image, {"format": "JPEG", "quality": 95}, colour),
    }


def test_every_kind_of_file_becomes_rgb(tmp_path):
    files = kinds()
    for name, (image, options, _) in files.items():
        image.save(tmp_path / name, **options)
    wholes, crops, smalls = ({}, {}, {})
    for split in ("train", "test"):
        source, resized = (data.load(str(tmp_path), split, resize=r) for r in (0, 24))
        options = {"shuffle": False}
        for i, (crop, small) in enumerate(
            zip(
                elements(source, crop=30, **options),
                elements(resized, crop=16, **options),
                strict=True,
            )
        ):
            name = source.name(i)
            wholes[name], crops[name], smalls[name] = (
                whole(source, i),
                crop["image"],
                small["image"],
            )
        assert source.undecodable.bad == resized.undecodable.bad == set()
    assert wholes.keys() == files.keys()
    for name, (_, _, expected) in files.items():
        expected = np.asarray(expected) / 255
        limit = 0.02 if "jp" in name.lower() or "wrong" in name else 1e-6
        assert np.abs(wholes[name] - expected).mean() < limit, name
        assert np.abs(crops[name] - expected[9:39, 17:47]).mean() < limit, name
        reference = tf.image.resize(expected, [24, 32], antialias=True)[4:20, 8:24]
        assert np.abs(smalls[name] - reference).mean() < 0.02, name


@pytest.mark.parametrize("shape", [(97, 131), (300, 203), (512, 520), (900, 1100)])
@pytest.mark.parametrize("crop", [0, 33, 64])
def test_fused_decode_is_decode_then_resize_then_crop(tmp_path, shape, crop):
    path = save(tmp_path / "a.jpg", picture(*shape), quality=95)
    data_ = tf.io.read_file(str(path))
    full = tf.io.decode_jpeg(data_, channels=3, dct_method="INTEGER_FAST")
    for place in ([0.0, 0.999], [0.5, 0.5], [0.31, 0.0]):
        place = tf.constant(place)
        for resize in (0, 64, 100, 128):
            fused = decode.decode(data_, place, resize, crop)
            stepwise = decode.fit(full, place, resize, crop)
            assert fused.shape == stepwise.shape
            # At 1/1 size the two are the same but for chroma at the window's edge.
            shrunk = resize and min(shape) >= 2 * resize
            assert np.abs(fused - stepwise).mean() < (0.02 if shrunk else 0.002)
            if resize and not crop:
                size = [round(n * resize / min(shape)) for n in shape]
                reference = tf.image.resize(full, size, antialias=True) / 255
                np.testing.assert_allclose(stepwise, reference, atol=1e-5)


# === Cameras held on their side ===


def turned(path, orientation, endian, **options):
    """The file that a camera makes of a picture: its pixels turned, and a tag that says how."""
    upright = Image.fromarray(picture(40, 56))
    back = [
        *(None, None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180),
        *(Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE),
        *(Image.Transpose.ROTATE_90, Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_270),
    ][orientation]
    stored = upright.transpose(back) if back is not None else upright
    exif = Image.Exif()
    exif.endian = endian
    exif.update({0x010F: "a maker of cameras", 0x0112: orientation, 0x0132: "today"})
    stored.save(path, "JPEG", quality=95, subsampling=0, exif=exif, **options)
    with Image.open(path) as file:
        expected = np.asarray(ImageOps.exif_transpose(file)) / 255
    assert np.abs(expected - np.asarray(upright) / 255).mean() < 0.02
    return expected


def test_the_orientation_of_a_jpeg_is_honoured(tmp_path):
    expected = {}
    (tmp_path / "train").mkdir()
    for endian, header in (("<", b"II*\0"), (">", b"MM\0*")):
        for tag in range(1, 9):
            path = tmp_path / f"train/{header[:2].decode()}{tag}.jpg"
            options = {"icc_profile": b"profile" * 9}
            expected[path.name] = turned(path, tag, endian, **options)
            assert header in path.read_bytes()
    save(tmp_path / "val/a.jpg", picture(40, 56))
    for resize in (0, 32):  # of all files at once: an `examples` takes a second to trace
        source = data.load(str(tmp_path), resize=resize)
        size = [round(n * (resize or 40) / 40) for n in (40, 56)]
        top, left = (size[0] - 19) // 2, (size[1] - 19) // 2
        middles = elements(source, crop=20, shuffle=False)
        assert len(middles) == source.size == len(expected)
        for i, middle in enumerate(middles):
            name = pathlib.PurePath(source.name(i)).name
            wanted = tf.image.resize(expected[name], size, antialias=True)
            assert np.abs(whole(source, i) - wanted).mean() < 0.02, name
            cut = wanted[top : top + 20, left : left + 20]
            assert np.abs(middle["image"] - cut).mean() < 0.02, name
        assert not source.undecodable.bad


def test_a_strange_orientation_is_none():
    tag = struct.pack("<HHII", 0x0112, 3, 1, 6)

    def read(tiff):
        file = b"\xff\xd8\xff\xe1\0\x40Exif\0\0" + tiff
        return int(orientation.read(tf.constant(file)))

    header = b"II*\0\x08\0\0\0"
    assert read(header + b"\1\0" + tag) == 6
    assert read(header + b"\2\0" + b"\0" * 12 + tag) == 6
    for tiff in (
        *(b"", b"II", header, header + b"\0\0" + tag, header + b"\xff\xff"),
        *(b"II*\0\xff\xff\xff\xff" + tag, header + b"\1\0" + tag[:8] + b"\x09\0\0\0"),
        *(header + b"\1\0" + tag[:8] + b"\0\0\0\0", b"MM\0*\0\0\0\x08\0\1" + tag),
    ):
        assert read(tiff) == 1
    assert int(orientation.read(tf.constant(b"\xff\xd8\xff"))) == 1


def test_images_are_opened_in_chunks_of_bounded_memory(tmp_path):
    source = data.load(jpegs(tmp_path / "f", 3))
    assert [source.chunk_of(crop) for crop in (0, 32, 225, 4096)] == [1, 64, 20, 1]


# === Bad files ===


def spoil(path, how):
    good = path.read_bytes()
    path.write_bytes({"empty": b"", "text": b"not an image", "cut": good[: len(good) // 2]}[how])


@pytest.mark.parametrize(("how", "crop", "at"), [("empty", 0, 0), ("text", 24, 4), ("cut", 24, 9)])
def test_a_bad_file_is_replaced_by_the_next(tmp_path, caplog, how, crop, at):
    root = jpegs(tmp_path / "f", 11)
    names = folder.list_images(root)
    train = folder.held_out(names, "train")
    spoil(tmp_path / "f" / train[at], how)
    source = data.load(root, resize=32)
    got = elements(source, crop=crop, shuffle=False, stop=20)
    expected = [(i + 1 if i == at else i) % 10 for i in range(10)] * 2
    assert [element["index"] for element in got] == expected
    assert caplog.text.count(train[at]) == 1
    follower = data.load(root, resize=32).examples(crop=crop, shuffle=False, start=(at + 1) % 10)
    follower = next(follower.as_numpy_iterator())
    np.testing.assert_array_equal(got[at]["image"], follower["image"])
    assert source.failure is None


def test_bad_neighbours_among_shuffled_epochs(tmp_path):
    root = jpegs(tmp_path / "f", 223, (16, 16))
    train = folder.held_out(folder.list_images(root), "train")  # 201 files: two may be bad
    for at in (50, 51):
        spoil(tmp_path / "f" / train[at], "text")
    source = data.load(root)
    got = elements(source, crop=12, seed=5, stop=402)
    for epoch in (got[:201], got[201:]):
        indices = sorted(element["index"] for element in epoch)
        assert indices == sorted([*range(50), 52, 52, *range(52, 201)])
    assert same(got[100:], elements(data.load(root), crop=12, seed=5, stop=402, start=100))


def test_too_many_bad_files_stop_the_run(tmp_path):
    root = jpegs(tmp_path / "f", 11)
    train = folder.held_out(folder.list_images(root), "train")
    spoil(tmp_path / "f" / train[2], "text")
    spoil(tmp_path / "f" / train[7], "empty")
    source = data.load(root)
    line = r"2 of 10 images cannot be decoded \(more than 1 %\): "
    with pytest.raises(tf.errors.OpError, match=line):
        elements(source)
    assert isinstance(source.failure, UserError)
    assert train[2] in str(source.failure)
    assert train[7] in str(source.failure)


def test_a_bad_file_is_opened_again_by_no_later_epoch(tmp_path, monkeypatch):
    root = jpegs(tmp_path / "f", 11)
    train = folder.held_out(folder.list_images(root), "train")
    spoil(tmp_path / "f" / train[4], "text")
    source, looked_for = data.load(root), []
    source.chunk = 1

    def fetch(index):
        if tf.executing_eagerly():
            looked_for.append(int(index[0]))
        return inner(index)

    inner = source.fetch
    monkeypatch.setattr(source, "fetch", fetch)
    elements(source, crop=16, shuffle=False, stop=30)
    assert looked_for == [4, 5, 5, 5]


@pytest.mark.parametrize(("error", "passes"), [(KeyError, False), (UserError, True)])
def test_what_a_reader_in_python_raises_is_a_bad_image_unless_the_user_is_to_blame(
    tmp_path, monkeypatch, error, passes
):
    source, shown = data.load(jpegs(tmp_path / "f", 11)), data.load(str(tmp_path / "f"))

    def opened(raw, place, crop):
        if not tf.executing_eagerly():
            raw = tf.numpy_function(read, [raw, place], tf.string, stateful=False)
            return inner(tf.ensure_shape(raw, []), place, crop)
        return inner(read(raw.numpy(), place), place, crop)

    def read(raw, place):
        if raw == bad:
            raise error("pip install it")
        return raw

    inner, bad = source.opened, shown.fetch(tf.constant([3], tf.int64))[0].numpy()
    monkeypatch.setattr(source, "opened", opened)
    if passes:
        with pytest.raises(tf.errors.OpError, match="pip install it"):
            elements(source, crop=16, shuffle=False)
    else:
        indices = [e["index"] for e in elements(source, crop=16, shuffle=False)]
        assert indices == [0, 1, 2, 4, 4, 5, 6, 7, 8, 9]


def test_nothing_decodable(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no")
    source = data.load(str(tmp_path))
    with pytest.raises(tf.errors.OpError, match="1 of 1 images cannot be decoded"):
        elements(source)
    assert source.failure is not None


def test_labels_are_those_of_the_replacement(tmp_path):
    for i in range(11):
        save(tmp_path / f"class{i:02d}" / "x.png", picture(9, 9, i))
    source = data.load(str(tmp_path), labels=True)
    spoil(tmp_path / source.name(3), "text")
    third = elements(source, shuffle=False)[3]
    assert source.class_names[third["label"]] in source.name(4)


# === Folders ===


def test_folder_order_other_files_and_hidden_ones(tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    for name in ("b/2.PNG", "a/deep/er/1.bmp", "z.Gif", ".hidden/no.png", ".no.png"):
        save(tmp_path / name, picture(8, 8))
    for name in ("readme.txt", "notes.TXT", "LICENSE"):
        (tmp_path / name).write_text("x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)  # a loop
    assert folder.list_images(tmp_path) == ["a/deep/er/1.bmp", "b/2.PNG", "z.Gif"]
    assert "3 files are no images and left out: 2 .txt, 1 no extension" in caplog.text
    assert "hidden" not in caplog.text


def test_only_regular_files_are_images(tmp_path, caplog):
    caplog.set_level("INFO", logger="absl")
    save(tmp_path / "a.png", picture(8, 8))
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait for ever
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "folder.png").mkdir()
    assert folder.list_images(tmp_path) == ["a.png", "link.png"]
    assert "2 files are no images and left out: 2 no regular files" in caplog.text


@given(st.sets(st.text("abc/é", min_size=1, max_size=9), min_size=2, max_size=60))
def test_the_held_out_tenth(names):
    paths = sorted(names)
    train, test = (folder.held_out(paths, split) for split in ("train", "test"))
    assert sorted(train + test) == paths
    assert len(test) == max(len(paths) // 10, 1)
    assert folder.held_out(paths[::-1], "test") == test


def test_parts_of_a_folder(tmp_path):
    for part, classes in ("train", "xyz"), ("val", "yz"), ("test", "z"):
        for name in classes:
            save(tmp_path / part / name / "1.png", picture(8, 8))
    train, test = (data.load(str(tmp_path), s, labels=True) for s in ("train", "test"))
    assert train.class_names == test.class_names == ["x", "y", "z"]
    assert [e["label"] for e in elements(train, shuffle=False)] == [0, 1, 2]
    assert [e["label"] for e in elements(test, shuffle=False)] == [1, 2]


def test_train_may_be_a_class(tmp_path):
    for name in ("bus", "train"):
        for i in range(6):
            save(tmp_path / name / f"{i}.png", picture(8, 8))
    source = data.load(str(tmp_path), labels=True)
    assert source.class_names == ["bus", "train"]
    assert source.size + data.load(str(tmp_path), "test").size == 12


def test_a_folder_that_has_only_train_holds_out_a_tenth_of_it(tmp_path):
    for name in "ab":
        jpegs(tmp_path / "train" / name, 10, (8, 8))
    for spec in (tmp_path, tmp_path / "train"):
        train, test = (data.load(str(spec), s, labels=True) for s in ("train", "test"))
        assert (train.size, test.size) == (18, 2)
        assert train.class_names == test.class_names == ["a", "b"]
        names = [source.name(i) for source in (train, test) for i in range(source.size)]
        assert len({*names}) == 20


@pytest.mark.parametrize("parts", [["train"], ["train", "val"]])
def test_parts_without_classes(tmp_path, parts):
    for part in parts:
        jpegs(tmp_path / part, 10, (8, 8))
    assert data.load(str(tmp_path)).size == (10 if "val" in parts else 9)
    for split in ("train", "test"):
        with pytest.raises(UserError, match=r"labels need one sub-folder per class\. Received: 0"):
            data.load(str(tmp_path), split, labels=True)


def test_a_part_given_for_the_whole_is_told(tmp_path, caplog, monkeypatch):
    for part in ("train", "val"):
        jpegs(tmp_path / part, 10, (8, 8))
    line = f"holding out a tenth of {tmp_path}/train for the probe; the parent folder has val/: "
    data.load(str(tmp_path))
    data.load(str(tmp_path / "val"))
    assert "holding out" not in caplog.text
    for split in ("train", "test"):
        data.load(str(tmp_path / "train"), split)
    assert caplog.text.count(f"{line}use --dataset={tmp_path}\n") == 1
    monkeypatch.chdir(tmp_path / "train")
    data.load(".")
    assert caplog.text.count(line) == 2


def test_labels_are_those_of_tfds_image_folder(tmp_path):
    import tensorflow_datasets as tfds

    for part in ("train", "test"):
        for name in ("dog", "Cat", "élan"):
            save(tmp_path / part / name / "1.jpg", picture(8, 8))
    theirs = tfds.ImageFolder(str(tmp_path)).info
    ours = data.load(str(tmp_path), labels=True)
    assert ours.class_names == theirs.features["label"].names
    assert ours.size == theirs.splits["train"].num_examples


# === The built-in photographs ===


def test_photos_are_equally_present_and_their_splits_share_no_pixel():
    splits = {split: data.load("photos", split, labels=True) for split in ("train", "test")}
    seen = {}
    for split, source in splits.items():
        assert source.size == {"train": 3000, "test": 600}[split]
        boxes = source.fetch(tf.range(source.size, dtype=tf.int64)).numpy()
        photo, top, left, side = boxes.T
        assert len(set(np.bincount(photo))) == 1
        np.testing.assert_array_equal(photo, source.labels)
        assert len(np.unique(boxes, axis=0)) > 0.99 * source.size
        mask = seen[split] = np.zeros(source._stack.shape[:3], bool)
        for p, y, x, s in zip(photo, top, left, side, strict=True):
            assert s >= source.smallest()[0]
            mask[p, y : y + s, x : x + s] = True
        inside = source._stack.numpy().any(-1)  # the padding of the stack is black
        assert inside[mask].mean() > 0.95
    assert not (seen["train"] & seen["test"]).any()
    assert "astronaut" in splits["train"].class_names


def test_regions_are_disjoint_and_fill_the_photograph():
    from sslzoo.data.photos import region

    for shape in ((7, 9), (9, 7), (8, 8), (301, 300)):
        count = np.zeros(shape, int)
        for split in ("train", "test"):
            top, left, height, width = region(shape, split)
            count[top : top + height, left : left + width] += 1
        assert (count == 1).all()


def test_photos_without_scikit_image(tmp_path):
    with pytest.raises(UserError, match=r"expects the photographs.* Received: none of them in"):
        Photos("train", 0, False, folder=tmp_path)
    save(tmp_path / "coffee.png", picture(90, 80))
    assert Photos("train", 0, True, folder=tmp_path).class_names == ["coffee"]


def test_photos_do_not_import_heavy_packages():
    code = (
        "import sys; from sslzoo import data; data.load('photos'); "
        "sys.exit(', '.join({'skimage', 'tensorflow_datasets'} & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# === Arrays ===


def test_npz(arrays):
    source = data.load(arrays, labels=True)
    with np.load(arrays) as file:
        for element in elements(source):
            i = element["index"]
            np.testing.assert_allclose(element["image"], file["x_train"][i] / 255, atol=1e-6)
            assert element["label"] == file["y_train"][i]
        grey = whole(data.load(arrays, "test"), 2)
        np.testing.assert_allclose(
            grey, file["x_test"][2][..., None].repeat(3, -1) / 255, atol=1e-6
        )
    assert source.class_names == ["ant", "bee", "cat"]


def test_npz_crops_are_windows_of_the_image(arrays):
    for element in elements(data.load(arrays), crop=6):
        image = whole(data.load(arrays), element["index"])
        windows = np.lib.stride_tricks.sliding_window_view(image, (6, 6, 3))[:, :, 0]
        assert (windows == element["image"]).all((-1, -2, -3)).any()


X = np.zeros((4, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("content", "labels", "message"),
    [
        ({"x_test": X}, False, "without x_train"),
        ({"x_train": X.astype(np.float32)}, False, r"uint8. Received: \(4, 8, 8, 3\) float32"),
        ({"x_train": X[..., :2]}, False, r"Received: \(4, 8, 8, 2\)"),
        ({"x_train": X[:0]}, False, r"at least one image. Received: \(0, 8, 8, 3\)"),
        ({"x_train": np.array([X, None], object)}, False, "pickle"),
        ({"x_train": X}, True, "Received: only x_train"),
        ({"x_train": X, "y_train": np.arange(3)}, True, r"labels as there are images, 4.*\(3,\)"),
        ({"x_train": X, "y_train": np.zeros(4)}, True, "integers.*float64"),
        ({"x_train": X, "y_train": np.arange(4) - 1}, True, "least value -1"),
        (
            {"x_train": X, "y_train": np.arange(4), "y_test": np.array([10**9])},
            True,
            r"a.npz: expected y_test of labels below 100,000. Received: 1000000000",
        ),
        (
            {"x_train": X, "y_train": np.arange(4), "class_names": np.array(["a"])},
            True,
            "Received: 1 class_names",
        ),
    ],
)
def test_npz_errors(tmp_path, content, labels, message):
    spec = npz(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=message):
        data.load(spec, labels=labels)


@pytest.mark.parametrize("save_npz", [np.savez, np.savez_compressed])
def test_npz_damaged(tmp_path, save_npz):
    path = tmp_path / "a.npz"
    save_npz(path, x_train=np.random.default_rng(0).integers(0, 256, (9, 9, 9, 3), np.uint8))
    content = path.read_bytes()
    # 0xff begins no deflate block; far enough in to be pixels, not the header.
    spoiled = content[:60] + b"\xff" * 800 + content[860:]
    for damaged in (b"", b"text", content[:-300], spoiled):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.npz: expected a NumPy .npz archive"):
            data.load(str(path))


def test_a_text_file_is_no_npz(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("x_train = 1")
    with pytest.raises(UserError, match=r"a\.npz: expected a NumPy .npz.* a file of another kind"):
        data.load(str(path))


# === Records ===


def test_tfds_records(tfds_dir):
    options = {"data_dir": str(tfds_dir / "array_record"), "labels": True}
    source = data.load("tfds:sslzoo_tiny", **options)
    assert (source.size, source.class_names) == (70, ["even", "odd"])
    assert data.load("tfds:sslzoo_tiny", "test", **options).size == 4  # its validation split
    values = set()
    for element in elements(source):
        value = round(element["image"].max() * 255) // 3
        assert element["label"] == value % 2
        values.add(value)
    assert values == set(range(70))


def test_of_tfds_parts_val_comes_first_as_of_folders():
    """ImageNet's test part has the label -1 throughout."""
    parts = {
        name: types.SimpleNamespace(num_examples=3) for name in ("train", "test", "validation")
    }
    info = types.SimpleNamespace(splits=parts)
    assert tfds._split("tfds:x", "test", info) == "validation"
    parts["validation"].num_examples = 0
    assert tfds._split("tfds:x", "test", info) == "test"


def test_tfds_bad_record_is_replaced(tfds_dir):
    source = data.load("tfds:sslzoo_tiny", data_dir=str(tfds_dir / "array_record"))

    class Broken:
        def __getitems__(self, index):
            if 7 in index:
                raise OSError("bad sector")
            return good.__getitems__(index)

    good, source._data = source._data, Broken()
    got = elements(source, crop=16, shuffle=False)
    assert [e["index"] for e in got] == [*range(7), 8, *range(8, 70)]


def test_tfds_errors(tfds_dir, tmp_path):
    cases = {
        (
            str(tfds_dir / "tfrecord"),
            "sslzoo_tiny",
        ): "tfds convert_format --dataset_dir=.*tfrecord f",
        (str(tmp_path), "sslzoo_tiny"): "file_format='array_record'.*download_and_prepare.*nothing",
        (str(tmp_path), "no_such_set"): "Received: no_such_set, unknown",
    }
    for (where, name), message in cases.items():
        with pytest.raises(UserError, match=message):
            data.load(f"tfds:{name}", data_dir=where)


# === Errors before training ===


def test_wrong_specs(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    kinds = "expected photos, scenes, single:FILE, rendered:FOLDER, a folder of images, a name.npz"
    cases = {
        ("imagenet", "train"): f"{kinds}.*'imagenet', not there",
        ("", "train"): kinds,
        (str(tmp_path / "a.txt"), "train"): "another kind of file",
        (str(tmp_path), "train"): "expected images for the train split.*Received: none in",
        (str(tmp_path / "no.npz"), "train"): "not there",
        ("rendered:", "train"): r"expected rendered:FOLDER\. Received: 'rendered:', no folder",
        ("photos", "validation"): "split: expected train or test. Received: validation",
    }
    for (spec, split), message in cases.items():
        with pytest.raises(UserError, match=message):
            data.load(spec, split)


def test_flat_folder_has_no_labels(tmp_path):
    with pytest.raises(UserError, match=r"one sub-folder per class. Received: 000.jpg"):
        data.load(jpegs(tmp_path, 1), labels=True)


def test_images_too_small_for_the_crop(tmp_path, arrays):
    jpegs(tmp_path / "f", 30)
    save(tmp_path / "f" / "small.png", picture(33, 70))
    source = data.load(str(tmp_path / "f"))
    with pytest.raises(UserError, match=r"36 x 36 pixels.*Received: .*small.png of 33 x 70"):
        source.examples(crop=36)
    source.examples(crop=33)
    with pytest.raises(UserError, match="images of 8 x 10"):
        data.load(arrays).examples(crop=9)
    with pytest.raises(UserError, match="a crop of 96 x 96 from coins"):
        data.load("photos").examples(crop=97)
    with pytest.raises(UserError, match=r"--resize must be at least .* 9 .*Received: --resize=8"):
        data.load(arrays, resize=8).examples(crop=9)
    with pytest.raises(UserError, match=r"expected a side in pixels, or 0. Received: -1"):
        data.load(arrays, resize=-1)
    with pytest.raises(UserError, match=r"between 1 and 20 examples.*Received: 0"):
        data.load(arrays).examples(epoch_size=0)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real images at {SHARED}")
def test_real_photographs():
    source = data.load(str(SHARED / "photos" / "images"), resize=96)
    images = np.stack([e["image"] for e in elements(source, crop=96, stop=40)])
    assert 0.2 < images.mean() < 0.7
    assert images.std() > 0.15
    assert source.undecodable.bad == set()


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_images_are_read_ahead_where_operations_are_deterministic(kind, tmp_path):
    """In a process of its own. tf.data gives that up where it sees a state, such as Python's."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    path = tmp_path / ("images.npz" if kind == "npz" else "images")
    if kind == "npz":
        np.savez(path, x_train=noise, x_test=noise)
    else:
        path.mkdir()
        for i, image in enumerate(noise):
            Image.fromarray(image).save(path / f"{i}.png")
    script = f"""
import time
import tensorflow as tf
from sslzoo import data
from sslzoo.training import devices
devices.deterministic()
source = data.load({str(path)!r})
source.chunk = 1
opened, fetch = [], source.fetch
def counted(index):
    index = tf.numpy_function(lambda i: opened.append(i) or i, [index], tf.int64, stateful=False)
    return fetch(tf.ensure_shape(index, [1]))
source.fetch = counted
iterator = iter(source.examples(crop=8, parallel=1).prefetch(16))
next(iterator)
for _ in range(100):
    time.sleep(0.1)
    if len(opened) > 9:
        break
print(len(opened))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout, done.stderr
    assert int(done.stdout) > 9


def test_images_of_an_npz_are_held_once(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (40_000, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "i.npz", x_train=x, y_train=np.arange(40_000) % 9, x_test=x[:9])
    tool = pathlib.Path(__file__).parents[1] / "tools/bench_input_memory.py"
    command = [sys.executable, tool, f"--measure=npz,{tmp_path / 'i.npz'}", "--batches=20"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    _, before, lasting, *_ = map(float, printed.split())
    assert lasting - before < 1.6 * x.nbytes
