"""What of a run looks at labels: the probe at its end, the vote of neighbours after each epoch."""

import functools
from typing import Any

import keras
import numpy as np
from absl import logging

from sslzoo import data, probes
from sslzoo.data.order import drawn
from sslzoo.errors import UserError
from sslzoo.pretext import Pretext
from sslzoo.probes import features, linear_probe


class Probing:
    """The part of `Run` that has labels: `self` has its fields, which a type checker cannot see."""

    no_labels: UserError | None

    @functools.cached_property
    def labelled(self: Any) -> dict[str, data.Source] | None:
        """{"train", "test"}: sources with labels for probes; None where none is wanted or can be.

        Raises:
            UserError: there are none in --probe_dataset.
        """
        if not (self.probe_images or self.monitor_images):
            return None
        spec, resize = self.dataset, self.probe_resize or self.resize
        if self.probe_dataset:
            spec, resize = self.probe_dataset, self.probe_resize
        load = functools.partial(data.load, spec, data_dir=self.data_dir, labels=True)
        try:
            sources = {split: load(split, resize=resize) for split in ("train", "test")}
            y, y_test = (np.asarray(source.labels) for source in sources.values())
            for seed in self._draws(sources["train"]) if self.probe_images else ():
                index = drawn(min(self.probe_images, len(y)), seed, len(y))
                linear_probe.check_labels(y[index], y_test)
        except UserError as error:
            self._no_labels(error)
            return None
        return sources

    def _no_labels(self: Any, error: UserError) -> None:
        """Training goes on without a probe, unless it was asked for by a flag of its own."""
        if self.probe_dataset:
            raise UserError(f"--probe_dataset: {error}") from None
        self.no_labels = error

    def monitors(self: Any, pretext: Pretext) -> list[keras.callbacks.Callback]:
        """A callback that watches any pretext by kNN after each epoch, where there are labels."""
        if not (self.monitor_images and self.labelled):
            return []
        memory = None if self.probe_dataset else getattr(pretext, "memory", None)
        train, test = self.labelled["train"], self.labelled["test"]
        return [probes.Monitor(pretext, train, test, self.monitor_images, self.seed, memory)]

    def look_at_probe(self: Any, crop: int) -> None:
        """Says before training if its labelled images cannot be cut as the pretext's are."""
        if not (self.probe_images and self.labelled):
            return
        try:
            examples = self._probe_examples(self.labelled, crop, draws=1)
            for split, some in (("train", examples["train"][0]), ("test", examples["test"])):
                features.dataset(some, split)
        except UserError as error:
            self._no_labels(error)
            self.labelled = None
            logging.info("no probe: %s", error)

    def _draws(self: Any, train: data.Source) -> list[int]:
        """The seeds of the draws of labels: one draw where all labels are wanted."""
        draws = self.probe_draws if self.probe_images < train.size else 1
        return probes.seeds_of_draws(self.seed, draws)

    def _probe_examples(
        self: Any, sources: dict[str, data.Source], crop: int, draws: int | None = None
    ) -> dict[str, Any]:
        """{"train", "test"}: a list of datasets in random order, as folders list class by class;
        and one dataset. At most that many `draws`: each is traced.
        """
        train, test = sources["train"], sources["test"]
        few = min(self.probe_images, train.size)
        seeds = self._draws(train)[:draws]
        return {
            "train": [train.examples(seed=s, crop=crop, stop=few) for s in seeds],
            "test": test.examples(crop=crop, shuffle=False),
        }

    def probe(self: Any, encoder: keras.Model, crop: int) -> probes.Scores | None:
        """`probes.linear` on this run's labels; None where it has none, saying so."""
        if not (self.probe_images and self.labelled):
            return None
        logging.info("linear probe of the encoder and of a random-init one ...")
        try:
            examples = self._probe_examples(self.labelled, crop)
            scores = probes.linear(encoder, **examples, seed=self.seed)
        except UserError as error:  # what was trained is exported all the same
            logging.warning("no linear probe: %s", error)
            return None
        logging.info("\n%s", scores)
        return scores
