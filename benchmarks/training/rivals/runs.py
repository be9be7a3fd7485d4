"""Runs one contender on one data set until all its marks have a line."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.training.rivals.cases import Case, judged_images
from benchmarks.training.rivals.clock import CLOCKS, Clock, Marks, Stopwatch, TimeUp
from benchmarks.training.rivals.contender import Contender
from benchmarks.training.rivals.entries import ENDLESS, Entry
from benchmarks.training.rivals.judges import METRICS, Judges, opaque
from benchmarks.training.rivals.results import Cell, Results
from training.errors import DivergenceError
from training.runs.sampling import image_grid

PILOT_SHARE = 0.05
"""Length of the run that measures a preset's speed, as a share of its mark."""

COLUMNS = 4
"""Of the square of samples that shows a cell."""


@dataclass
class Comparison:
    """Where images come from, where results go, and the judges of each source, which are loaded once."""

    results: Results
    sources: dict[str, str]
    """Option of the command → path of the images."""
    clock_name: str
    known_judges: dict[str, Judges] = field(default_factory=dict)
    """Those that are loaded, by option."""

    @property
    def clock(self) -> Clock:
        """The clock that marks are read on."""
        return CLOCKS[self.clock_name]

    def judges(self, case: Case) -> Judges:
        """Returns the judges of a data set. Cases of one source have the same ones."""
        if case.source not in self.known_judges:
            self.known_judges[case.source] = Judges(judged_images(case, self.sources[case.source]))
        return self.known_judges[case.source]

    def complete(self, case: Case, entry: Entry, minutes: Sequence[float]) -> None:
        """Trains and judges what has no result of these settings yet. A run that diverges is a result, too."""
        settings = entry.settings(case)
        cells = [Cell(case.name, entry.name, mark, self.clock_name) for mark in minutes]
        missing = self.results.missing(cells, settings)
        if not missing:
            return
        judges = self.judges(case)  # outside the clock, and before hours of training that it could not judge
        run = _Run(self, case, entry, judges, settings)
        if entry.has_budget:
            for cell in missing:
                run.to_budget(cell)
        else:
            run.to_marks(missing)


@dataclass
class _Run:
    comparison: Comparison
    case: Case
    entry: Entry
    judges: Judges
    settings: dict[str, object]

    def to_marks(self, cells: list[Cell]) -> None:
        """Trains once, with a snapshot at each mark."""
        left = {cell.minutes * 60: cell for cell in cells}
        contender = self._start(ENDLESS)
        stopwatch = Stopwatch(self.comparison.clock)

        def reached(mark: float, seconds: float) -> None:
            self._record(left[mark], contender, seconds)
            del left[mark]

        try:
            contender.train(Marks(stopwatch, list(left), reached).after_step)
        except TimeUp:
            pass
        except DivergenceError as error:
            for cell in left.values():
                self._add(cell, contender, stopwatch.elapsed, {"outcome": str(error)})

    def to_budget(self, cell: Cell) -> None:
        """Trains with the budget that a short run of the same settings says will end at the mark."""
        mark = cell.minutes * 60
        contender = self._start(ENDLESS)
        stopwatch = Stopwatch(self.comparison.clock)
        try:
            speed = images_per_second(contender, self.comparison.clock, PILOT_SHARE * mark)
            contender = self._start(max(1, round(speed * mark)))
            stopwatch = Stopwatch(self.comparison.clock)
            contender.train(lambda: None)
            self._record(cell, contender, stopwatch.elapsed)
        except DivergenceError as error:
            self._add(cell, contender, stopwatch.elapsed, {"outcome": str(error)})

    def _start(self, budget: int) -> Contender:
        return self.entry.start(self.case, self.comparison.sources[self.case.source], budget)

    def _record(self, cell: Cell, contender: Contender, seconds: float) -> None:
        """Judges a contender, and writes its samples, then its line: a line always has its picture."""
        try:
            images = opaque(contender.sample(self.judges.count))
        except DivergenceError as error:
            self._add(cell, contender, seconds, {"outcome": str(error)})
            return
        path = self.comparison.results.samples(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        image_grid(_shown(images), COLUMNS).save(path)
        self._add(cell, contender, seconds, {"outcome": "trained", "scores": self.judges.score(images)})

    def _add(self, cell: Cell, contender: Contender, seconds: float, outcome: dict[str, object]) -> None:
        line = {
            "seconds": round(seconds, 2),
            "images": contender.images_seen,
            "images_per_second": round(contender.images_seen / seconds, 2),
            "precision": contender.precision,
            **outcome,
            "samples": self.judges.count,
            "floor": self.judges.floor,
            "judge": self.judges.name,
            "settings": self.settings,
        }
        self.comparison.results.add(cell, line)
        print(_told(cell, line), flush=True)


def images_per_second(contender: Contender, clock: Clock, seconds: float) -> float:
    """Trains a contender for ``seconds``, one step at least, and returns its speed."""
    stopwatch, elapsed = Stopwatch(clock), [0.0]

    def reached(mark: float, at: float) -> None:
        elapsed[0] = at

    try:
        contender.train(Marks(stopwatch, [seconds], reached).after_step)
    except TimeUp:
        return contender.images_seen / elapsed[0]
    raise AssertionError("a pilot has no budget that could end it")


def _shown(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images[: COLUMNS**2]


def _told(cell: Cell, line: dict[str, object]) -> str:
    scores = line.get("scores")
    result = (
        ", ".join(f"{metric} {scores[metric]:.4g}" for metric in METRICS if metric in scores)
        if isinstance(scores, dict)
        else line["outcome"]
    )
    return (
        f"{cell.case}, {cell.contender}, {cell.minutes:g} min: {result} "
        f"({line['images']} images, {line['images_per_second']:.4g} a second, in {line['seconds']:.4g} s)"
    )
