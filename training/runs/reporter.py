"""What the first process does beside training: reports, pictures, scores and checkpoints, each at its own pace."""

import json
import time
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from training.data.dataset import TrainingImages
from training.data.loader import batch_indices
from training.loop.callbacks import Callback, passed_multiple
from training.loop.state import Best, TrainingState
from training.runs.checkpoints import save_checkpoint, write_tensors
from training.runs.folder import RunFolder
from training.runs.loggers import Monitor, truncate_after
from training.runs.sampling import grid_inputs, image_grid, sample, side_by_side


class Judge(Protocol):
    """Scores a generator on noise that is always the same."""

    name: str
    """Of its distance, such as ``fxd-mnist-0123abcd``."""

    def score(self, generator: nn.Module) -> dict[str, float]:
        """Measurements by name, among them ``fxd``, the distance: smaller is better."""


class Reporter(Callback):
    """Everything of a run that people and other programs see."""

    def __init__(
        self, run: RunFolder, data: TrainingImages, state: TrainingState, judge: Judge | None, quiet: bool = False
    ) -> None:
        """Takes up where the state is; ``quiet`` leaves out the lines that are for somebody who waits for this run."""
        self._run, self._data, self._state, self._judge = run, data, state, judge
        self._monitor = Monitor(run.path, state.images_seen, run.config.images, quiet)
        self._noise, self._label = grid_inputs(run.config.network.noise_dim, run.labels)
        self._columns = min(run.labels, 10) or 10
        self._reals = _reals_beside(data, run.config.seed, self._label, len(self._noise))
        self._judged = state.images_seen
        self._judging = 0.0
        truncate_after(run.scores, state.images_seen)

    def __enter__(self) -> "Reporter":
        self._monitor.start()
        if self._state.images_seen == 0:
            image_grid(self._reals, self._columns).save(self._run.path / "reals.png")
            self._draw(0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._monitor.stop()

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        """Writes what was measured wherever somebody may look."""
        if means:
            self._monitor.tick(images_seen, means, self._judging)
            self._judging = 0.0

    def step(self, before: int, images_seen: int) -> None:
        """Draws, scores and saves where it is time to."""
        config = self._run.config
        self._monitor.step(images_seen)
        if passed_multiple(before, images_seen, config.pace.samples):
            self._draw(images_seen)
        if config.judge and passed_multiple(before, images_seen, config.judge.every):
            self._score(images_seen)
        if passed_multiple(before, images_seen, config.pace.checkpoint):
            save_checkpoint(self._state, self._run.checkpoints)

    def scored(self, images_seen: int, scores: list[dict[str, Any]]) -> None:
        """Is told what the judge says of each averaged generator, as in ``scores.jsonl``."""

    def finish(self) -> None:
        """The last score if the budget is spent, the last pictures, and a checkpoint of the last step."""
        seen = self._state.images_seen
        if seen >= self._run.config.images and self._judged != seen:
            self._score(seen)
        self._draw(seen)
        save_checkpoint(self._state, self._run.checkpoints)

    def _draw(self, images_seen: int) -> None:
        from training.runs.plots import plot_run  # matplotlib takes half a second to import

        fakes = image_grid(sample(self._state.ema, self._noise, self._label), self._columns)
        reals = image_grid(self._reals, self._columns)
        self._monitor.picture(self._run.samples / f"{images_seen:012d}.png", side_by_side(fakes, reals), images_seen)
        plot_run(self._run)

    def _score(self, images_seen: int) -> None:
        """Scores every averaged generator; the best so far is kept in ``best.pt``."""
        if self._judge is None:
            return
        began, lines = time.perf_counter(), []
        for half_life, generator in self._state.emas.items():
            scores = self._judge.score(generator)
            line = {"images_seen": images_seen, "half_life": half_life, "judge": self._judge.name, **scores}
            lines.append(line)
            with self._run.scores.open("a") as file:
                file.write(json.dumps(line) + "\n")
            self._monitor.score(images_seen, half_life, scores)
            if self._state.best is None or scores["fxd"] < self._state.best.score:
                self._state.best = Best(scores["fxd"], images_seen, half_life)
                write_tensors(self._run.best, {"generator": generator.state_dict(), **line})
        self._judged = images_seen
        self._judging += time.perf_counter() - began
        self.scored(images_seen, lines)


def _reals_beside(data: TrainingImages, seed: int, label: Tensor | None, count: int) -> NDArray[np.uint8]:
    """The first real images uint8 [N, H, W, C] of the training's order, of the given labels where there are any."""
    order = batch_indices(len(data), seed, 0, len(data))
    if label is None or data.labels is None:
        return data.images[np.resize(order, count)]
    ordered = data.labels[order]
    chosen = np.empty(count, dtype=np.int64)
    for value in np.unique(label.numpy()):
        places = np.flatnonzero(label.numpy() == value)
        chosen[places] = np.resize(order[ordered == value], len(places))
    return data.images[chosen]
