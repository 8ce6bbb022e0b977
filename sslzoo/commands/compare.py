"""which pretext for these images: each recipe trained for the same time, and judged

sslzoo compare --dataset=FOLDER --minutes=10 --recipes=rotation,jigsaw,npid --seeds=3
sslzoo compare --dataset=cifar10.npz --minutes=10 --sheets='recipes/*_cifar10.flags'
"""

import dataclasses
import functools
import glob
import importlib
import json
import os
import pathlib
from typing import Any, Literal

from absl import logging

from sslzoo import cli, data, progress, report
from sslzoo.comparison import child, leaderboard, trial
from sslzoo.comparison.folder import Comparison
from sslzoo.errors import UserError, replacing, writable_folder
from sslzoo.export import model_card
from sslzoo.flags import ranges, signature
from sslzoo.flags.ranges import Count, Pad, Positive, Seed
from sslzoo.training import workdir

EMBEDDED = 300  # held-back images on the page's maps
FEW, ALL = "from scratch, the same labels", "from scratch, all labels"  # the controls' rows


@dataclasses.dataclass
class Compare:
    """Trains recipes on the same images for the same time, and puts their scores side by side.

    A killed comparison goes on with the same command: finished runs are kept. More --seeds add to
    them.

    Args:
        dataset: labelled images: a folder of class folders, a .npz file, tfds:NAME, or photos; the
            labels are read by the probes alone. A recipe that renders its own takes them as its
            real images.
        data_dir: where TensorFlow Datasets keeps prepared datasets.
        resize: shorter side of the images in pixels; 0 leaves it to the recipes or their sheets.
        minutes: of training for each run; at least an epoch.
        clock: wall, on this machine as busy as it is; or cpu, of all cores together, so that other
            work beside it changes little (not for GPUs, whose time it does not count).
        recipes: which; empty takes those of --sheets, or all.
        sheets: run sheets to start from, a pattern such as recipes/*_cifar10.flags; a recipe that
            has none starts from its defaults.
        encoder: of all of them, to compare like with like; empty leaves it to them.
        seeds: runs of each recipe.
        seed: of the first of them; the others follow.
        probe_images: labelled images that the probes are fitted to, at most.
        controls: also train the network of the best run from scratch for the same time, on the
            same labels and on all.
        readme: a Markdown file whose results, between its markers, the table replaces.
        workdir: folder for runs, sheets, table.md, table.csv, stages.png and report.html.
    """

    dataset: str = "photos"
    data_dir: str = ""
    resize: Pad = 0
    minutes: Positive = 10.0
    clock: Literal["wall", "cpu"] = "wall"
    recipes: tuple[str, ...] = ()
    sheets: str = ""
    encoder: str = "small"
    seeds: Count = 1
    seed: Seed = 0
    probe_images: Count = 1000
    controls: bool = True
    readme: str = ""
    workdir: str = "runs/compare"

    def run(self) -> leaderboard.Table:
        """Does it all; returns the table."""
        self._check()
        reasons = {name: self._write_sheet(name) for name in self.chosen}
        if None not in reasons.values():
            self.kept.path("command.txt").unlink()  # so that better ones may come
            raise UserError(f"no recipe could be started: {next(iter(reasons.values()))}")
        table = self._write()
        todo = [run for run in self.kept.todo if not reasons.get(run[0])]
        for name, seed in progress.counted(todo, lambda run: f"{run[0]}, seed {run[1]}"):
            if name in self.chosen:
                self._train(name, seed)
            elif table.cards:
                self._control(name, seed, table)
            table = self._write()
        if not table.cards:
            raise UserError(
                f"no run has ended with a probe; what they said: {self.kept.path('logs')}"
            )
        logging.info("%s\n%s", table, self.kept.path("table.md"))
        self._write_page([*table.cards])
        return table

    # === What it is given ===

    @functools.cached_property
    def chosen(self) -> dict[str, str]:
        """Recipe -> its run sheet, or "" for its defaults."""
        known = cli.modules("recipes")
        sheets: dict[str, str] = {}
        for path in sorted(glob.glob(os.path.expanduser(self.sheets))):
            stem = pathlib.Path(path).stem
            if found := [name for name in known if stem.startswith(name)]:
                sheets.setdefault(max(found, key=len), path)
        if self.sheets and not sheets:
            raise UserError(
                "--sheets: expected a pattern of run sheets, named after their recipes, such as "
                f"'recipes/*_cifar10.flags'. Received: {self.sheets!r}, which finds none"
            )
        if strangers := [name for name in self.recipes if name not in known]:
            raise UserError(
                f"--recipes: expected some of {', '.join(known)}. Received: {', '.join(strangers)}"
            )
        return {name: sheets.get(name, "") for name in self.recipes or sheets or known}

    @property
    def caption(self) -> str:
        """What the numbers are of."""
        train, test = self._sizes
        budget = f"{self.minutes:g} {self.kept.unit}"
        return (
            f"{budget} of training for each run on {leaderboard.machine()}; "
            f"{train:,} training images, {min(self.probe_images, train):,} labels, {test:,} test "
            f"images; {self.kept.runs}, seeds from {self.seed}: `{self._command()}`"
        )

    @functools.cached_property
    def kept(self) -> Comparison:
        """The folder."""
        seeds = range(self.seed, self.seed + self.seeds)
        return Comparison(self.workdir, self.chosen, self._controls, seeds, self.clock)

    @functools.cached_property
    def _controls(self) -> dict[str, int]:
        """Row -> how many labels; 0 for all of them."""
        few = self.probe_images if self.probe_images < self._sizes[0] else 0
        return ({FEW: few} if few else {}) | {ALL: 0} if self.controls else {}

    @functools.cached_property
    def _sizes(self) -> tuple[int, int]:
        """Training and test images."""
        load = functools.partial(data.load, self.dataset, data_dir=self.data_dir, labels=True)
        train, test = (load(split, resize=self.resize) for split in ("train", "test"))
        return train.size, test.size

    def _command(self, **other: str) -> str:
        """What does it again, but for where to write, or with other flags."""
        flags = signature.texts(signature.flags_of(main, {"compare": self}))
        flags |= {"readme": "", **other}
        defaults = signature.texts(signature.flags_of(main))
        return model_card.command(["sslzoo", "compare"], flags, defaults)

    def _check(self) -> None:
        ranges.check(type(self).__init__, vars(self))
        self.minutes = float(self.minutes)  # as the shell gives them, for the command
        if self.readme:
            leaderboard.split(pathlib.Path(self.readme))
        _ = self.chosen, self._sizes
        writable_folder(self.workdir)
        path = self.kept.path("command.txt")
        began = workdir.read_text(path).strip() if path.exists() else self._command()
        if began not in [self._command(seeds=str(n + 1)) for n in range(self.seeds)]:
            raise UserError(
                f"--workdir: expected the command that {self.workdir} began with, {began}, or "
                f"more --seeds, or a new folder. Received: {self._command()}"
            )
        with replacing(path) as aside:
            aside.write_text(f"{self._command()}\n")

    # === Work ===

    def _write_sheet(self, name: str) -> str | None:
        """Measures how fast a recipe is here and writes the run sheet with the epochs that fit.

        Returns:
            Why it could not be started, or None.
        """
        path, log = (
            self.kept.path("sheets", f"{name}.flags"),
            self.kept.path("logs", f"{name}_speed.txt"),
        )
        if path.exists():
            return None
        logging.info("how fast is %s ...", name)
        flags = self._flags(name)
        if not child.run(["-m", "sslzoo.comparison.trial", name, self.clock, *flags], log):
            reason = child.reason(log)
            logging.warning("%s is left out: %s", name, reason)
            return reason
        speed = trial.Speed(**child.answer(log))
        lines = [
            f"# {self.minutes:g} {self.kept.unit} of {name}, measured on {leaderboard.machine()}:",
            f"# {speed.step * 1000:.0f} ms a step, {speed.steps_per_epoch:,} steps an epoch.",
            *flags,
            f"--epochs={speed.epochs(self.minutes)}",
        ]
        with replacing(path) as aside:
            aside.write_text("\n".join(lines) + "\n")
        return None

    def _flags(self, name: str) -> list[str]:
        """What all runs of a recipe share, but for their epochs.

        Probes see whole images, as large as what the puzzles are cut from.
        """
        main = importlib.import_module(f"sslzoo.recipes.{name}").main
        sheet = [f"--flagfile={self.chosen[name]}"] if self.chosen[name] else []
        given = signature.parse(main, [name, *sheet])
        own = {flag.name: flag.default for flag in signature.flags_of(main, given)}
        renders = "real_dataset" in own
        values = {
            "real_dataset" if renders else "dataset": self.dataset,
            "probe_dataset": self.dataset if renders else "",  # whatever the sheet says
            "probe_resize": str(own["crop"]),
            "probe_images": str(self.probe_images),
        }
        wanted = {"data_dir": self.data_dir, "resize": self.resize, "encoder": self.encoder}
        values |= {flag: str(value) for flag, value in wanted.items() if value}
        return sheet + [f"--{flag}={value}" for flag, value in values.items()]

    def _train(self, name: str, seed: int) -> None:
        """One run, in a process of its own; what it says goes into a file."""
        sheet = self.kept.path("sheets", f"{name}.flags")
        flags = [f"--flagfile={sheet}", f"--seed={seed}", f"--workdir={self.kept.run(name, seed)}"]
        log = self.kept.path("logs", f"{name}_{seed}.txt")
        if not child.run(["-m", f"sslzoo.recipes.{name}", *flags], log):
            logging.warning("%s, seed %d is left out: %s", name, seed, child.reason(log))

    def _control(self, name: str, seed: int, table: leaderboard.Table) -> None:
        """The network of the best recipe from scratch, in a process of its own."""
        known = [run.get("of") for runs in table.controls.values() for run in runs]
        of = [name for name in known if name in table.cards]
        best = (of or table.order)[0]  # one for all, though more seeds came
        encoder = self.kept.result(best, table.cards[best][0]["seed"]).parent
        given: dict[str, Any] = {
            "encoder": str(encoder),
            "dataset": self.dataset,
            "data_dir": self.data_dir,
        }
        given |= {"labels": self._controls[name], "seed": seed}
        given |= {"minutes": self.minutes, "clock": self.clock}
        log = self.kept.path("logs", f"{self.kept.result(name, seed).stem}.txt")
        if child.run(["-m", "sslzoo.comparison.controls", json.dumps(given)], log):
            self.kept.keep(name, {**child.answer(log), "of": best, "seed": seed})
        else:
            logging.warning("%s, seed %d is left out: %s", name, seed, child.reason(log))

    def _write(self) -> leaderboard.Table:
        """Table, CSV and plot of what is finished."""
        table = self.kept.table(self.caption)
        if self.readme and table.cards:
            table.put_into(pathlib.Path(self.readme))
        return table

    def _write_page(self, recipes: list[str]) -> None:
        """`sslzoo report` of each recipe's first run, where there is what it wants."""
        try:
            report.check()
        except UserError as error:
            logging.info("no page: %s", error)
            return
        from sslzoo.report import page, reading  # imported here: Bokeh may be missing

        folders = [self.kept.run(name, self.seed) for name in recipes]
        finished = [str(folder) for folder in folders if (folder / "exported").exists()]
        if finished:
            page.write(reading.runs(finished), self.kept.path("report.html"), EMBEDDED)


def main(compare: Compare = Compare()) -> leaderboard.Table:  # noqa: B008 - a copy of it runs
    """Compares recipes on the same images."""
    return dataclasses.replace(compare).run()
