"""The questions of `sslzoo probe`, each a generator of rows or a list of them."""

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from absl import logging

from sslzoo import encoders, probes
from sslzoo.judging.judged import Judged
from sslzoo.probes import results
from sslzoo.probes.finetuning import STEP
from sslzoo.probes.invariance import IMAGES, picture


class Kinds(Judged):
    """`--kind=NAME` is `_NAME` here."""

    def _linear(self: Any, spec: str) -> list[dict[str, Any]]:
        """One row, of the best stage; the others in it."""
        draws, test = self.label_draws(spec), self.images(spec, "test")
        scores = probes.beside(self.embedders, draws, test, self.seed, self.fitted)
        sys.stdout.write(f"\n{spec}\n{scores}\n")
        # Of the twin its own best stage, not the one that the encoder does best in.
        other = max(scores.rows, key=lambda row: row["random_accuracy"])
        row: dict[str, Any] = {"dataset": spec, "labels": scores.train_labels}
        row |= {"test_labels": scores.test_labels, "draws": scores.draws}
        row |= {key: scores.best[key] for key in ("stage", "accuracy", "std")}
        row |= {key: other[key] for key in ("random_accuracy", "random_std")}
        row |= {"majority": scores.majority}
        if self.controls:
            row["scratch_accuracy"] = self._scratch(spec, self.drawn(draws[0]))
            row["supervised_accuracy"] = self._scratch(spec)
            way = row["supervised_accuracy"] - row["random_accuracy"]
            row["gained"] = (row["accuracy"] - row["random_accuracy"]) / way if way > 0 else None
        return [{**row, "stages": scores.rows}]

    def _low_shot(self: Any, spec: str) -> Iterator[dict[str, Any]]:
        """A row for each number of labels a class."""
        pool = self.label_draws(spec)[0]
        test = self.images(spec, "test")
        rows = probes.low_shot(self.embedders, pool, test, self.shots, self.draws, self.seed)
        indices, source = self.drawn(pool), self.sources[spec]["train"]
        y, classes = np.asarray(source.labels)[indices], source.class_names or []
        for i, row in enumerate(rows):
            if self.controls:
                some = indices[probes.per_class(y, row["shots"], (self.seed, 0))]
                # A head wants two images of each class.
                if self.model and row["shots"] > 1 and len(classes) == len({*y}):
                    row["finetuned_accuracy"] = self._finetuned(spec, some, self.seed)
                row["scratch_accuracy"] = self._scratch(spec, some)
            self.keep_picture(spec, probes.by_shots(rows[: i + 1]))
            yield {"dataset": spec, "draws": self.draws, **row}

    def _finetune(self: Any, spec: str) -> Iterator[dict[str, Any]]:
        """A row for each share of the labels."""
        for share in self.shares:
            tables = self.tables(spec, share)
            found = [(self._finetuned(spec, *x), self._scratch(spec, *x)) for x in tables]
            labels = len(tables[0][0])
            row: dict[str, Any] = {"dataset": spec, "labels": labels, "draws": self.draws}
            for name, accuracies in zip(("", "scratch_"), zip(*found, strict=True), strict=True):
                row[f"{name}accuracy"] = float(np.mean(accuracies))
                row[f"{name}std"] = results.deviation(accuracies)
            yield row

    def _retrieval(self: Any, spec: str) -> list[dict[str, Any]]:
        """One row, of the last stage; all of them in it. Draws one picture."""
        train, test = self.label_draws(spec)[0], self.images(spec, "test")
        stages, answers = probes.retrieval(self.embedders, train, test)
        last = [[row for row in stages if row["of"] == i][-1] for i in (0, 1)]
        row = {"dataset": spec, "labels": train.stop, "test_labels": test.stop, **last[0]}
        row |= {f"random_{key}": value for key, value in last[1].items() if "@" in key}
        del row["of"]
        self.draw(spec, answers[row["stage"]], self.drawn(train))
        return [{**row, "stages": stages}]

    def _invariance(self: Any, spec: str) -> list[dict[str, Any]]:
        """A row for each change, of the last stage; all of them in it. Draws one picture."""
        test = self.images(spec, "test", self.seed)
        test = dataclasses.replace(test, stop=min(IMAGES, test.source.size))
        rows, shares = probes.invariance(self.read_by(1), test)
        self.keep_picture(spec, picture(*shares))
        return [{"dataset": spec, "images": test.stop, **row} for row in rows]

    def _finetuned(self: Any, spec: str, table: np.ndarray, seed: int) -> float:
        """Accuracy on the test images of a copy of the encoder, trained on those of `table`."""
        source = self.sources[spec]["train"]
        model: Any = self.model
        encoder = keras.models.clone_model(model)
        encoder.set_weights(model.get_weights())
        some = source.examples(crop=self.size, table=table, shuffle=False)
        last = encoders.stages(encoder)[-1]
        head = probes.fit_head(encoder, some, source.class_names or [], stage=last, seed=seed)
        settings: dict[str, Any] = {"frozen_below": self.frozen_below, "seed": seed}
        settings |= self._schedule(spec)
        probes.finetune(head, source, table=table, learning_rate=self.learning_rate, **settings)
        return self._tested(head, spec)

    def _scratch(
        self: Any, spec: str, table: np.ndarray | None = None, seed: int | None = None
    ) -> float:
        """Accuracy of the same architecture trained from random init on `table`, or all images."""
        source = self.sources[spec]["train"]
        logging.info("from scratch on %d labels", source.size if table is None else len(table))
        settings: dict[str, Any] = {"table": table, "learning_rate": self.scratch_rate}
        settings |= self._schedule(spec)
        classes = len(source.class_names or [])
        seed = self.seed if seed is None else seed
        head = probes.scratch(self.twin, source, classes, self.size, seed, **settings)
        return self._tested(head, spec)

    def _schedule(self: Any, spec: str) -> dict[str, int]:
        """As many steps for few labels as for all."""
        steps = max(1, self.epochs * self.sources[spec]["train"].size // STEP)
        return {"epochs": self.epochs, "steps": steps}

    def _tested(self: Any, head: probes.Head, spec: str) -> float:
        test = self.images(spec, "test")
        return head.accuracy(test.examples())
