"""which pretext for these images: each recipe trained for the same time, and judged

sslzoo compare --dataset=FOLDER --minutes=10 --recipes=rotation,jigsaw,npid --seeds=3
sslzoo compare --dataset=cifar10.npz --minutes=10 --sheets='recipes/*_cifar10.flags'
"""

import csv
import dataclasses
import functools
import glob
import importlib
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
from typing import Literal

from absl import logging

from sslzoo import cli, data, progress, report
from sslzoo.errors import UserError, writable_folder, writing
from sslzoo.flags import ranges, signature
from sslzoo.flags.ranges import Count, Pad, Positive, Seed
from sslzoo.pictures import leaderboard
from sslzoo.training import trial

# Of each clock of `trial`: the unit of a budget, and the column of log.csv.
UNITS = {"wall": ("minutes", "seconds"), "cpu": ("CPU minutes", "cpu_seconds")}
EMBEDDED = 300  # held-back images on the page's maps


@dataclasses.dataclass
class Compare:
    """Trains recipes on the same images for the same time, and puts their scores side by side.

    A killed comparison goes on with the same command: finished runs are kept.

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
    readme: str = ""
    workdir: str = "runs/compare"

    def run(self) -> leaderboard.Table:
        """Does it all; returns the table."""
        self._check()
        for name in self.chosen:
            self._write_sheet(name)
        runs = [(name, self.seed + i) for i in range(self.seeds) for name in self.chosen]
        todo = [run for run in runs if not self._card(*run).exists()]
        table = None
        for name, seed in progress.counted(todo, lambda run: f"{run[0]}, seed {run[1]}"):
            self._train(name, seed)
            table = self._write()
        table = table or self._write()
        logging.info("%s\n%s", table, self._path("table.md"))
        self._write_page([self._folder(name, self.seed) for name in table.cards])
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

    @functools.cached_property
    def caption(self) -> str:
        """What the numbers are of."""
        load = functools.partial(data.load, self.dataset, data_dir=self.data_dir, labels=True)
        train, test = (load(split, resize=self.resize).size for split in ("train", "test"))
        return (
            f"{self.minutes:g} {self.unit} of training for each run on {leaderboard.machine()}; "
            f"{train:,} training images, {min(self.probe_images, train):,} labels, {test:,} test "
            f"images; {self.seeds} run{'s' * (self.seeds > 1)} each, seeds from {self.seed}: "
            f"`{shlex.join(['sslzoo', 'compare', *self._changed])}`"
        )

    @property
    def unit(self) -> str:
        """Of the minutes."""
        return UNITS[self.clock][0]

    @property
    def _changed(self) -> list[str]:
        """The flags that are not at their default, but for where to write."""
        return [
            f"--{f.name}={signature.text(getattr(self, f.name))}"
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default and f.name not in ("workdir", "readme")
        ]

    def _check(self) -> None:
        ranges.check(type(self).__init__, vars(self))
        if self.readme:
            leaderboard.split(pathlib.Path(self.readme))
        _ = self.chosen, self.caption
        writable_folder(self.workdir)
        now, path = " ".join(self._changed), self._path("flags.txt")
        if path.exists() and path.read_text() != f"{now}\n":
            raise UserError(
                f"--workdir: expected the flags that {self.workdir} was started with, "
                f"{path.read_text().strip()}, or a new folder. Received: {now}"
            )
        with writing(path):
            path.write_text(f"{now}\n")

    # === Work ===

    def _write_sheet(self, name: str) -> None:
        """Measures how fast a recipe is here and writes the run sheet with the epochs that fit."""
        path, log = self._path("sheets", f"{name}.flags"), self._path("logs", f"{name}_speed.txt")
        if path.exists():
            return
        logging.info("how fast is %s ...", name)
        flags = self._flags(name)
        if not _child(["-m", "sslzoo.commands.compare", name, self.clock, *flags], log):
            logging.warning("%s is left out: %s", name, _last_line(log))
            return
        found = next(line for line in log.read_text().splitlines() if line.startswith("{"))
        speed = trial.Speed(**json.loads(found))
        epochs = speed.epochs(self.minutes)
        lines = [
            f"# {self.minutes:g} {self.unit} of {name}, measured on {leaderboard.machine()}:",
            f"# {speed.step * 1000:.0f} ms a step, {speed.steps_per_epoch:,} steps an epoch.",
            *flags,
            f"--epochs={epochs}",
        ]
        with writing(path):
            path.write_text("\n".join(lines) + "\n")

    def _flags(self, name: str) -> list[str]:
        """What all runs of a recipe share, but for their epochs."""
        main = importlib.import_module(f"sslzoo.recipes.{name}").main
        renders = "real_dataset" in {flag.name for flag in signature.flags_of(main)}
        values = {
            "real_dataset" if renders else "dataset": self.dataset,
            "probe_dataset": self.dataset if renders else "",  # whatever the sheet says
            "probe_resize": "0",
            "probe_images": str(self.probe_images),
        }
        wanted = {"data_dir": self.data_dir, "resize": self.resize, "encoder": self.encoder}
        values |= {flag: str(value) for flag, value in wanted.items() if value}
        sheet = [f"--flagfile={self.chosen[name]}"] if self.chosen[name] else []
        return sheet + [f"--{flag}={value}" for flag, value in values.items()]

    def _train(self, name: str, seed: int) -> None:
        """One run, in a process of its own; what it says goes into a file."""
        sheet = self._path("sheets", f"{name}.flags")
        if not sheet.exists():
            return
        flags = [f"--flagfile={sheet}", f"--seed={seed}", f"--workdir={self._folder(name, seed)}"]
        log = self._path("logs", f"{name}_{seed}.txt")
        if not _child(["-m", f"sslzoo.recipes.{name}", *flags], log):
            logging.warning("%s, seed %d is left out: %s", name, seed, _last_line(log))

    def _write(self) -> leaderboard.Table:
        """Table, CSV and plot of what is finished."""
        cards = {}
        for name in self.chosen:
            found = [
                json.loads(self._card(name, seed).read_text())
                | {"minutes": _minutes(self._folder(name, seed), self.clock)}
                for seed in range(self.seed, self.seed + self.seeds)
                if self._card(name, seed).exists()
            ]
            judged = [card for card in found if card["scores"]]
            if len(judged) < len(found):
                logging.warning("%s is left out: no probe could be made of it", name)
            if judged:
                cards[name] = judged
        table = leaderboard.Table(cards, self.caption, self.unit)
        table.save(pathlib.Path(self.workdir))
        if self.readme:
            table.put_into(pathlib.Path(self.readme))
        return table

    def _write_page(self, folders: list[pathlib.Path]) -> None:
        """`sslzoo report` of each recipe's first run, where there is what it wants."""
        try:
            report.check()
        except UserError as error:
            logging.info("no page: %s", error)
            return
        from sslzoo.report import page, reading  # imported here: Bokeh may be missing

        finished = [str(folder) for folder in folders if (folder / "exported").exists()]
        if finished:
            page.write(reading.runs(finished), self._path("report.html"), EMBEDDED)

    # === Files ===

    def _path(self, *parts: str) -> pathlib.Path:
        path = pathlib.Path(self.workdir, *parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _folder(self, name: str, seed: int) -> pathlib.Path:
        return pathlib.Path(self.workdir, name, f"seed{seed}")

    def _card(self, name: str, seed: int) -> pathlib.Path:
        return self._folder(name, seed) / "exported" / name / "card.json"


def main(compare: Compare = Compare()) -> leaderboard.Table:  # noqa: B008 - never changed, `cli.parse` copies it
    """Compares recipes on the same images."""
    return compare.run()


def _child(arguments: list[str], log: pathlib.Path) -> bool:
    """Runs Python, in a session of its own; whether it ended well. Its words go into a file.

    A signal that stops this process is handed on, once, and waited for: the child saves.
    """
    with log.open("w") as file:
        child = subprocess.Popen(
            [sys.executable, *arguments], stdout=file, stderr=file, start_new_session=True
        )
        try:
            return child.wait() == 0
        except KeyboardInterrupt as stopped:
            child.send_signal(getattr(stopped, "signum", signal.SIGINT))
            child.wait()
            raise


def speed_of(recipe: str, clock: str, flags: list[str]) -> trial.Speed:
    """How fast a recipe is with these flags; in a process of its own, for it leaves much behind."""
    main = importlib.import_module(f"sslzoo.recipes.{recipe}").main
    return trial.measure(main, signature.parse(main, [recipe, *flags]), clock)


def _last_line(path: pathlib.Path) -> str:
    """The error in a log, or else its last line."""
    lines = [line for line in path.read_text().splitlines() if line]
    return next((line for line in lines if line.startswith("error: ")), (lines or ["?"])[-1])


def _minutes(folder: pathlib.Path, clock: str) -> float:
    """That a run trained, over all its attempts, by its log."""
    column = UNITS[clock][1]
    with (folder / "log.csv").open(newline="") as file:
        return sum(float(row[column]) for row in csv.DictReader(file)) / 60


if __name__ == "__main__":
    found = speed_of(sys.argv[1], sys.argv[2], sys.argv[3:])
    sys.stdout.write(json.dumps(dataclasses.asdict(found)) + "\n")
