"""Sources of images with maps beside them, and sources side by side."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import elements, same

from sslzoo import data
from sslzoo.data import decode
from sslzoo.errors import UserError

SIZE = 230


class Toy(data.Source):
    """Image i is a ramp that starts at i, its depth the ramp itself, its normals the negative."""

    def __init__(self, size=SIZE):
        super().__init__("toy", "train", 0)
        self.maps = {"image": 3, "depth": 1, "normal": 3}
        self.size = size

    def fetch(self, index):
        return index

    def _maps(self, index, place, crop):
        corner = decode.offset(tf.constant([6, 6]), crop or 6, place)
        ramp = tf.reshape(tf.range(36, dtype=tf.float32), [6, 6, 1])
        ramp = tf.slice(ramp, tf.concat([corner, [0]], 0), [crop or 6, crop or 6, 1])
        ramp += 100 * tf.cast(index, tf.float32)
        rgb = tf.repeat(ramp, 3, axis=-1)
        return {"image": rgb, "depth": ramp, "normal": -rgb}

    def open(self, raw, place, crop):
        return self._maps(raw, place, crop)


class Chunks(Toy):
    def open_chunk(self, raw, place, crop):
        spec = {
            name: tf.TensorSpec([crop or 6, crop or 6, n], tf.float32)
            for name, n in self.maps.items()
        }
        return tf.map_fn(lambda x: self._maps(*x, crop), (raw, place), fn_output_signature=spec)


class Files(Toy):
    """Its `bad` images cannot be opened."""

    can_fail = True
    bad = ()

    def fetch(self, index):
        return tf.strings.as_string(index)

    def open(self, raw, place, crop):
        index = tf.strings.to_number(raw, tf.int64)
        bad = tf.reduce_any(index == tf.constant(self.bad, tf.int64))
        check = tf.debugging.Assert(~bad, ["bad"])
        with tf.control_dependencies([check]):
            return self._maps(tf.identity(index), place, crop)


def files(*bad):
    source = Files()
    source.bad = bad
    return source


@pytest.mark.parametrize("crop", [0, 4])
@pytest.mark.parametrize("make", [Toy, Chunks, files, lambda: files(7, 8)])
def test_maps_of_an_image_stay_together(make, crop):
    source = make()
    options = {"seed": 1, "crop": crop, "stop": 2 * SIZE}
    got = elements(source, **options)
    for element in got:
        image = element["image"]
        assert element.keys() == {"image", "depth", "normal", "index", "seed"}
        assert image.shape == (crop or 6, crop or 6, 3)
        assert image.min() // 100 == element["index"]
        np.testing.assert_array_equal(element["depth"], image[..., :1])
        np.testing.assert_array_equal(element["normal"], -image)
    bad = {*getattr(source, "bad", ())}
    assert {element["index"] for element in got} == {*range(SIZE)} - bad
    assert source.undecodable.bad == bad
    spec = source.examples(**options).element_spec
    for name, channels in source.maps.items():
        assert spec[name].shape[-1] == channels
        assert not crop or spec[name].shape == (crop, crop, channels)
    if not bad:
        assert same(got, elements(Toy(), **options))
    assert same(got[300:], elements(make(), start=300, **options))
    assert source.read(3)["depth"].shape == (6, 6, 1)


def test_maps_that_a_source_did_not_say():
    source = Toy()
    source.maps = {"image": 3, "depth": 1}
    with pytest.raises(UserError, match=r"toy: expected its `maps`, image, depth.*depth, normal"):
        source.examples()


# === Two sources side by side ===


@pytest.fixture
def pair(tmp_path):
    """20 labelled images of 8 x 10 and 7 of 12 x 9, each of one colour: its number."""

    def load(name, size, shape, **kwargs):
        x = np.broadcast_to(np.arange(size, dtype=np.uint8)[:, None, None, None], (size, *shape, 3))
        np.savez(tmp_path / name, x_train=x, y_train=np.arange(size) % 2)
        return data.load(str(tmp_path / name), **kwargs)

    first = load("first.npz", 20, (8, 10), labels=True)
    return first, load("second.npz", 7, (12, 9))


def numbers(got, key):
    return [round(float(element[key].mean() * 255)) for element in got]


def test_a_pair_is_the_first_source_with_a_second_image(pair):
    both = data.Paired(*pair, name="real")
    assert (both.size, both.class_names, both.spec) == (20, ["0", "1"], pair[0].spec)
    assert len(both) == 20
    assert (both.name(3), both.failure) == ("x_train[3]", None)
    np.testing.assert_array_equal(both.read(3), pair[0].read(3))
    options = {"seed": 2, "crop": 6, "epoch_size": 16, "stop": 64}
    got = elements(both, **options)
    alone = elements(pair[0], **options)
    assert same([{k: e[k] for k in e if k != "real"} for e in got], alone)
    assert all(e["real"].shape == (6, 6, 3) for e in got)
    real = numbers(got, "real")
    for epoch in range(9):  # its own epochs, of 7
        assert sorted(real[7 * epoch : 7 * epoch + 7]) == [*range(7)]
    assert real[:7] != real[7:14]
    assert both.examples(**options).cardinality() == 64
    assert both.examples().cardinality() == 20


@pytest.mark.parametrize("swap", [False, True])
def test_a_resumed_pair_sees_the_same(pair, swap):
    both = data.Paired(*pair[:: -1 if swap else 1])
    options = {"seed": 2, "crop": 6, "epoch_size": both.size - 1, "stop": 50}
    got = elements(both, **options)
    assert same(got, elements(both, **options, parallel=1))
    for start in (1, 7, 17, 19, 33, 50):
        assert same(got[start:], elements(both, **options, start=start))
    other = elements(both, **{**options, "seed": 3})
    assert numbers(got, "second") != numbers(other, "second")


def test_the_two_orders_are_unrelated(pair):
    both = elements(data.Paired(pair[0], pair[0]), stop=200)
    assert np.mean(np.equal(numbers(both, "image"), numbers(both, "second"))) < 0.15


def test_a_table_and_no_shuffle(pair):
    both = data.Paired(*pair)
    got = elements(both, shuffle=False)
    assert numbers(got, "image") == [*range(20)]
    assert numbers(got, "second") == [i % 7 for i in range(20)]
    got = elements(both, table=np.array([5] * 9, np.int64))
    assert numbers(got, "image") == [5] * 9
    assert {*numbers(got, "second")} == {*range(7)}


def test_maps_and_bad_files_of_either(pair):
    for one, two in ((files(3, 4), pair[1]), (pair[1], files(3, 4))):
        both = data.Paired(one, two, name="other")
        assert both.maps == {**one.maps, "other": 3}
        got = elements(both, crop=4, stop=20)
        assert all(e.keys() == {*one.maps, "other", "index", "seed"} for e in got)
        assert same(got[10:], elements(both, crop=4, stop=20, start=10))
        assert both.failure is None
    for one, two in ((files(3, 4, 5), pair[1]), (pair[1], files(3, 4, 5))):
        both = data.Paired(one, two)
        with pytest.raises(tf.errors.OpError, match="3 of 230 images cannot be decoded"):
            elements(both, stop=SIZE)
        assert isinstance(both.failure, UserError)


def test_a_second_image_needs_a_key_and_the_size_of_its_own(pair):
    for name in ("image", "index", "label"):
        with pytest.raises(UserError, match=f"name: expected a key .*Received: '{name}'"):
            data.Paired(*pair, name=name)
    both = data.Paired(data.load(pair[0].spec, resize=12), pair[1])
    with pytest.raises(UserError, match=r"second.npz: .*Received: images of 12 x 9"):
        both.examples(crop=11)
