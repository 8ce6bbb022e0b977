"""What every recipe shares: data, budget, devices, folder, and the probe and export at the end."""

import contextlib
import copy
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import keras
import tensorflow as tf
from absl import logging

from sslzoo import data, encoders, export, precision, zoo
from sslzoo.errors import UserError, writable_folder
from sslzoo.export import formats
from sslzoo.flags import ranges
from sslzoo.flags.ranges import Area, Count, Epochs, OptionalCount, Pad, Positive, Seed, Weight
from sslzoo.precision import Precision
from sslzoo.training import devices, workdir
from sslzoo.training.finishing import Finishing
from sslzoo.training.optimizers import Optimizers
from sslzoo.training.probing import Probing

STEPS = 10**9 - 1  # of a run: checkpoints are sorted by names of nine digits
# Flags that a resumed run may change.
MAY_DIFFER = (
    *("backup_minutes", "formats", "monitor_images"),
    *("probe_dataset", "probe_draws", "probe_images", "probe_resize"),
    "workdir",  # a folder may be moved, or named in another way
)


@dataclasses.dataclass
class Run(Optimizers, Probing, Finishing):
    """One run of a recipe.

    Args:
        dataset: the images: photos or scenes (built in), single:FILE (views of one image, see
            sslzoo/data/single.py), rendered:FOLDER (with depth and the like, see
            sslzoo/data/rendered.py), a folder, a .npz file, or tfds:NAME.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        resize: shorter side of the images after resizing, in pixels; 0 leaves them as they are.
        encoder: a new one by its name, small, mini, alexnet, nin, resnet18, ..., or any of
            keras.applications (NAME:imagenet or NAME:FILE with those weights); or a trained one to
            go on from: a name in the zoo, an exported folder, or an encoder.keras; or such a one's
            weights in another network: alexnet:FOLDER, of an exported alexnet_cfn.
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
        precision: of the layers while they learn: float32, or 16 bits where that does no harm, with
            scaled losses for float16. That one is for GPUs: CPUs are far slower with it. What is
            probed and exported computes in float32.
        xla: compile each replica's step with XLA; auto means on GPUs, for it slows CPUs down.
        devices: cpu:N makes N logical CPU devices, gpu:N takes the first N GPUs; empty takes
            all GPUs, or else the CPU.
        backup_minutes: at most this much work is lost by a kill.
        probe_images: labelled training images for the linear probe, at most; 0 skips it.
        probe_draws: how often they are drawn anew; scores are mean ± standard deviation, on all
            test images.
        probe_dataset: labelled images for the probe; empty takes those of --dataset.
        probe_resize: their shorter side in pixels; 0 takes --resize, with --probe_dataset none.
        monitor_images: labelled training images for a vote of the nearest after each epoch, the
            column knn of log.csv; 0 for none.
        formats: of the encoder beside the SavedModel: onnx, litert, or both.
    """

    dataset: str = "photos"
    data_dir: str = ""
    resize: Pad = 0
    encoder: str = "small"
    epochs: Count = 20
    batch_size: Count = 32
    learning_rate: Positive = 0.01
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    warmup_epochs: Epochs = 0.0
    decay_epochs: tuple[Epochs, ...] = ()
    decay_factor: Area = 0.1
    weight_decay: Weight = 0.0
    seed: Seed = 0
    workdir: str = "runs/run"
    precision: Precision = "float32"
    xla: Literal["auto", "on", "off"] = "auto"
    devices: str = ""
    backup_minutes: Positive = 5.0
    probe_images: OptionalCount = 1000
    probe_draws: Count = 3
    probe_dataset: str = ""
    probe_resize: Pad = 0
    monitor_images: OptionalCount = 0
    formats: tuple[str, ...] = ()

    # Why there is no probe though one was wanted; no flag.
    no_labels: UserError | None = dataclasses.field(default=None, init=False)
    # What else `pretrain` was given: the second source of a pair; no flag.
    second: data.Source | None = dataclasses.field(default=None, init=False)
    folders: list[str] = dataclasses.field(default_factory=list, init=False)  # of all its phases

    def start(
        self, recipe: str, flags: dict[str, str], defaults: dict[str, str] | None = None
    ) -> None:
        """Checks the flags, prepares devices and folder. Called by `cli.recipe` before `main`.

        `flags` are all of the recipe as text; `defaults` the ones that a run has whose folder was
        made before there was such a flag.

        Raises:
            UserError: a flag is out of range, or the folder belongs to a run with other flags or
                images, or to another process.
        """
        ranges.check(type(self).__init__, vars(self))
        formats.check(self.formats)
        self.recipe, self.flags, self.started = recipe, flags, time.time()
        self.defaults = defaults or {}
        self.folders.append(self.workdir)
        folder = writable_folder(self.workdir)
        workdir.lock(folder)
        workdir.claim_flags(folder, flags, self.defaults, MAY_DIFFER)
        for path in (folder / "exported", folder / "exported" / recipe):
            if path.exists():
                writable_folder(path)
        _ = self.strategy
        if self.epochs * self.steps_per_epoch > STEPS:
            most = STEPS // self.steps_per_epoch
            raise UserError(f"--epochs: expected at most {most:,}. Received: {self.epochs}")
        workdir.claim_images(folder, self.train_source)
        if self.no_labels:  # not said earlier: the images may be the fault
            logging.info("no probe: %s", self.no_labels)
        keras.utils.set_random_seed(self.seed)
        # On CPUs it costs nothing measurable. XLA refuses it for some ops, and needs it for none.
        if not tf.config.list_physical_devices("GPU"):
            (devices.warn_of_xla if self.xla == "on" else devices.deterministic)()

    def phase(self, name: str, **changes: Any) -> "Run":
        """A further part of this run, started, in a folder `name` of its own."""
        changes["workdir"] = f"{self.workdir}/{name}"
        second = dataclasses.replace(self, **changes)
        opened = ("labelled", "train_source", "test_source")  # the images are the same
        vars(second).update({name: vars(self)[name] for name in opened if name in vars(self)})
        second.start(self.recipe, {**self.flags, "workdir": second.workdir}, self.defaults)
        self.folders.append(second.workdir)
        return second

    # === Data ===

    @functools.cached_property
    def train_source(self) -> data.Source:
        """The unlabelled training images."""
        source = self._source("train")
        if source.size < self.batch_size:
            raise UserError(
                f"--batch_size: expected at most the {source.size} training images of "
                f"{self.dataset}. Received: {self.batch_size}"
            )
        return source

    @functools.cached_property
    def test_source(self) -> data.Source:
        """The unlabelled held-back images."""
        return self._source("test")

    def _source(self, split: str) -> data.Source:
        """Without labels; the images are those of the labelled source, if it has the same."""
        if self.labelled and not self.probe_dataset and self.probe_resize in (0, self.resize):
            source = copy.copy(self.labelled[split])
            source.labels = source.class_names = None
            return source
        return data.load(self.dataset, split, data_dir=self.data_dir, resize=self.resize)

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the images left over differ from epoch to epoch."""
        return self.train_source.size // self.batch_size

    # === Model ===

    @functools.cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """`MirroredStrategy` over `--devices`, one device included."""
        return devices.mirrored(self.devices)

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Where the model is made: under the strategy, in that precision."""
        replicas = self.strategy.num_replicas_in_sync
        if self.batch_size % replicas:
            raise UserError(
                f"--batch_size: expected a multiple of the {replicas} devices. "
                f"Received: {self.batch_size}"
            )
        with self.strategy.scope(), precision.policy(self.precision):
            yield

    def new_encoder(self, **own: Callable[[], keras.Model]) -> keras.Model:
        """The encoder that `--encoder` names; `own` are functions by name: the recipe's own."""
        if self.encoder in own:
            return own[self.encoder]()
        if encoders.known(self.encoder):
            if ":" in self.encoder:
                self.started_from = {"encoder": self.encoder}
            return encoders.get(self.encoder)
        try:
            encoder, made = zoo.open_encoder(self.encoder)
        except UserError as error:
            names = ", ".join([*own, *encoders.names()])
            raise UserError(f"--encoder: expected one of {names}, or {error}") from None
        try:
            export.check(encoder, 1)
        except UserError as error:
            raise UserError(f"--encoder: {error}") from None
        self.started_from = {"encoder": self.encoder, **made}
        return precision.in_policy(encoder, self.precision)

    @property
    def jit_compile(self) -> bool:
        """For `compile`: what `--xla` means on this machine."""
        gpus = bool(tf.config.list_physical_devices("GPU"))
        return {"auto": gpus, "on": True, "off": False}[self.xla]
