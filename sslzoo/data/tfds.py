"""`tfds:NAME[/CONFIG]`: datasets that tensorflow-datasets has prepared as ArrayRecord files."""

import numpy as np
import tensorflow as tf

from sslzoo.data import decode
from sslzoo.data.source import Source
from sslzoo.errors import UserError

# The first that the dataset has; test comes last, because those of ImageNet and others lack labels.
TEST_SPLITS = ("validation", "val", "test")


class Records(Source):
    """Encoded images by random access; they are decoded in our graph, not by TFDS.

    ArrayRecord has no TensorFlow op, so fetching is Python: one call brings the bytes of a whole
    chunk of images, in parallel with decoding, and nothing per image happens in Python.
    """

    can_fail = True

    def __init__(self, spec, split, data_dir, resize, labels):
        super().__init__(spec, split, resize)
        builder = _builder(spec, data_dir)
        part = _split(spec, split, builder.info)
        self._image, label = _features(spec, builder.info)
        self._data = _data_source(spec, builder, part)
        self._part = part
        self.size = len(self._data)
        if labels:
            if label is None:
                raise UserError(
                    f"{spec}: labels need a ClassLabel feature. "
                    f"Received: {', '.join(builder.info.features)}"
                )
            self.class_names = list(builder.info.features[label].names)
            # Once through the records: labels are wanted for all of them, and before the images.
            chunks = (range(i, min(i + 1024, self.size)) for i in range(0, self.size, 1024))
            rows = (row for chunk in chunks for row in self._data.__getitems__(list(chunk)))
            self.labels = tf.constant([int(row[label]) for row in rows], tf.int64)

    def fetch(self, index):
        """(n,) int64 -> (n,) encoded images."""
        raw = tf.numpy_function(self._bytes, [index], tf.string, stateful=False)
        return tf.ensure_shape(raw, [None])

    def _bytes(self, index):
        """A record that cannot be read comes as no bytes, so it is replaced as undecodable."""
        try:
            rows = self._data.__getitems__(index.tolist())
        except Exception:
            if len(index) == 1:
                return np.array([b""], object)
            return np.concatenate([self._bytes(index[i : i + 1]) for i in range(len(index))])
        return np.array([row[self._image] for row in rows], object)

    def open(self, raw, place, crop):
        """Decodes the bytes `raw`."""
        return decode.decode(raw, place, self.resize, crop)

    def name(self, index):
        """Its record."""
        return f"{self._part} record {index}"


def _builder(spec, data_dir):
    import tensorflow_datasets as tfds  # heavy, and nobody else needs it

    name = spec.removeprefix("tfds:")
    command = (
        f"python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', "
        f"data_dir={data_dir or None!r}, file_format='array_record').download_and_prepare()\""
    )
    expected = f"{spec}: expected it prepared as array_record under --data_dir, by: {command}"
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
        builder_dir = builder.data_path
        prepared = (builder_dir / "dataset_info.json").exists()
    except tfds.core.DatasetNotFoundError:
        where = data_dir or "TFDS's default folder"
        raise UserError(
            f"{spec}: expected a dataset that tensorflow-datasets knows, or one prepared under "
            f"--data_dir. Received: {name}, unknown and not in {where}"
        ) from None
    except (ValueError, OSError, ImportError) as error:
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{expected}. Received: {first}") from None
    if not prepared:
        raise UserError(f"{expected}. Received: nothing in {builder_dir}")
    return builder


def _split(spec, split, info):
    names = ("train",) if split == "train" else TEST_SPLITS
    for name in names:
        if name in info.splits and info.splits[name].num_examples:
            return name
    raise UserError(
        f"{spec}: expected images in a split {' or '.join(names)}. "
        f"Received: {', '.join(info.splits) or 'no splits'}"
    )


def _features(spec, info):
    """Names of the image and of the label (or None)."""
    import tensorflow_datasets as tfds

    features = info.features
    images = [n for n, f in features.items() if type(f) is tfds.features.Image]
    if not images:
        raise UserError(f"{spec}: expected an Image feature. Received: {', '.join(features)}")
    labels = [n for n, f in features.items() if isinstance(f, tfds.features.ClassLabel)]
    image = "image" if "image" in images else images[0]
    return image, "label" if "label" in labels else next(iter(labels), None)


def _data_source(spec, builder, part):
    import tensorflow_datasets as tfds

    stored = builder.info.splits[part].filename_template.filetype_suffix
    if stored != "array_record":
        raise UserError(
            f"{spec}: random access needs array_record files; to convert: tfds convert_format "
            f"--dataset_dir={builder.data_path} --out_file_format=array_record "
            f"--out_dir=<another folder>. Received: {stored} files in {builder.data_path}"
        )
    skip = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
    }
    return builder.as_data_source(part, decoders=skip)
