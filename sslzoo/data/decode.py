"""Bytes of an image file -> the wanted square of it, with no pixel touched that is not needed."""

import tensorflow as tf

from sslzoo.images import headers, orientation

OPTIONS = {"channels": 3, "dct_method": "INTEGER_FAST"}
JPEG_RATIOS = (1, 2, 4, 8)  # shrinkings that libjpeg does inside the inverse DCT, nearly for free


def to_float(image):
    """uint8 [0, 255] -> float32 [0, 1], of any shape."""
    return tf.cast(image, tf.float32) * (1 / 255)


def resized_shape(shape, resize):
    """Height and width (2,) int32 after a resize that makes the shorter side `resize`."""
    scale = resize / tf.reduce_min(shape)  # float64
    return tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32)


def offset(shape, crop, place):
    """Top left corner (2,) int32 of a `crop` x `crop` window at `place`.

    Args:
        shape: (2,) int32, height and width; or (n, 2).
        crop: side of the window.
        place: (2,) or (n, 2) float32 in [0, 1): 0 is the first possible offset, 0.5 the middle.
    """
    return tf.cast(tf.cast(shape - crop + 1, tf.float32) * place, tf.int32)


def resample(images, scale, translation, size):
    """Antialiased bilinear: output = input * scale + translation, as `tf.image.resize` does it.

    One op resizes and crops, so only the pixels of the window are computed.

    Args:
        images: (n, h, w, channels) uint8.
        scale, translation: (2,) float32.
        size: (2,) int32, height and width of the output.

    Returns:
        (n, *size, channels) float32 in [0, 1].
    """
    out = tf.raw_ops.ScaleAndTranslate(
        images=images, size=size, scale=scale, translation=translation, kernel_type="triangle"
    )
    return tf.clip_by_value(out * (1 / 255), 0.0, 1.0)  # weights may sum to 1 + 1e-7


def fit(image, place, resize, crop):
    """A decoded image (h, w, channels) uint8 -> resized, then cropped; float32 in [0, 1]."""
    shape = tf.shape(image)[:2]
    if not resize:
        if crop:
            corner = offset(shape, crop, place)
            image = tf.slice(image, tf.concat([corner, [0]], 0), [crop, crop, -1])
        return to_float(image)
    size = resized_shape(shape, resize)
    scale = tf.cast(size / shape, tf.float32)
    if not crop:
        return resample(image[None], scale, tf.zeros([2]), size)[0]
    corner = tf.cast(offset(size, crop, place), tf.float32)
    return resample(image[None], scale, -corner, [crop, crop])[0]


def decode(data, place, resize, crop):
    """The bytes of a JPEG, PNG, GIF or BMP file, told apart by their content -> RGB, upright.

    Args:
        data: () string.
        place: (2,) float32 in [0, 1), where the crop lies.
        resize: wanted length of the shorter side, 0 to leave it.
        crop: side of the square window cut after the resize, 0 for the whole image.

    Returns:
        (H, W, 3) float32 in [0, 1]. More than `headers.MAX_PIXELS` raise `InvalidArgumentError`.
    """
    image = tf.cond(
        tf.io.is_jpeg(data),
        lambda: _upright_jpeg(data, place, resize, crop),
        lambda: _not_jpeg(data, place, resize, crop),
    )
    image.set_shape([crop or None, crop or None, 3])
    return image


def stored_shape(data):
    """Height and width (2,) int32 by the header of such a file; a JPEG that is turned raises."""

    def jpeg():
        message = "A JPEG must be upright as it is stored. Received the orientation:"
        way_up = orientation.read(data)
        upright = tf.raw_ops.Assert(condition=way_up == 1, data=[message, way_up])
        with tf.control_dependencies([upright]):
            return headers.jpeg(data)

    return tf.cond(tf.io.is_jpeg(data), jpeg, lambda: _shape_of_other(data))


def _upright_jpeg(data, place, resize, crop):
    """What a camera held on its side is decoded whole, then turned: few files are."""
    way_up = orientation.read(data)

    def turned():
        with tf.control_dependencies([_bounded(headers.jpeg(data), resize, crop)]):
            image = tf.io.decode_jpeg(data, **OPTIONS)
        return fit(orientation.upright(image, way_up), place, resize, crop)

    return tf.cond(way_up == 1, lambda: _jpeg(data, place, resize, crop), turned)


def _jpeg(data, place, resize, crop):
    """Decodes the blocks under the window only, and at 1/2, 1/4, 1/8 size if that is enough."""
    shape = _bounded(headers.jpeg(data), resize, crop)
    if not resize:
        if not crop:
            with tf.control_dependencies([shape]):
                return to_float(tf.io.decode_jpeg(data, **OPTIONS))
        window = tf.concat([offset(shape, crop, place), [crop, crop]], 0)
        return to_float(tf.io.decode_and_crop_jpeg(data, window, **OPTIONS))

    size = resized_shape(shape, resize)
    target = tf.constant([crop, crop]) if crop else size
    corner = tf.cast(offset(size, crop, place) if crop else [0, 0], tf.float32)
    enough = [tf.cast(tf.reduce_min(shape) >= ratio * resize, tf.int32) for ratio in JPEG_RATIOS]
    choice = tf.maximum(tf.add_n(enough) - 1, 0)  # -1: the image is to be enlarged

    def shrunk(ratio):
        source = -(-shape // ratio)
        scale = tf.cast(size / source, tf.float32)
        # The window, and around it what the antialiasing filter sees of its surroundings.
        reach = tf.maximum(1.0, 1 / scale) + 1
        low = tf.cast(tf.maximum(corner / scale - reach, 0.0), tf.int32)
        end = (corner + tf.cast(target, tf.float32)) / scale + reach
        high = tf.minimum(tf.cast(tf.math.ceil(end), tf.int32), source)
        window = tf.concat([low, high - low], 0)
        part = tf.io.decode_and_crop_jpeg(data, window, ratio=ratio, **OPTIONS)
        translation = tf.cast(low, tf.float32) * scale - corner
        return resample(part[None], scale, translation, target)[0]

    return tf.switch_case(choice, [lambda r=ratio: shrunk(r) for ratio in JPEG_RATIOS])


def _not_jpeg(data, place, resize, crop):
    """The same for PNG, GIF (its first frame) and BMP."""
    start = tf.strings.substr(data, 0, 2)
    shape = _bounded(_shape_of_other(data), resize, crop)
    with tf.control_dependencies([shape]):
        data = tf.identity(data)
    image = tf.cond(
        start == b"BM",
        lambda: _bmp(data),
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )
    return fit(image, place, resize, crop)


def _shape_of_other(data):
    start = tf.strings.substr(data, 0, 2)
    readers = [
        (start == b"BM", lambda: headers.bmp(data)),
        (start == b"GI", lambda: headers.gif(data)),
    ]
    return tf.case(readers, lambda: headers.png(data))


def _bounded(shape, resize, crop):
    """`shape` (2,), if neither the image nor what becomes of it is too large."""
    checks = [headers.check(shape)]
    if resize and not crop:
        checks.append(headers.check(resized_shape(shape, resize)))
    with tf.control_dependencies(checks):
        return tf.identity(shape)


def _bmp(data):
    """`decode_bmp` hands out the bytes as they are: palette indices, alpha."""
    with tf.control_dependencies([headers.check_bmp(data)]):
        image = tf.io.decode_bmp(data)

    def palette():
        header = tf.io.decode_raw(tf.strings.substr(data, 14, 4), tf.int32)[0]
        colours = tf.io.decode_raw(tf.strings.substr(data, 14 + header, 1024), tf.uint8)
        colours = tf.reshape(colours[: tf.size(colours) // 4 * 4], [-1, 4])  # (256, 4), BGR0
        return tf.gather(colours[:, 2::-1], tf.cast(image[:, :, 0], tf.int32))

    return tf.cond(tf.shape(image)[2] == 1, palette, lambda: image[:, :, :3])
