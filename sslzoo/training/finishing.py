"""The end of a run: filters, the probe, exports and their card."""

import time
from typing import Any

import keras
from absl import logging

from sslzoo import export, probes
from sslzoo.export import model_card
from sslzoo.pictures import filters, save_png
from sslzoo.pretext import Pretext
from sslzoo.training import remade

JUDGED = "images in colour, real ones and a generator's"  # what a discriminator sees


class Finishing:
    """The part of `Run` that comes last: `self` has its fields, which a type checker cannot see."""

    def finish(
        self: Any,
        pretext: Pretext,
        encoder: keras.Model | None = None,
        image_model: keras.Model | None = None,
        judge: keras.Model | None = None,
    ) -> probes.Scores | None:
        """Probes the encoder beside a random one and exports it; returns the scores or None.

        Leaves `filters.png` in the folder of the run: the kernels of the first convolution.

        Args:
            pretext: the trained pretext.
            encoder: which to probe and export; default: the pretext's.
            image_model: a model of images to images, exported beside it under its own name.
            judge: the pretext's discriminator as an encoder, to probe and export in its place. It
                did not start from `--encoder`, nor was it shown what that one is shown.
        """
        encoder = judge or encoder or pretext.encoder
        drawn = filters.draw(encoder, probes.random_twin(encoder, self.seed))
        if drawn is not None:
            save_png(f"{self.workdir}/filters.png", drawn)
        scores = self.probe(encoder, pretext.crop)
        path = f"{self.workdir}/exported/{self.recipe}"
        size = pretext.crop or self.resize or 96
        sees, card = pretext.sees, self.card(scores)
        if judge:
            card.pop("started_from", None)
            sees = JUDGED
        card["input"] = f"RGB in [0, 1], any size; trained on {sees}"
        card = model_card.of_encoder(card, size)
        made = export.save(encoder, path, card=card, image_size=size, formats=self.formats)
        logging.info("exported to %s", made)
        if image_model is not None:
            path = f"{path}_{image_model.name}"
            card = model_card.of_painter(self.card(None))
            made = export.save_image_model(image_model, path, card=card)
            logging.info("exported to %s", made)
        return scores

    def card(self: Any, scores: probes.Scores | None) -> dict[str, Any]:
        """What made this encoder, for `card.json`."""
        started_from = getattr(self, "started_from", None)
        return {
            "recipe": self.recipe,
            "flags": self.flags,
            "dataset": {"name": self.dataset, "images": self.train_source.size},
            "seed": self.seed,
            "minutes": round((time.time() - self.started) / 60, 1),
            "scores": scores.rows if scores else None,
            **remade.of(self, scores),
            **({"started_from": started_from} if started_from else {}),
        }
