"""A few puzzles with their solutions and the network's answers, on one sheet."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sslzoo.pictures import drawing


def draw(pretext: keras.Model, x: Any, y: Any) -> np.ndarray:
    """A batch of puzzles drawn with the network's answers: (H, W, 3) uint8."""
    answers = pretext(x, training=False)  # under two replicas, `predict_on_batch` answers twice
    parts = [tf.nest.map_structure(np.asarray, part) for part in (x, y, answers)]
    pictures = [
        pretext.picture(*(tf.nest.map_structure(lambda a, i=i: a[i], part) for part in parts))
        for i in range(len(tf.nest.flatten(answers)[0]))
    ]
    return drawing.mosaic(pictures, columns=2, gap=16)
