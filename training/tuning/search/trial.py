"""One run of a study: begun, or gone on with where a worker left it, judged at every rung, ended early if it fails."""

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.errors import DivergenceError, TrainingError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.network import Judge
from training.loop.callbacks import passed_multiple
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.parallel.distributed import Processes
from training.runs.checkpoints import load_checkpoint
from training.runs.folder import RunFolder
from training.runs.json_lines import truncate_after
from training.runs.reporter import Reporter
from training.tuning.search.failures import FailureWatch
from training.tuning.search.memory import NOT_TO_SCORE, NOT_TO_TRAIN, memory_of_other_processes, ran_out_of_memory
from training.tuning.search.objective import best_of, objective
from training.tuning.search.pruning import judge_every
from training.tuning.search.trial_folder import newest_checkpoint, open_run

Report = Callable[[float, int], str | None]
"""Takes the objective after so many images; the answer, if any, is why the run ends here."""

CHECKS = 20
"""How often in a budget a run is looked at for failure, and saved."""


class TrialPruned(Exception):  # noqa: N818 - what it says is a result
    """A run is not worth the rest of its budget; its text says why."""

    def __init__(self, reason: str, images_seen: int = 0) -> None:
        super().__init__(reason)
        self.images_seen = images_seen


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """The run was asked to stop, and has saved where it is."""


@dataclass(frozen=True)
class TrialContext:
    """What every run of a study shares."""

    source: str
    data: TrainingImages
    judge: Judge
    processes: Processes


@dataclass(frozen=True)
class Result:
    """What has become of a run."""

    value: float
    """The objective of the generator in ``best.pt``."""
    scores: dict[str, Any]
    """What the judge says of it, as in ``scores.jsonl``."""
    images_seen: int


FIXED = ("seed", "images")
"""What tells a run from others of its study beside the settings that were drawn for it."""


def fixed_settings(images: int) -> dict[str, Any]:
    """What is the same for all runs of a study beside the space's settings: the budget, and when a run is judged."""
    return {
        "images": images,
        "judge.every": judge_every(images),
        "pace.tick": max(1, images // 100),
        "pace.samples": 2 * images,  # at the end alone
        "pace.checkpoint": max(1, images // CHECKS),
    }


def train(path: Path, config: Config, own: Collection[str], workshop: TrialContext, report: Report) -> Result:
    """Trains in a folder until the budget is spent; ``own`` are the keys of what was drawn for this run.

    Raises ``TrialPruned`` if the run fails or ``report`` says so, ``Stopped`` on SIGTERM or Ctrl-C, ``TrainingError``
    if it cannot go on for reasons that are none of the settings'.
    """
    run = open_run(path, [*own, *FIXED], config, workshop.source, workshop.data)
    judge = _judge(run, workshop)
    labels = len(workshop.data.label_names or ()) if config.conditional else 0
    with _enough_memory(NOT_TO_TRAIN, workshop):
        state = TrainingState(run.config, labels, workshop.processes.device)
        if content := newest_checkpoint(run):
            load_checkpoint(state, content)
    truncate_after(run.scores, state.images_seen)
    try:
        for line in _by_time(_lines(run)):
            _ask(report, objective(line, judge), _step(line["images_seen"], run.config))
        callback = _TrialReporter(run, workshop, state, judge, report)
        with _enough_memory(NOT_TO_TRAIN, workshop):
            finished = fit(run.config, workshop.data, state, workshop.processes, callback)
    except TrialPruned as end:
        raise TrialPruned(str(end), state.images_seen) from None
    except DivergenceError as error:
        raise TrialPruned(str(error).partition(". ")[0], state.images_seen) from error
    if not finished:
        raise Stopped
    best = best_of(_lines(run))
    return Result(objective(best, judge), best, state.images_seen)


def delete_checkpoints(path: Path) -> None:
    """Removes what only a run that goes on needs; the best generator stays."""
    shutil.rmtree(path / "checkpoints", ignore_errors=True)


class _TrialReporter(Reporter):
    """Reports as every run does, and to the study."""

    def __init__(
        self, run: RunFolder, workshop: TrialContext, state: TrainingState, judge: LoopJudge, report: Report
    ) -> None:
        super().__init__(run, workshop.data, state, judge, quiet=True)
        self._workshop = workshop
        self._config, self._trained, self._loop_judge, self._report = run.config, state, judge, report
        self._watch = FailureWatch(run.config.network.noise_dim, run.labels, run.config.images, run.config.batch_size)

    def __enter__(self) -> "_TrialReporter":
        with _enough_memory(NOT_TO_SCORE, self._workshop):
            super().__enter__()
        return self

    def step(self, before: int, images_seen: int) -> None:
        """Ends the run if it has failed."""
        with _enough_memory(NOT_TO_SCORE, self._workshop):
            super().step(before, images_seen)
            if passed_multiple(before, images_seen, self._config.pace.checkpoint):
                failure = self._watch.check(images_seen, self._trained.generator)
                if failure:
                    raise TrialPruned(failure)

    def finish(self) -> None:
        """Scores, draws and saves for the last time."""
        with _enough_memory(NOT_TO_SCORE, self._workshop):
            super().finish()

    def scored(self, images_seen: int, scores: list[dict[str, Any]]) -> None:
        """Tells the study, which may end the run."""
        _ask(self._report, objective(best_of(scores), self._loop_judge), _step(images_seen, self._config))


def _ask(report: Report, value: float, step: int) -> None:
    reason = report(value, step)
    if reason:
        raise TrialPruned(reason)


def _step(images_seen: int, config: Config) -> int:
    """The images seen to a multiple that is the same for every batch size, so that trials meet at it."""
    if images_seen >= config.images:
        return config.images
    assert config.judge is not None
    return images_seen // config.judge.every * config.judge.every


def _judge(run: RunFolder, workshop: TrialContext) -> LoopJudge:
    config = run.config
    assert config.judge is not None
    try:
        return LoopJudge(
            workshop.data, config.judge.samples, workshop.judge, config.network.noise_dim, config.conditional
        )
    except Exception as error:
        if ran_out_of_memory(error):
            raise TrainingError(
                "the device has too little memory to look at the real images, which no setting of a trial changes"
                f"{memory_of_other_processes(workshop.processes.device)}; free some, and start the same command again"
            ) from error
        raise


@contextmanager
def _enough_memory(reason: str, workshop: TrialContext) -> Iterator[None]:
    """Ends the run for this reason where memory runs out."""
    try:
        yield
    except TrialPruned:
        raise
    except Exception as error:
        if ran_out_of_memory(error):
            raise TrialPruned(reason + memory_of_other_processes(workshop.processes.device)) from error
        raise


def _lines(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.scores.read_text().splitlines()] if run.scores.exists() else []


def _by_time(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each scoring the best average, in order."""
    moments = dict.fromkeys(line["images_seen"] for line in lines)
    return [best_of([line for line in lines if line["images_seen"] == moment]) for moment in moments]
