"""How often each of the 313 colours occurs in your images: the file that `--prior` wants.

python tools/colour_prior.py --dataset=FOLDER --output=prior.npy
python -m sslzoo.recipes.colorization --dataset=FOLDER --prior=prior.npy
"""

import pathlib
import sys

import numpy as np
from absl import app, flags

from sslzoo import data
from sslzoo.errors import UserError
from sslzoo.images import lab

DATASET = flags.DEFINE_string("dataset", "photos", "photos, a folder, a .npz file, or tfds:NAME")
DATA_DIR = flags.DEFINE_string("data_dir", "", "where TensorFlow Datasets keeps prepared datasets")
RESIZE = flags.DEFINE_integer("resize", 0, "shorter side in pixels, as in training; 0 for as is")
IMAGES = flags.DEFINE_integer("images", 10_000, "at most this many of the training images")
OUTPUT = flags.DEFINE_string("output", "prior.npy", "the file to write")


def main(argv):
    """Writes the file; bad input ends in one line and exit code 2."""
    try:
        if argv[1:]:
            raise UserError(f"expected flags, --name=value. Received: {' '.join(argv[1:])}")
        if IMAGES.value < 1:
            raise UserError(f"--images: expected more than 0. Received: {IMAGES.value}")
        output = pathlib.Path(OUTPUT.value)
        if output.suffix != ".npy" or not output.parent.is_dir():
            raise UserError(f"--output: expected a .npy file in a folder. Received: {output}")
        write(output)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def write(output):
    """Measures the prior and says how uneven it is."""
    source = data.load(DATASET.value, "train", data_dir=DATA_DIR.value, resize=RESIZE.value)
    count = min(IMAGES.value, source.size)
    prior = lab.measure_prior(source.examples(stop=count))
    np.save(output, prior)
    a, b = lab.BINS[prior.argmax()]
    weights = lab.class_weights(prior)
    print(
        f"{output}: {count:,} images; most common a = {a:.0f}, b = {b:.0f} ({prior.max():.1%}); "
        f"weights {weights.min():.2f} to {weights.max():.1f}"
    )


if __name__ == "__main__":
    app.run(main)
