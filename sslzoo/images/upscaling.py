"""Small images of large ones and back: bicubic, and how alike what comes of it is."""

import numpy as np
import tensorflow as tf


def shrink(image, scale):
    """(H, W, 3) in [0, 1] -> (H / scale, W / scale, 3): bicubic, with a prefilter."""
    size = [side // scale for side in image.shape[:2]]
    return tf.clip_by_value(tf.image.resize(image, size, "bicubic", antialias=True), 0.0, 1.0)


def enlarge(image, scale):
    """(H, W, 3) in [0, 1] -> (scale H, scale W, 3): bicubic, what a network has to beat."""
    size = [side * scale for side in image.shape[:2]]
    return tf.clip_by_value(tf.image.resize(image, size, "bicubic"), 0.0, 1.0)


def score(upscaler, photos, scale):
    """How alike are whole images and what became of them when shrunk and enlarged again?

    Args:
        upscaler: (1, h, w, 3) -> (1, scale h, scale w, 3), in [0, 1].
        photos: iterable of (H, W, 3) in [0, 1]; what is over a multiple of `scale` is cut off.

    Returns:
        dict of `psnr`, `ssim`, and `bicubic_psnr`, `bicubic_ssim`: means over the images.
    """
    rows = []
    for picture in photos:
        height, width = (side // scale * scale for side in picture.shape[:2])
        picture = tf.constant(picture[:height, :width])
        small = shrink(picture, scale)
        ours = tf.clip_by_value(upscaler(small[None])[0], 0.0, 1.0)
        answers = (ours, enlarge(small, scale))
        rows.append(np.ravel([psnr_and_ssim(answer, picture, scale) for answer in answers]))
    names = ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim")
    return dict(zip(names, np.mean(rows, 0).tolist(), strict=True))


def psnr_and_ssim(a, b, border):
    """PSNR in dB and SSIM of two images (H, W, 3) in [0, 1], without their border.

    Of Y as the papers take it: ITU-R BT.601 with foot- and headroom, 16 to 235 of 255.
    """
    from skimage.color import rgb2ycbcr  # at the top it would slow every start

    planes = [rgb2ycbcr(x)[border:-border, border:-border, :1] for x in (a, b)]
    return tf.image.psnr(*planes, 255.0), tf.image.ssim(*planes, 255.0)
