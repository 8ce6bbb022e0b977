"""A hostile file costs one request or one image: refused by its header, before it takes memory."""

import io
import struct
import zipfile
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_encoder
from PIL import Image, ImageOps

from sslzoo import data, export
from sslzoo.data import arrays, decode
from sslzoo.errors import UserError
from sslzoo.export import request_images
from sslzoo.images import headers

TOO_LARGE = "at most 67108864 pixels"


def picture(kind, size=(40, 30), **options):
    """A file of (width, height) pixels."""
    Image.new("RGB", size, (200, 100, 50)).save(buffer := io.BytesIO(), kind, **options)
    return buffer.getvalue()


def png(width, height):
    """A whole and valid PNG of zeros, a thousandth of its image in size, up to 20 megapixels."""

    def chunk(kind, body):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min((1 + 3 * width) * height, 60_000_000)))
    ends = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(ends)


def jpeg(width, height):
    """A small JPEG whose header says another size."""
    file = bytearray(picture("JPEG"))
    start = file.index(b"\xff\xc0") + 5
    file[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(file)


def bmp(width, height):
    file = bytearray(picture("BMP"))
    file[18:26] = struct.pack("<ii", width, height)
    return bytes(file)


def gif(width, height):
    return picture("GIF")[:6] + struct.pack("<HH", width, height) + picture("GIF")[10:]


def many_scans(count, **options):
    """A small progressive JPEG whose last scan is there `count` times more."""
    file = picture("JPEG", progressive=True, **options)
    last = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + count * last + b"\xff\xd9"


BAD = {  # what it is: (file, what the error says)
    "empty": (b"", None),
    "words": (b"words", None),
    "only a magic": (b"\x89PNG\r\n\x1a\n", None),
    "cut png": (png(40, 30)[:-30], None),
    "cut jpeg": (picture("JPEG")[:-300], None),
    "wrong magic": (b"\xff\xd8\xff" + png(40, 30)[3:], None),
    "jpeg without its end": (picture("JPEG")[:-2], None),
    "png without its end": (png(40, 30)[:-12], None),
    "too many scans": (many_scans(23), r"at most 32 scans\. Received:.*33"),
    "many scans": (many_scans(100_000), "at most 32 scans"),
    "png header": (png(50_000, 50_000), TOO_LARGE),
    "png bomb": (png(13_000, 13_000), TOO_LARGE),
    "jpeg header": (jpeg(50_000, 50_000), TOO_LARGE),
}
# The cropping JPEG decoder of the sources fills with grey what is missing, and a run is no server.
LENIENT = {"cut jpeg", "jpeg without its end", "too many scans", "many scans"}
BAD_DATA = {what: case for what, case in BAD.items() if what not in LENIENT} | {
    "gif": (gif(50_000, 50_000), TOO_LARGE),
    "bmp": (bmp(50_000, 50_000), TOO_LARGE),
    "bmp from the top": (bmp(50_000, -50_000), TOO_LARGE),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo")
    return tf.saved_model.load(export.save(tiny_encoder(), path, image_size=16))


@pytest.fixture(scope="module")
def read():
    """What a data source does with the bytes of a file."""
    middle = tf.constant([0.5, 0.5])
    spec = [tf.TensorSpec((), tf.string)]
    return tf.function(lambda file: decode.decode(file, middle, 16, 16), input_signature=spec)


@pytest.mark.parametrize("what", BAD)
def test_a_request_fails_and_the_next_is_answered(served, what):
    file, message = BAD[what]
    good = picture("PNG")
    before = served.embed_bytes(tf.constant([good]))["embedding"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        served.embed_bytes(tf.constant([good, file, good]))
    np.testing.assert_array_equal(served.embed_bytes(tf.constant([good]))["embedding"], before)


def test_scans_that_are_none(served):
    """Thumbnails, profiles and videos in a file may hold the bytes that begin a scan."""
    exif = Image.Exif()
    exif[0x010E] = "\xff\xda" * 50
    chance = b"\xff\xda" * 900
    for file in (
        many_scans(22),
        picture("JPEG", exif=exif, comment=chance),
        picture("JPEG", exif=b"Exif\0\0" + picture("JPEG")),  # with an end mark of its own
        picture("JPEG") + chance,
        png(30, 40) + b"trailing",
    ):
        assert served.embed_bytes(tf.constant([file]))["embedding"].shape == (1, 8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 32 scans"):
        served.embed_bytes(tf.constant([picture("JPEG") + 2 * chance]))


def test_a_request_has_so_many_files_of_so_many_bytes(served):
    good = picture("PNG")
    files = tf.fill([request_images.MAX_FILES + 1], good)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 256 files\. Received"):
        served.embed_bytes(files)
    assert request_images.checked(files[1:]).shape == files[1:].shape
    long = good + bytes(request_images.MAX_BYTES + 1 - len(good))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"of at most .* bytes.*Received"):
        served.embed_bytes(tf.constant([good, long]))
    request_images.checked(tf.constant([long[:-1]]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_request_is_turned_as_its_camera_was(orientation):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8).repeat(16, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(image.repeat(16, 1)).save(file, "JPEG", quality=95, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(file))).astype(int)
    got = request_images.decode(tf.constant(file.getvalue())).numpy()
    assert got.shape == expected.shape
    assert np.abs(got - expected).mean() < 1


def test_a_file_cut_anywhere_is_refused(served):
    """A JPEG has no checksum: changed bytes cannot be told, a lost end can."""
    rng = np.random.default_rng(0)
    pixels = tf.image.resize(rng.integers(0, 256, (5, 5, 3)), (60, 60)).numpy().astype(np.uint8)
    for kind, options in ("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}):
        Image.fromarray(pixels).save(good := io.BytesIO(), kind, **options)
        for cut in rng.integers(1, len(good.getvalue()), 10):
            with pytest.raises(tf.errors.InvalidArgumentError):
                served.embed_bytes(tf.constant([good.getvalue()[:cut]]))


@pytest.mark.parametrize("mode", ["1", "P"])
def test_packed_bmp_pixels_are_refused(read, mode):
    """TensorFlow's decoder would take indices of 1 or 4 bits, or runs of them, for colours."""
    image = Image.new("RGB", (40, 30), (200, 100, 50)).convert(mode)
    image.save(file := io.BytesIO(), "BMP")
    file = bytearray(file.getvalue())
    if mode == "P":
        assert read(tf.constant(bytes(file))).shape == (16, 16, 3)
        file[30] = 1  # run lengths
    with pytest.raises(tf.errors.InvalidArgumentError, match="must have 8, 24 or 32 bits a pixel"):
        read(tf.constant(bytes(file)))


@pytest.mark.parametrize("what", BAD_DATA)
def test_a_source_can_drop_the_image(read, what):
    file, message = BAD_DATA[what]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        read(tf.constant(file))
    assert read(tf.constant(picture("PNG"))).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP"])
def test_headers_tell_height_and_width(kind):
    shape = getattr(headers, kind.lower())(tf.constant(picture(kind, (300, 7))))
    assert shape.numpy().tolist() == [7, 300]


def test_the_limit_is_a_number_of_pixels():
    file = tf.constant(picture("PNG", (10, 10)))
    assert request_images.decode(file, limit=100).shape == (10, 10, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 99 .*\[10 10\]"):
        request_images.decode(file, limit=99)
    headers.check(tf.constant([8192, 8192]))
    for shape in ([8192, 8193], [2**31 - 1, 2**31 - 1], [0, 5], [-3, -3]):
        with pytest.raises(tf.errors.InvalidArgumentError):
            headers.check(tf.constant(shape))


def test_a_thin_image_is_not_blown_up():
    """1 x 3,000,000 pixels with the shorter side at 16 would be 16 x 48,000,000."""
    with pytest.raises(tf.errors.InvalidArgumentError, match=TOO_LARGE):
        decode.decode(tf.constant(png(3_000_000, 1)), tf.constant([0.5, 0.5]), 16, 0)


def test_a_generator_takes_smaller_images(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.ReLU()(inputs))
    served = tf.saved_model.load(export.save_image_model(model, tmp_path))
    assert served.generate_bytes(tf.constant([picture("PNG")]))["png_bytes"].shape == (1,)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 2097152 pixels"):
        served.generate_bytes(tf.constant([png(1500, 1500)]))


def test_an_npz_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "many.npz"
    np.savez_compressed(path, x_train=np.zeros((100, 32, 32, 3), np.uint8))
    assert data.load(str(path)).size == 100
    monkeypatch.setattr(arrays, "memory", lambda: 100_000)
    with pytest.raises(UserError, match=r"many.npz: expected arrays of at most 100,000 bytes"):
        data.load(str(path))


def test_an_npz_whose_header_lies_is_refused(tmp_path):
    path = tmp_path / "lies.npz"
    array = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**3, 10**3, 3)}
    np.lib.format.write_array_header_1_0(array, shape)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x_train.npy", array.getvalue())
    with pytest.raises(UserError, match=r"lies.npz: expected a NumPy .npz archive"):
        data.load(str(path))
