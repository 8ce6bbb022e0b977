"""The one abstraction: a pretext task is a functional Keras model that also makes its puzzles."""

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sslzoo import precision
from sslzoo.errors import UserError
from sslzoo.flags import ranges
from sslzoo.pretext.learner import Learner

NOT_KEPT = ("self", "encoder", "inputs", "outputs", "kwargs")  # of the arguments of `__init__`


@keras.saving.register_keras_serializable("sslzoo")
class Pretext(Learner):
    """A puzzle made from unlabelled images, and the network that solves it.

    A subclass builds its network in `__init__` and hands `inputs` and `outputs` up, so it is a
    functional model from birth: it can be summarised, saved and restored before the first batch.
    Every other argument of the class's own `__init__` is kept: as an attribute of the same name,
    from that moment on, and for `get_config`. Annotations (see `sslzoo.flags.ranges`) are checked
    before `__init__` runs.

    How it learns, from its own `content_loss` or another, is a `Learner`'s.

    Attributes:
        encoder: the part that outlives the puzzle, (B, H, W, 3) float32 in [0, 1] ->
            (B, h, w, C).
        crop: side in pixels of the square image that `transform` starts from, or 0 if it takes
            any size. Sources cut that square while they decode.
        centered: whether it is the middle of the image; else it is a random one.
        chance_loss: the loss of a network that has learned nothing, e.g. ln N; None if there is
            no such number.
        sees: what its encoder was trained on, where that is anything else than whole images in
            colour; for whoever reads the card of an export.
    """

    crop = 0
    centered = False
    chance_loss: float | None = None
    sees = "whole images in colour"

    def __new__(cls, *args: Any, **kwargs: Any) -> "Pretext":
        """Keeps the arguments of `__init__`; Keras calls this without any, for its own ends."""
        pretext = super().__new__(cls, *args, **kwargs)
        bound = inspect.signature(cls.__init__).bind_partial(pretext, *args, **kwargs)
        bound.apply_defaults()
        arguments = {name: value for name, value in bound.arguments.items() if name not in NOT_KEPT}
        ranges.check(cls.__init__, arguments)
        # Past Keras' __setattr__, which is not ready yet.
        pretext.__dict__["_arguments"] = {k: _plain(v) for k, v in arguments.items()}
        return pretext

    def __init__(self, encoder: keras.Model, inputs: Any, outputs: Any, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.encoder = encoder
        for name, value in self._arguments.items():
            setattr(self, name, value)

    # === The puzzle ===

    def transform(self, example: dict[str, tf.Tensor]) -> tuple[Any, ...]:
        """Makes the puzzle out of one image. Pure: all randomness comes from `example["seed"]`.

        Args:
            example: dict of `image` (H, W, 3) float32 in [0, 1], of `crop` x `crop` pixels if
                there is a `crop`; `index` () int64; and `seed` (2,) int32.
                Traced without AutoGraph, whose conversion takes longer than the tracing: for an
                `if` on a tensor use `tf.cond`, or `tf.function` on the method.

        Returns:
            `(x, y)`, or `(x, y, sample_weight)`: one element of what `fit` takes.
        """
        raise NotImplementedError

    def picture(self, x: Any, y: Any, y_pred: Any = None) -> np.ndarray:
        """Draws one puzzle beside its solution and the network's answer: (H, W, 3) uint8."""
        raise NotImplementedError

    def puzzles(self, examples: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """Turns a dataset of examples into batches of puzzles; the last partial one is dropped."""
        shape = examples.element_spec["image"].shape
        if self.crop and not shape[:2].is_compatible_with((self.crop, self.crop)):
            raise UserError(
                f"--crop: expected examples of {self.crop} x {self.crop} pixels, as "
                f"source.examples(crop={self.crop}) gives them. Received: {shape}"
            )
        transform = tf.autograph.experimental.do_not_convert(self.transform)
        return (
            examples.map(transform, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(batch_size, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE)
        )

    def embed(self, pixels: tf.Tensor) -> tf.Tensor:
        """Whole images (B, H, W, 3) in [0, 1] -> (B, C): the encoder's last maps, averaged."""
        maps = precision.in_float32(self.encoder(pixels, training=False))
        return tf.reduce_mean(maps, (1, 2))

    # === Saving ===

    def get_config(self) -> dict[str, Any]:
        """The arguments of `__init__`, and the dtype policy of the layers."""
        encoder = keras.saving.serialize_keras_object(self.encoder)
        own = {"name": self.name, "encoder": encoder, "dtype": self.dtype_policy.name}
        return {**self._arguments, **own}

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "Pretext":
        """Rebuilds the model; the encoder is deserialised first."""
        encoder = keras.saving.deserialize_keras_object(config["encoder"], custom_objects)
        arguments = {**config, "encoder": encoder}
        with precision.policy(arguments.pop("dtype", "float32")):
            return cls(**arguments)


def _plain(value: Any) -> Any:
    """What JSON can hold, for an argument that may be an array."""
    return value.tolist() if hasattr(value, "tolist") else value


def unfold(*arrays: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Batches of R puzzles an image, (B, R, ...), as (B * R, ...): an image's R in a row."""
    return tuple(tf.reshape(array, (-1, *array.shape[2:])) for array in arrays)
