"""what any encoder is worth on labelled images, beside random init and blind guess

sslzoo probe --encoder=rotation --dataset=FOLDER                  # a plane on each stage
sslzoo probe --encoder=rotation --dataset=FOLDER --controls       # beside training from scratch
sslzoo probe --encoder=rotation,runs/jigsaw/exported/jigsaw --dataset=a.npz,FOLDER
sslzoo probe --encoder=rotation --dataset=a.npz,FOLDER --kind=low_shot
sslzoo probe --encoder=MobileNetV2:imagenet --dataset=FOLDER --image_size=64 --kind=finetune
"""

import dataclasses
import pathlib
import re
import sys
from typing import Any, Literal

import keras

from sslzoo import encoders, progress, zoo
from sslzoo.errors import UserError, writable_folder
from sslzoo.flags import ranges, signature
from sslzoo.flags.ranges import Area, Count, OptionalCount, Pad, Positive, Seed
from sslzoo.judging.kinds import Kinds
from sslzoo.probes import results
from sslzoo.probes.finetuning import RATE, SCRATCH_RATE
from sslzoo.probes.invariance import SMALLEST


@dataclasses.dataclass
class Probe(Kinds):
    """Judges an encoder.

    Args:
        encoder: a name in the zoo, an exported folder, an encoder.keras, a SavedModel with a
            signature `features`, or a backbone, NAME[:imagenet|:FILE]: with the weights that are
            named, or random ones; alexnet:FOLDER has those of an exported alexnet_cfn. Several with
            commas between them make one table.
        dataset: labelled images: a folder of class folders, a .npz file, tfds:NAME, photos, or
            scenes; more than one with commas between them, single:FILE,FILE,... the last.
        kind: what is asked. linear: how much of the labels a plane reads off each stage; low_shot:
            the same of few labels a class, with a picture; finetune: what training through the
            encoder makes of it; retrieval: how often one of a test image's nearest training images
            is of its class, by the last stage, with a picture; invariance: how far a turn, a crop,
            colours, cutting and another order of the tiles move the last stage, as shares of the
            distance to another image, with a picture.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        image_size: side of the square that images are brought to, in pixels; 0 takes the one in
            the encoder's card.
        train_images: labelled training images of a draw, at most; of low_shot those that all draws
            are from. Not for finetune, whose shares are of all.
        draws: how often labels are drawn anew, of finetune how often it is repeated; scores are
            mean ± standard deviation. 0 takes 5 for low_shot, 1 for finetune, else 3. Not for
            retrieval, which has one.
        shots: labels a class, of low_shot.
        shares: of the training labels, of finetune.
        frozen_below: a stage; the ones before it are not changed by finetune, nor by the controls
            of low_shot.
        controls: train from scratch too, on the same labels, of low_shot also on from the encoder
            (the first draw), and of linear on all labels: minutes. `gained` is the share of the way
            from random init to all labels.
        epochs: of finetune and the controls, over all training images; fewer images are seen more
            often in as many steps.
        learning_rate: the highest one of fine-tuning.
        scratch_rate: the highest one from scratch.
        cache: folder in which features are kept, so that a second probe is quick; empty keeps none.
            Of more than 10 GB the oldest are removed. They are found by a hash of the encoder's
            graph and weights, of --dataset as it is written, of labels, of size and date of the
            .npz or of every file in a folder, and of the first megabyte of 64 images.
        seed: of the random encoder, the draws and the splits of labels.
        workdir: folder for probe.json and probe.csv, and pictures.
    """

    encoder: str = ""
    dataset: str = "photos"
    kind: Literal["linear", "low_shot", "finetune", "retrieval", "invariance"] = "linear"
    data_dir: str = ""
    image_size: Pad = 0
    train_images: Count = 5000
    draws: OptionalCount = 0
    shots: tuple[Count, ...] = (1, 2, 4, 8, 16, 50, 100)
    shares: tuple[Area, ...] = (0.01, 0.1, 1.0)
    frozen_below: str = ""
    controls: bool = False
    epochs: Count = 10
    learning_rate: Positive = RATE
    scratch_rate: Positive = SCRATCH_RATE
    cache: str = "~/.cache/sslzoo"
    seed: Seed = 0
    workdir: str = "runs/probe"

    def run(self) -> list[dict[str, Any]]:
        """Does it all; returns the rows of `probe.json`."""
        ranges.check(type(self).__init__, vars(self))
        self.draws = self.draws or {"low_shot": 5, "finetune": 1}.get(self.kind, 3)
        each = self._each()
        for one in each:
            one.check()
        rows: list[dict[str, Any]] = []
        flags = signature.texts(signature.flags_of(main, {"probe": self}))
        beside = "; ".join(dict.fromkeys(one.twin_name for one in each))
        about = {"encoder": self.encoder, "kind": self.kind, "beside": beside}
        asked = [(one, spec) for one in each for spec in one.sources]
        for one, spec in progress.counted(asked, _said):
            for row in getattr(one, f"_{self.kind}")(spec):
                rows.append({"encoder": one.encoder, **row} if len(each) > 1 else row)
                # Written at once: the next one may take hours.
                results.write(self.workdir, rows, {**about, "flags": flags})
        sys.stdout.write(f"\n{self.encoder}\n{results.table(rows)}\n{beside}\n")
        if self.kind == "linear":
            sys.stdout.write(results.agreement(rows))
        return rows

    def _each(self) -> list["Probe"]:
        """One for each encoder; of several each has a folder for its pictures."""
        names = [name.strip() for name in self.encoder.split(",")]
        if len(names) == 1:
            return [self]
        each = []
        for name in names:
            folder = pathlib.Path(self.workdir, re.sub(r"\W+", "_", name).strip("_"))
            each.append(dataclasses.replace(self, encoder=name, workdir=str(folder)))
            for shared in ("opened", "digests", "fitted"):
                setattr(each[-1], shared, getattr(self, shared))
        return each

    def check(self) -> None:
        """Looks at everything that can be wrong, before the long work."""
        keras.utils.set_random_seed(self.seed)  # before an encoder without weights is built
        if not self.encoder:
            names = ", ".join(entry.name for entry in zoo.list()) or "none yet"
            raise UserError(
                f"--encoder: expected a name in the zoo ({names}), an exported folder, an "
                "encoder.keras, a SavedModel, or the name of a backbone. Received: ''"
            )
        if self.model and not encoders.stages(self.model):
            raise UserError(
                "--encoder: expected a network with layers named stage1, stage2, ... "
                f"Received: {', '.join(layer.name for layer in self.model.layers):.200}"
            )
        if self.size < 1:
            raise UserError(
                f"--image_size: expected a side in pixels, since {self.encoder} has no card. "
                f"Received: {self.size}"
            )
        if self.kind == "invariance" and self.size < SMALLEST:
            raise UserError(
                f"--image_size: expected {SMALLEST} pixels or more, to be cut into "
                f"tiles. Received: {self.size}"
            )
        names = encoders.stages(self.model) if self.model else []
        if self.frozen_below and self.frozen_below not in names:
            expected = f"--frozen_below: expected a stage of {self.encoder}, {', '.join(names)}"
            raise UserError(f"{expected}. Received: {self.frozen_below}")
        if self.kind == "finetune" and not self.model:
            raise UserError(
                f"--kind: expected another one for {self.encoder}, which cannot learn. "
                "Received: finetune"
            )
        for spec in self.sources if self.kind == "finetune" else []:
            self.check_shares(spec)
        _ = self.sources
        writable_folder(self.workdir)


def _said(pair: tuple[Probe, str]) -> str:
    one, spec = pair
    return f"{one.encoder}, {spec}, {one.size} pixels"


def main(probe: Probe = Probe()) -> list[dict[str, Any]]:  # noqa: B008 - a copy of it runs
    """Judges an encoder."""
    return dataclasses.replace(probe).run()
