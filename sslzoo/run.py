"""What every recipe shares: data, budget, devices, folder, and the probe and export at the end."""

import contextlib
import dataclasses
import functools
import pathlib
import time
from typing import Literal

import keras
import tensorflow as tf
from absl import logging

from sslzoo import data, devices, encoders, export, probes, runtimes, training
from sslzoo.errors import UserError, writable_folder

MAY_DIFFER = ("backup_minutes", "formats", "probe_images")  # flags that a resumed run may change


@dataclasses.dataclass
class Run:
    """One run of a recipe.

    Args:
        dataset: the images: photos (built in), a folder, a .npz file, or tfds:NAME.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        resize: shorter side of the images after resizing, in pixels; 0 leaves them as they are.
        encoder: name of the encoder: small, mini, alexnet, nin, resnet18, ..., or any of
            keras.applications.
        epochs: passes over the images.
        batch_size: images per step, over all devices.
        learning_rate: the highest learning rate.
        schedule: how the learning rate goes on: constant, cosine to 0, or step.
        warmup_epochs: epochs of linear rise at the start.
        decay_epochs: where schedule=step multiplies the rate by decay_factor, e.g. 30,60,90.
        decay_factor: of each drop.
        weight_decay: the papers' L2 coefficient, for kernels only.
        seed: of the weights, the order of the images and every puzzle.
        workdir: folder of the run; the same command resumes in it.
        xla: compile each replica's step with XLA; auto means on GPUs.
        devices: cpu:N makes N logical CPU devices, gpu:N takes the first N GPUs; empty takes
            all GPUs, or else the CPU.
        backup_minutes: at most this much work is lost by a kill.
        probe_images: labelled training images for the linear probe, at most; 0 skips it.
        formats: of the encoder beside the SavedModel: onnx, litert, or both.
    """

    dataset: str = "photos"
    data_dir: str = ""
    resize: int = 0
    encoder: str = "small"
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 0.01
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    warmup_epochs: float = 0.0
    decay_epochs: tuple[float, ...] = ()
    decay_factor: float = 0.1
    weight_decay: float = 0.0
    seed: int = 0
    workdir: str = "runs/run"
    xla: Literal["auto", "on", "off"] = "auto"
    devices: str = ""
    backup_minutes: float = 5.0
    probe_images: int = 5000
    formats: tuple[str, ...] = ()

    def start(self, recipe, flags):
        """Checks the flags, prepares devices and folder. Called by `cli.recipe` before `main`.

        Raises:
            UserError: a flag is out of range, or the folder belongs to a run with other flags.
        """
        for name in ("epochs", "batch_size", "learning_rate", "backup_minutes"):
            if not getattr(self, name) > 0:
                raise UserError(f"--{name}: expected more than 0. Received: {getattr(self, name)}")
        for name in ("seed", "probe_images", "resize"):
            if getattr(self, name) < 0:
                raise UserError(f"--{name}: expected 0 or more. Received: {getattr(self, name)}")
        runtimes.check(self.formats)
        self.recipe, self.flags, self.started = recipe, flags, time.time()
        _claim(pathlib.Path(self.workdir), flags)
        _ = self.strategy, self.train_source
        keras.utils.set_random_seed(self.seed)
        # On CPUs it costs nothing measurable. XLA refuses it for some ops, and needs it for none.
        if not tf.config.list_physical_devices("GPU") and self.xla != "on":
            tf.config.experimental.enable_op_determinism()

    # === Data ===

    @functools.cached_property
    def train_source(self):
        """The unlabelled training images."""
        source = data.load(self.dataset, "train", data_dir=self.data_dir, resize=self.resize)
        if source.size < self.batch_size:
            raise UserError(
                f"--batch_size: expected at most the {source.size} training images of "
                f"{self.dataset}. Received: {self.batch_size}"
            )
        return source

    @functools.cached_property
    def steps_per_epoch(self):
        """Whole batches in an epoch; the images left over differ from epoch to epoch."""
        return self.train_source.size // self.batch_size

    # === Model ===

    @functools.cached_property
    def strategy(self):
        """`MirroredStrategy` over `--devices`, one device included."""
        return devices.mirrored(self.devices)

    @contextlib.contextmanager
    def scope(self):
        """Where the model is made: under the strategy."""
        replicas = self.strategy.num_replicas_in_sync
        if self.batch_size % replicas:
            raise UserError(
                f"--batch_size: expected a multiple of the {replicas} devices. "
                f"Received: {self.batch_size}"
            )
        with self.strategy.scope():
            yield

    def new_encoder(self, **own):
        """A freshly initialised encoder; `own` are functions by name that make a recipe's own."""
        if self.encoder in own:
            return own[self.encoder]()
        try:
            return encoders.get(self.encoder)
        except UserError as error:
            besides = "".join(f"{name} is this recipe's own. " for name in own)
            raise UserError(f"--encoder: {besides}{error}") from None

    @property
    def jit_compile(self):
        """For `compile`: what `--xla` means on this machine."""
        gpus = bool(tf.config.list_physical_devices("GPU"))
        return {"auto": gpus, "on": True, "off": False}[self.xla]

    def learning_rate_schedule(self, learning_rate=None):
        """The learning rate by steps, from the flags; another highest one for a second player."""
        return training.schedule(
            self.schedule,
            learning_rate or self.learning_rate,
            self.epochs * self.steps_per_epoch,
            warmup_steps=self.warmup_epochs * self.steps_per_epoch,
            drops=[epoch * self.steps_per_epoch for epoch in self.decay_epochs],
            factor=self.decay_factor,
        )

    def sgd(self, momentum=0.9, nesterov=False):
        """SGD with the flags' schedule and weight decay.

        The papers add L2 to the gradient, where momentum multiplies it by 1 / (1 - momentum);
        Keras' decay acts on the weights alone, so it gets that factor here.
        """
        decay = self.weight_decay / (1 - momentum)
        settings = {"momentum": momentum, "nesterov": nesterov}
        return _sparing(keras.optimizers.SGD, self.learning_rate_schedule(), decay, settings)

    def adam(self, beta_1=0.9, beta_2=0.999, learning_rate=None):
        """Adam with the flags' schedule and weight decay.

        The decay acts on the weights alone (arXiv:1711.05101), where the papers add L2 to the
        gradient, which Adam then divides by its own scale.
        """
        schedule = self.learning_rate_schedule(learning_rate)
        settings = {"beta_1": beta_1, "beta_2": beta_2}
        return _sparing(keras.optimizers.Adam, schedule, self.weight_decay, settings)

    # === What comes out ===

    def finish(self, pretext, generator=None):
        """Probes the encoder beside a random one and exports it; returns the scores or None.

        A `generator`, a model of images to images, is exported beside it.
        """
        scores = self.probe(pretext)
        path = f"{self.workdir}/exported/{self.recipe}"
        size = pretext.crop or self.resize or 96
        card = self.card(scores)
        options = {"card": card, "image_size": size, "formats": self.formats}
        logging.info("exported to %s", export.save(pretext.encoder, path, **options))
        if generator is not None:
            made = export.save_generator(generator, f"{path}_generator", card=self.card(None))
            logging.info("exported to %s", made)
        return scores

    def labelled(self):
        """The train and test sources with labels for probes; None where there are none."""
        if not self.probe_images:
            return None
        try:
            return [
                data.load(
                    self.dataset, split, data_dir=self.data_dir, resize=self.resize, labels=True
                )
                for split in ("train", "test")
            ]
        except UserError as error:
            logging.info("no probe: %s", error)
            return None

    def monitors(self, pretext):
        """Callbacks that watch a `MemoryPretext` by kNN, where there are labels."""
        sources = self.labelled()
        if not sources:
            return []
        train, test = sources
        test = test.examples(crop=pretext.crop, shuffle=False)
        return [probes.Monitor(pretext.embed, pretext.memory.rows.numpy, train.labels, test)]

    def probe(self, pretext):
        """`probes.linear` on this dataset's labels; None where it has none, saying so."""
        sources = self.labelled()
        if not sources:
            return None
        train, test = sources
        logging.info("linear probe of the encoder and of a random-init one ...")
        crop = pretext.crop
        few = min(self.probe_images, train.size)
        try:
            scores = probes.linear(
                pretext.encoder,
                # In a shuffled order, because a folder lists its images class by class.
                train.examples(seed=self.seed, crop=crop, stop=few),
                test.examples(crop=crop, shuffle=False),
                seed=self.seed,
            )
        except UserError as error:  # what was trained is exported all the same
            logging.warning("no linear probe: %s", error)
            return None
        logging.info("\n%s", scores)
        return scores

    def card(self, scores):
        """What made this encoder, for `card.json`."""
        return {
            "recipe": self.recipe,
            "flags": self.flags,
            "dataset": {"name": self.dataset, "images": self.train_source.size},
            "seed": self.seed,
            "minutes": round((time.time() - self.started) / 60, 1),
            "scores": scores.rows if scores else None,
        }


def _sparing(optimizer, learning_rate, decay, settings):
    """A new optimizer of that class whose weight decay spares all but the kernels."""
    made = optimizer(learning_rate, weight_decay=decay or None, **settings)
    made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


def _claim(workdir, flags):
    """Writes `flags.txt`; where something was trained, checks that they are the same."""
    path = writable_folder(workdir) / "flags.txt"
    if not path.exists() or not [*workdir.glob("checkpoints/*"), *workdir.glob("log.csv")]:
        lines = [f"--{name}={value}" for name, value in flags.items()]
        path.write_text("\n".join(lines) + "\n")
        return
    before = dict(line[2:].split("=", 1) for line in path.read_text().splitlines() if line)
    differ = [
        f"--{name}={before.get(name)} (then) but {value} (now)"
        for name, value in flags.items()
        if before.get(name) != str(value) and name not in MAY_DIFFER
    ]
    if differ:
        raise UserError(
            f"--workdir: expected the flags that {workdir} was started with, or a new folder. "
            f"Received: {'; '.join(differ)}"
        )
