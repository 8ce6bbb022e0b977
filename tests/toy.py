"""A ten-line pretext, as a newcomer would write it: is the image upside down?"""

import keras
import tensorflow as tf

from sslzoo.pretext import Pretext


@keras.saving.register_keras_serializable("toy")
class UpsideDown(Pretext):
    """Two classes: as it is, or flipped."""

    crop = 16
    chance_loss = 0.6931

    def __init__(self, encoder, **kwargs):
        x = keras.Input((16, 16, 3))
        y = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(encoder(x)))
        super().__init__(encoder, x, y, **kwargs)

    def transform(self, example):
        y = tf.random.stateless_uniform((), example["seed"], 0, 2, tf.int32)
        return tf.where(y == 1, example["image"][::-1], example["image"]), y

    def picture(self, x, y, y_pred=None):
        return tf.image.convert_image_dtype(x, tf.uint8).numpy()
