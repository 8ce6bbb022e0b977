"""What the card of an export says that its encoder was trained on."""

from functools import partial

import pytest
from conftest import tiny_encoder

from sslzoo.pretexts.bigan import BiGAN
from sslzoo.pretexts.inpainting import Inpainting
from sslzoo.pretexts.jigsaw import Jigsaw
from sslzoo.pretexts.pirl import Pirl
from sslzoo.pretexts.reconstruction import Reconstruction
from sslzoo.pretexts.rotation import Rotation
from sslzoo.pretexts.superres import Superres
from sslzoo.pretexts.synthetic import Synthetic

GAN = {"discriminator_width": 4, "batch_norm": False}
jigsaw = partial(Jigsaw, crop=48, tile=12, num_permutations=4, fc6=2, fc7=2)
pirl = partial(Pirl, num_images=4, seed=0, crop=24, view=16, puzzle=24, grid=2, tile=10, dims=4)
inpainting = partial(Inpainting, crop=16, bottleneck=0, overlap=0, width=8, **GAN)
synthetic = partial(Synthetic, crop=16, width=4, pool=0, **GAN)


@pytest.mark.parametrize(
    ("make", "options", "sentence"),
    [
        (jigsaw, {}, "tiles of 12 of 48 pixels, normalised, 30% of the puzzles grey"),
        (
            jigsaw,
            {"normalize": False, "grey": 0.0, "project": 0.5},
            "tiles of 12 of 48 pixels, in colour, 50% without green and magenta",
        ),
        (
            jigsaw,
            {"grey": 0.25, "project": 0.5},
            "tiles of 12 of 48 pixels, normalised, 25% of the puzzles grey, 50% of the others "
            "without green and magenta",
        ),
        (
            pirl,
            {},
            "random parts of images and patches of 10 of 24 pixels, their colours changed",
        ),
        (pirl, {"task": "rotation"}, "random parts of images, turned too, their colours changed"),
        (inpainting, {}, "images in colour with a hole in the middle"),
        (inpainting, {"mask": "blocks"}, "images in colour with holes"),
        (partial(Superres, crop=16), {}, "images in colour, shrunk from 16 to 4 pixels"),
        (
            partial(Reconstruction, crop=16, **GAN),
            {"center": 0.5},
            "the middle 8 of 16 pixels of images in colour, enlarged",
        ),
        (synthetic, {}, "whole rendered and real images in colour"),
        (
            synthetic,
            {"grey": True, "adversarial": 0.0},
            "whole rendered images, one channel three times",
        ),
        (partial(Rotation, crop=16), {}, "whole images in colour, turned"),
        (
            partial(Rotation, crop=16),
            {"num_rotations": 8},
            "the middle of images in colour, turned",
        ),
        (partial(BiGAN, crop=16, codes=2, width=4), {}, "whole images in colour"),
    ],
)
def test_what_the_encoder_was_trained_on_depends_on_the_options(make, options, sentence):
    assert make(tiny_encoder(), **options).sees == sentence
