"""Reports a run while it trains: metrics, sample grids, scores and checkpoints, each at its own interval.

In a training of several processes, only the first one reports.
"""

import copy
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.data.loader import batch_indices
from training.data.split import training_indices
from training.files import atomic_file
from training.loop.callbacks import Callback, passed_multiple
from training.loop.state import Best, TrainingState
from training.loop.treatment import Decision
from training.parallel.stopping import unless_stopped
from training.runs.checkpoints import read_best, save_checkpoint, write_tensors
from training.runs.folder import RunFolder
from training.runs.json_lines import METRICS_FILE, SCORES_FILE, append_line, read_lines, truncate_after
from training.runs.loggers import run_loggers
from training.runs.run_doctor import RunDoctor
from training.runs.sampling import grid_inputs, image_grid, sample, side_by_side


class Judge(Protocol):
    """Scores a generator, always on the same noise."""

    name: str
    """The name of its distance, such as ``fxd-mnist-0123abcd``."""
    samples: int
    """Images of each score. Scores on other numbers of images do not compare: a distance falls as they grow."""
    noise_baseline: dict[str, float]
    """The scores of noise in place of generated images."""

    def score(self, generator: nn.Module) -> dict[str, float]:
        """Returns scores by name; among them ``fxd``, the distance, where smaller is better."""


class Reporter(Callback):
    """Writes everything that people and other programs see of a run."""

    def __init__(
        self,
        run: RunFolder,
        data: TrainingImages,
        state: TrainingState,
        open_judge: Callable[[], Judge] | None,
        quiet: bool = False,
    ) -> None:
        """Continues from the state. ``quiet`` omits the lines on the console, as for the trials of a study.

        ``open_judge`` is called at the first score, because it may have to train the judge. It is None for a run
        without a judge.
        """
        self._run, self._data, self._state = run, data, state
        self._open_judge = open_judge
        self._judge: Judge | None = None
        lines = state.logged.get(METRICS_FILE)
        self._loggers = run_loggers(run.path, state.images_seen, run.config.images, quiet, lines)
        self._doctor = RunDoctor(run, data, state, self._loggers)
        self._noise, self._label = grid_inputs(run.config.network.noise_dim, run.labels)
        self._columns = min(run.labels, 10) or 10
        self._reals = _reals_of_grid(data, run.config, self._label, len(self._noise))
        truncate_after(run.scores, state.images_seen, state.logged.get(SCORES_FILE))
        self._scored_at = state.images_seen
        self.score_due = self._left_out_a_score()
        """Whether the score of this step is missing: a stop has interrupted the training of the judge."""
        self._tick_began = time.perf_counter()
        self._scoring_seconds = 0.0

    def __enter__(self) -> "Reporter":
        for logger in self._loggers:
            logger.start()
        self._doctor.start()
        if self._state.images_seen == 0:
            _save(image_grid(self._reals, self._columns), self._run.path / "reals.png")
            self._draw(0)
        if self.score_due:
            self._score(self._state.images_seen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as closing:  # closes the others, too, if one cannot write its last line
            for logger in self._loggers:
                closing.callback(logger.close)

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        """Logs the means since the last tick, and ``judge_share``: the share of that time spent on scoring."""
        if not means:
            return
        now = time.perf_counter()
        values = {**means, "judge_share": self._scoring_seconds / (now - self._tick_began)}
        self._tick_began, self._scoring_seconds = now, 0.0
        for logger in self._loggers:
            logger.metrics(images_seen, values)

    def row(self, images_seen: int, number: int, signals: dict[str, float]) -> None:
        """Shows the signals to the doctor."""
        self._doctor.row(images_seen, number, signals)

    def decide(self, images_seen: int) -> Decision | None:
        """Returns what the doctor proposes."""
        return self._doctor.decide(images_seen)

    def diverged(self, images_seen: int) -> Decision | None:
        """Returns the doctor's treatment of weights that are NaN or infinite; None if it has none left."""
        return self._doctor.diverged(images_seen)

    def step(self, before: int, images_seen: int) -> None:
        """Draws, scores and saves when an interval has passed; at the end ``finish`` draws and saves."""
        config = self._run.config
        last = images_seen >= config.images
        for logger in self._loggers:
            logger.step(images_seen)
        if passed_multiple(before, images_seen, config.pace.samples) and not last:
            self._draw(images_seen)
        if config.judge and passed_multiple(before, images_seen, config.judge.every):
            self._score(images_seen)
        if passed_multiple(before, images_seen, config.pace.checkpoint):
            self._doctor.saving()
            save_checkpoint(self._state, self._run.checkpoints)

    def scored(self, images_seen: int, scores: list[dict[str, Any]]) -> None:
        """Receives the scores of every EMA generator, as in ``scores.jsonl``. By default does nothing."""

    def finish(self) -> None:
        """Scores if the budget is spent, draws, and saves the last step."""
        seen = self._state.images_seen
        if seen >= self._run.config.images and self._scored_at != seen and not self.score_due:
            self._score(seen)
        self._draw(seen)
        save_checkpoint(self._state, self._run.checkpoints)

    def _draw(self, images_seen: int) -> None:
        fakes = image_grid(sample(self._state.ema, self._noise, self._label), self._columns)
        grid = side_by_side(fakes, image_grid(self._reals, self._columns))
        _save(grid, self._run.samples / f"{images_seen:012d}.png")
        for logger in self._loggers:
            logger.picture(images_seen, "samples", grid)
        if images_seen:
            from training.runs.plots import plot_run  # imports matplotlib, which would delay the first step

            plot_run(self._run)

    def _score(self, images_seen: int) -> None:
        """Scores every EMA generator, and keeps the best one so far in ``best.pt``."""
        if self._open_judge is None:
            return
        began, lines = time.perf_counter(), []
        judge = self._judge or self._first_judge(self._open_judge)
        self.score_due = judge is None
        if judge is None:
            return
        before = self._state.best
        for half_life, generator in self._state.emas.items():
            scores = judge.score(generator)
            line = {"images_seen": images_seen, "half_life": half_life, **_scored_by(judge), **scores}
            lines.append(line)
            append_line(self._run.scores, line)
            for logger in self._loggers:
                logger.scores(images_seen, half_life, scores)
            if self._state.best is None or scores["fxd"] < self._state.best.score:
                self._state.best = Best(scores["fxd"], images_seen, half_life)
                write_tensors(self._run.best, {"generator": generator.state_dict(), **line})
        self._scored_at = images_seen
        best = min(lines, key=lambda line: float(line["fxd"]))
        self._doctor.scored(images_seen, best, judge.noise_baseline.get("fxd"), self._state.best != before)
        self._scoring_seconds += time.perf_counter() - began
        self.scored(images_seen, lines)

    def _score_best_again(self, judge: Judge) -> None:
        """Scores ``best.pt`` as the run is scored now, if an earlier version did it on another number of images."""
        if self._state.best is None or not self._run.best.exists():
            return
        best = read_best(self._run.best)
        assert self._run.config.judge is not None
        if best.get("samples", self._run.config.judge.samples) == judge.samples:
            return
        generator = copy.deepcopy(self._state.emas[best["half_life"]])
        generator.load_state_dict(best["generator"])
        scores = judge.score(generator)
        self._state.best = Best(scores["fxd"], best["images_seen"], best["half_life"])
        write_tensors(self._run.best, {**best, **_scored_by(judge), **scores})

    def _first_judge(self, open_judge: Callable[[], Judge]) -> Judge | None:
        """Returns the judge; None if a stop is requested before it is trained. Raises what its training raises."""

        def keep() -> None:
            judge = open_judge()
            self._score_best_again(judge)
            self._judge = judge

        try:
            unless_stopped(keep)
        except Exception:
            save_checkpoint(self._state, self._run.checkpoints)  # an error of the judge must not cost steps
            raise
        return self._judge

    def _left_out_a_score(self) -> bool:
        """Returns whether the step that the state comes from should have been scored, and was not."""
        config, seen = self._run.config, self._state.images_seen
        if config.judge is None or self._open_judge is None or seen == 0:
            return False
        due = seen >= config.images or passed_multiple(seen - config.batch_size, seen, config.judge.every)
        return due and all(line["images_seen"] != seen for line in read_lines(self._run.scores))


def _save(picture: Image.Image, path: Path) -> None:
    with atomic_file(path, one_writer=True) as file:
        picture.save(file, "PNG")


def _scored_by(judge: Judge) -> dict[str, Any]:
    return {"judge": judge.name, "samples": judge.samples}


def _reals_of_grid(data: TrainingImages, config: Config, label: Tensor | None, count: int) -> NDArray[np.uint8]:
    """Returns the first real images in training order, uint8 [N, H, W, C], with the given labels if there are any."""
    training = training_indices(len(data), config.data.holdout)
    order = training[batch_indices(len(training), config.seed, 0, len(training))]
    if label is None or data.labels is None:
        return data.images[np.resize(order, count)]
    ordered_labels = data.labels[order]
    chosen = np.empty(count, dtype=np.int64)
    for value in np.unique(label.numpy()):
        cells = np.flatnonzero(label.numpy() == value)
        chosen[cells] = np.resize(order[ordered_labels == value], len(cells))
    return data.images[chosen]
