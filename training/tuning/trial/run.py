"""Trains one run of a study: starts or resumes it, judges it at every rung, and ends it early if it fails."""

import json
import math
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
from training.evaluation.seeds import CHOOSING, CONFIRMING
from training.loop.callbacks import passed_multiple
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.parallel.distributed import Processes
from training.runs.best_checkpoint import load_best_generator
from training.runs.checkpoints import load_checkpoint
from training.runs.folder import RunFolder
from training.runs.json_lines import SCORES_FILE, truncate_after
from training.runs.reporter import Reporter
from training.tuning.trial.failures import FailureDetector
from training.tuning.trial.folder import newest_checkpoint, open_run
from training.tuning.trial.memory import (
    OOM_IN_SCORING,
    OOM_IN_TRAINING,
    memory_of_other_processes,
    ran_out_of_memory,
)
from training.tuning.trial.objective import best_of, objective

Report = Callable[[float, int], str | None]
"""Takes the objective and the images seen. Returns the reason to end the run here, or None to continue."""

CHECKS_PER_BUDGET = 20
"""How often per budget a run is checked for failure, and saved."""

FIRST_RUNG = 0.15
"""Share of the budget. Among healthy runs, the rank at 4 % hardly predicts the final one; at 16 % it nearly does."""

RUN_SETTINGS = ("seed", "images")
"""Settings that distinguish runs of a study beside those drawn from the space."""


class TrialPruned(Exception):  # noqa: N818 - a result, not an error
    """Raised if a run is not worth the rest of its budget; its text gives the reason."""

    def __init__(self, reason: str, images_seen: int = 0) -> None:
        super().__init__(reason)
        self.images_seen = images_seen


class Stopped(Exception):  # noqa: N818 - a request, not an error
    """Raised after a run was asked to stop and has saved a checkpoint."""


@dataclass(frozen=True)
class TrialContext:
    """What every run of a study shares."""

    source: str
    data: TrainingImages
    judge: Judge
    processes: Processes


@dataclass(frozen=True)
class Result:
    """The outcome of a run that spent its budget."""

    value: float
    """The objective of the generator in ``best.pt``."""
    scores: dict[str, Any]
    """The scores of that generator, as in ``scores.jsonl``; of a confirmation, on other noise."""
    images_seen: int


def judge_every(images: int) -> int:
    """Returns the images between two scorings of a budget, so that every rung is a scoring."""
    return math.ceil(FIRST_RUNG * images)


def fixed_settings(images: int) -> dict[str, Any]:
    """Returns the settings that all runs of a budget share: the budget, and when a run is judged and saved."""
    return {
        "images": images,
        "judge.every": judge_every(images),
        "pace.tick": max(1, images // 100),
        "pace.samples": 2 * images,  # only at the end
        "pace.checkpoint": max(1, images // CHECKS_PER_BUDGET),
    }


def train(
    path: Path, config: Config, drawn: Collection[str], context: TrialContext, report: Report, confirm: bool = False
) -> Result:
    """Trains in a folder until the budget is spent; ``drawn`` are the keys of the settings drawn for this run.

    ``confirm`` scores the best generator once more, on other noise than that which chose it. Raises ``TrialPruned`` if
    the run fails or ``report`` returns a reason, ``Stopped`` on SIGTERM or Ctrl-C, and ``TrainingError`` if it cannot
    continue for a reason that no setting changes.
    """
    run = open_run(path, [*drawn, *RUN_SETTINGS], config, context.source, context.data)
    judge = _open_judge(run, context)
    labels = len(context.data.label_names or ()) if config.conditional else 0
    with _pruned_without_memory(OOM_IN_TRAINING, context):
        state = TrainingState(run.config, labels, context.processes.device)
        if content := newest_checkpoint(run):
            load_checkpoint(state, content)
    truncate_after(run.scores, state.images_seen, state.logged.get(SCORES_FILE))
    try:
        for line in _best_per_scoring(_score_lines(run)):
            _report_or_prune(report, objective(line, judge), _shared_step(line["images_seen"], run.config))
        callback = _TrialReporter(run, context, state, judge, report)
        with _pruned_without_memory(OOM_IN_TRAINING, context):
            finished = fit(run.config, context.data, state, context.processes, callback)
    except TrialPruned as pruned:
        raise TrialPruned(str(pruned), state.images_seen) from None
    except DivergenceError as error:
        raise TrialPruned(str(error).partition(". ")[0], state.images_seen) from error
    if not finished and state.given_up:
        raise TrialPruned(f"the doctor gave it up: {state.given_up}", state.images_seen)
    if not finished:
        raise Stopped
    best = best_of(_score_lines(run))
    if confirm:
        with _pruned_without_memory(OOM_IN_SCORING, context):
            generator = load_best_generator(run, context.processes.device).network
            best = {**best, **_open_judge(run, context, seed=CONFIRMING).score(generator)}
    return Result(objective(best, judge), best, state.images_seen)


def delete_checkpoints(path: Path) -> None:
    """Deletes the files that only a resumed run needs; the best generator stays."""
    shutil.rmtree(path / "checkpoints", ignore_errors=True)


class _TrialReporter(Reporter):
    """Reports like that of any run, and also to the study."""

    def __init__(
        self, run: RunFolder, context: TrialContext, state: TrainingState, judge: LoopJudge, report: Report
    ) -> None:
        super().__init__(run, context.data, state, lambda: judge, quiet=True)
        self._context = context
        self._config, self._trained, self._loop_judge, self._report = run.config, state, judge, report
        self._failures = FailureDetector(
            run.config.network.noise_dim, run.labels, run.config.images, run.config.batch_size
        )

    def __enter__(self) -> "_TrialReporter":
        with _pruned_without_memory(OOM_IN_SCORING, self._context):
            super().__enter__()
        return self

    def step(self, before: int, images_seen: int) -> None:
        """Reports the step, and raises ``TrialPruned`` if the run has failed."""
        with _pruned_without_memory(OOM_IN_SCORING, self._context):
            super().step(before, images_seen)
            if passed_multiple(before, images_seen, self._config.pace.checkpoint):
                failure = self._failures.check(images_seen, self._trained.generator)
                if failure:
                    raise TrialPruned(failure)

    def finish(self) -> None:
        """Scores, samples and saves for the last time."""
        with _pruned_without_memory(OOM_IN_SCORING, self._context):
            super().finish()

    def scored(self, images_seen: int, scores: list[dict[str, Any]]) -> None:
        """Reports the best score to the study, which may prune the run."""
        value = objective(best_of(scores), self._loop_judge)
        _report_or_prune(self._report, value, _shared_step(images_seen, self._config))


def _report_or_prune(report: Report, value: float, step: int) -> None:
    reason = report(value, step)
    if reason:
        raise TrialPruned(reason)


def _shared_step(images_seen: int, config: Config) -> int:
    """Rounds the images seen down to a scoring that is the same for every batch size, so that trials compare at it."""
    if images_seen >= config.images:
        return config.images
    assert config.judge is not None
    return images_seen // config.judge.every * config.judge.every


def _open_judge(run: RunFolder, context: TrialContext, seed: int = CHOOSING) -> LoopJudge:
    config = run.config
    assert config.judge is not None
    try:
        return LoopJudge(
            context.data, config.judge.samples, context.judge, config.network.noise_dim, config.conditional, seed
        )
    except Exception as error:
        if ran_out_of_memory(error):
            raise TrainingError(
                "the device has too little memory for the features of the real images, which no setting of a trial "
                f"changes{memory_of_other_processes(context.processes.device)}; free some, and start the same command "
                "again"
            ) from error
        raise


@contextmanager
def _pruned_without_memory(reason: str, context: TrialContext) -> Iterator[None]:
    """Raises ``TrialPruned`` for this reason if memory runs out."""
    try:
        yield
    except TrialPruned:
        raise
    except Exception as error:
        if ran_out_of_memory(error):
            raise TrialPruned(reason + memory_of_other_processes(context.processes.device)) from error
        raise


def _score_lines(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.scores.read_text().splitlines()] if run.scores.exists() else []


def _best_per_scoring(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the line of the best EMA of each scoring, in order."""
    scorings = dict.fromkeys(line["images_seen"] for line in lines)
    return [best_of([line for line in lines if line["images_seen"] == scoring]) for scoring in scorings]
