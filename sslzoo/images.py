"""Pure operations on one image. All randomness comes from a `seed` (2,) int32."""

import keras
import numpy as np
import tensorflow as tf

# Puzzles may be standardised to mean 0 and deviation 1. Encoders take [0, 1], where photographs
# have about this mean and deviation; the tails leave [0, 1], which no encoder minds.
PIXEL_MEAN, PIXEL_STD = 0.45, 0.225
GREY_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, what "greyscale" means in PIL and OpenCV


def split_seed(seed, n):
    """`n` unrelated seeds out of one: a list of (2,) int32 tensors."""
    return tf.unstack(tf.random.split(seed, n), num=n)


def random_crop(image, size, seed):
    """A random `size` x `size` window of (H, W, C); the image itself where it has that size."""
    if image.shape[:2] == (size, size):
        return image
    return tf.image.stateless_random_crop(image, (size, size, image.shape[-1]), seed)


def random_resized_crop(image, size, min_area, seed):
    """A window of `min_area` to 1 of (H, W, 3), aspect 3/4 to 4/3, as (size, size, 3), bilinear."""
    *_, box = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        [[[0.0, 0.0, 1.0, 1.0]]],
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(min_area, 1.0),
    )
    return tf.image.crop_and_resize(image[None], box[0], [0], (size, size))[0]


def jitter_color(image, strength, hue, seed):
    """Brightness, contrast and saturation times 1 +- `strength`, hue turned by up to `hue` circles.

    As torchvision's ColorJitter (blends with black, with the mean grey, with the greys), but
    always in this order, and clipped to [0, 1] once, at the end. (H, W, 3), or (n, H, W, 3) with
    factors for each.
    """
    each = tuple(image.shape[:-3])
    factors = tf.random.stateless_uniform((4, *each, 1, 1, 1), seed, -1.0, 1.0)
    brightness, contrast, saturation = tf.unstack(1 + strength * factors[:3])
    image *= brightness
    mean = tf.reduce_mean(grey(image), [-3, -2, -1], keepdims=True)
    image = mean + (image - mean) * contrast
    image = grey(image) + (image - grey(image)) * saturation
    image = tf.clip_by_value(image, 0.0, 1.0)
    if not hue:
        return image
    turns = tf.reshape(hue * factors[3], each)
    if not each:
        return tf.image.adjust_hue(image, turns)
    return tf.stack([tf.image.adjust_hue(image[i], turns[i]) for i in range(each[0])])


def grey(image):
    """(..., 3) -> (..., 3): three copies of the luma. Grey tasks feed grey RGB."""
    return tf.repeat(tf.reduce_sum(image * GREY_WEIGHTS, -1, keepdims=True), 3, axis=-1)


def random_grey(image, probability, seed):
    """`grey(image)` with the given probability, else the image."""
    return tf.cond(
        tf.random.stateless_uniform((), seed) < probability, lambda: grey(image), lambda: image
    )


def standardize(image):
    """Each channel of (H, W, C) to mean 0 and deviation 1; a constant channel to zeros."""
    mean, variance = tf.nn.moments(image, axes=[0, 1], keepdims=True)
    std = tf.sqrt(variance)
    flat = std < 1e-3  # a quarter of a grey level: what is left is rounding
    return tf.where(flat, 0.0, (image - mean) / tf.where(flat, 1.0, std))


def scale_to_rms(image, rms):
    """Channels of mean 0, together of root mean square `rms`; a constant image to zeros."""
    image = image - tf.reduce_mean(image, [0, 1])
    now = tf.sqrt(tf.reduce_mean(tf.square(image)))
    flat = now < 1e-4  # rounding: a tenth of the noise of `drop_colors`
    return tf.where(flat, 0.0, image * (rms / tf.where(flat, 1.0, now)))


def drop_colors(image, seed):
    """One random channel of (H, W, 3), less its mean; noise of half a grey level in the others."""
    channel_seed, noise_seed = split_seed(seed, 2)
    kept = tf.one_hot(tf.random.stateless_uniform((), channel_seed, 0, 3, tf.int32), 3)
    noise = tf.random.stateless_uniform(image.shape, noise_seed, -0.5, 0.5) / 255
    return tf.where(kept > 0, image - tf.reduce_mean(image, [0, 1]), noise)


def without_green_magenta(image):
    """(H, W, 3) projected along (-1, 2, -1), the axis on which lenses fringe."""
    axis = np.array([[-1.0, 2.0, -1.0]], np.float32)
    return tf.tensordot(image, np.eye(3, dtype=np.float32) - axis.T @ axis / np.sum(axis**2), 1)


def random_degrade(image, probability, seed):
    """Sampled down and up again with the given probability, bilinear, without a prefilter.

    A square of 96 x 96 pixels is left with 100 to 95^2, each number as likely as the others
    (arXiv:1505.05192); other sizes in proportion.
    """
    chance_seed, size_seed = split_seed(seed, 2)
    side = image.shape[0]
    low, high = max(1, round(side * 10 / 96)) ** 2, (side - 1) ** 2
    pixels = tf.random.stateless_uniform((), size_seed) * (high - low) + low
    small = tf.cast(tf.sqrt(pixels), tf.int32)
    return tf.cond(
        tf.random.stateless_uniform((), chance_seed) < probability,
        lambda: tf.image.resize(tf.image.resize(image, [small, small]), [side, side]),
        lambda: image,
    )


def shift_channels(image, size, offsets):
    """Cuts a square window whose place differs from channel to channel.

    Args:
        image: (H, W, 3).
        size: side of the window in pixels.
        offsets: (3, 2) int32, the window's top left corner in each channel.

    Returns:
        (size, size, 3).
    """
    planes = [tf.slice(image, [offsets[c, 0], offsets[c, 1], c], [size, size, 1]) for c in range(3)]
    return tf.concat(planes, axis=-1)


# === Masks ===


def random_blocks(side, seed):
    """Up to eight squares, of an eighth to a quarter of the side: (side, side) bool.

    They are added one by one while their union covers at most a quarter (arXiv:1604.07379).
    """
    size_seed, place_seed = split_seed(seed, 2)
    smallest, largest = max(side // 8, 1), max(side // 4, 2)
    sizes = tf.random.stateless_uniform((8, 1), size_seed, smallest, largest + 1, tf.int32)
    place = tf.random.stateless_uniform((8, 2), place_seed)
    start = tf.cast(place * tf.cast(side - sizes + 1, tf.float32), tf.int32)  # (8, 2)
    line = tf.range(side)
    inside = (line >= start[..., None]) & (line < (start + sizes)[..., None])  # (8, 2, side)
    blocks = tf.cast(inside[:, 0, :, None] & inside[:, 1, None, :], tf.int32)
    unions = tf.cumsum(blocks) > 0  # (8, side, side): of the first one, two, ...
    areas = tf.reduce_sum(tf.cast(unions, tf.int32), [1, 2])
    return unions[tf.reduce_sum(tf.cast(areas <= side * side // 4, tf.int32)) - 1]


def random_region(side, seed):
    """Blobs of any shape that cover 20 % to 30 % of the image: (side, side) bool.

    Noise of eight cells along the side (about the grain of arXiv:1604.07379's code at 128
    pixels), smoothly enlarged, where it is lowest.
    """
    noise_seed, place_seed, share_seed = split_seed(seed, 3)
    noise = tf.random.stateless_uniform((9, 9, 1), noise_seed)  # one more, for the window to move
    smooth = tf.image.resize(noise, (round(side * 9 / 8),) * 2, "bicubic")
    window = tf.image.stateless_random_crop(smooth, (side, side, 1), place_seed)[..., 0]
    least, most = side * side // 5 + 1, -(-3 * side * side // 10)  # `most` is never drawn
    pixels = tf.random.stateless_uniform((), share_seed, least, most, tf.int32)
    return window < tf.sort(tf.reshape(window, [-1]))[pixels]


# === Pictures: numpy, for people ===


def to_uint8(image):
    """[0, 1] float -> uint8, clipping what lies outside."""
    return np.uint8(np.clip(np.asarray(image) * 255 + 0.5, 0, 255))


def mosaic(tiles, columns, gap=2, background=255):
    """Lays (n, h, w, 3) uint8 pictures of one size on a grid: (H, W, 3) uint8."""
    tiles = [np.asarray(tile) for tile in tiles]
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, background, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def shades(vector, side):
    """The numbers of (n,) as a square of greys of about `side` pixels, 0 in the middle: uint8."""
    columns = int(np.ceil(np.sqrt(len(vector))))
    square = np.zeros(columns * columns, np.float32)
    square[: len(vector)] = vector
    square = 0.5 + square / (2 * max(float(np.abs(vector).max()), 1e-6))
    return enlarge(to_uint8(np.repeat(square.reshape(columns, columns, 1), 3, -1)), side)


def enlarge(pictures, side):
    """Repeats the pixels of (..., h, w, 3) until h is about `side`, for small puzzles."""
    factor = max(1, round(side / pictures.shape[-3]))
    return np.repeat(np.repeat(pictures, factor, axis=-3), factor, axis=-2)


def album(read, indices, columns, crop):
    """Images by index, a row for each `columns` of them: (H, W, 3) uint8.

    `read` gives the image of an index, (H, W, 3) in [0, 1], of which the middle `crop` is shown.
    """
    pictures = [tf.image.resize_with_crop_or_pad(read(i), crop, crop) for i in indices]
    return mosaic([enlarge(to_uint8(picture), 64) for picture in pictures], columns)


def similarity(a, b, border):
    """PSNR in dB and SSIM of two images (H, W, 3) in [0, 1], without their border.

    Of Y as the papers take it: ITU-R BT.601 with foot- and headroom, 16 to 235 of 255.
    """
    from skimage.color import rgb2ycbcr  # at the top it would slow every start

    planes = [rgb2ycbcr(x)[border:-border, border:-border, :1] for x in (a, b)]
    return tf.image.psnr(*planes, 255.0), tf.image.ssim(*planes, 255.0)


def save_png(path, picture):
    """Writes (H, W, 3) uint8 as a PNG file."""
    keras.utils.save_img(path, picture, data_format="channels_last", scale=False)
