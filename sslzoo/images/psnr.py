"""How alike two images are."""

import tensorflow as tf


def psnr_and_ssim(a, b, border):
    """PSNR in dB and SSIM of two images (H, W, 3) in [0, 1], without their border.

    Of Y as the papers take it: ITU-R BT.601 with foot- and headroom, 16 to 235 of 255.
    """
    from skimage.color import rgb2ycbcr  # at the top it would slow every start

    planes = [rgb2ycbcr(x)[border:-border, border:-border, :1] for x in (a, b)]
    return tf.image.psnr(*planes, 255.0), tf.image.ssim(*planes, 255.0)
