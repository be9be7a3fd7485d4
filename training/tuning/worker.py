"""Runs one worker: one trial after the other, then re-runs, until the study is complete."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from training.config.schema import Config
from training.console import console
from training.tuning.study.pruning import PRESET, AshaPruner
from training.tuning.study.queue import ClaimedTrial, Queue
from training.tuning.study.study import BUDGET, ENDED, FINDINGS, IMAGES, OF, SCORES, SEED, SETTINGS, Study
from training.tuning.trial.findings import findings_of
from training.tuning.trial.memory import release_memory
from training.tuning.trial.run import Report, Result, Stopped, TrialPruned, delete_checkpoints, train

POLL_SECONDS = 1.0
"""Interval between two looks at the runs of other workers."""


def work(study: Study, trials: int, seeds: int, final_images: int | None = None) -> None:
    """Returns once ``trials`` trials, the re-runs of the best and the winner's final run are done by all workers.

    Raises ``Stopped`` on SIGTERM or Ctrl-C during a run.
    """
    _until_done(study.search, lambda claim: _run_trial(study, claim), trials)
    study.plan_reruns(seeds)
    _until_done(study.reruns, lambda claim: _run_again(study, claim), None)
    if final_images:
        study.plan_final(final_images)
        _until_done(study.finals, lambda claim: _run_final(study, claim), None)


def _until_done(queue: Queue, run: Callable[[ClaimedTrial], None], limit: int | None) -> None:
    reported = False
    while True:
        with queue.claimed(limit) as claim:
            if claim:
                run(claim)
                release_memory()
                continue
        if not queue.busy():
            if limit is None or len(queue.trials) >= limit:
                return
        elif not reported:
            console.print("waiting for other workers' runs", highlight=False, soft_wrap=True)
            reported = True
        time.sleep(POLL_SECONDS)


def _run_trial(study: Study, claim: ClaimedTrial) -> None:
    def report(value: float, step: int) -> str | None:
        claim.trial.report(value, step)
        if not claim.trial.should_prune():
            return None
        pruner = study.search.study.pruner
        assert isinstance(pruner, AshaPruner)
        frozen = next(trial for trial in study.search.trials if trial.number == claim.trial.number)
        rank, count = pruner.rank(study.search.study, frozen, step)
        return f"place {rank} of {count} after {step} images"

    settings = study.draw(claim.trial, claim.identity)
    config = study.plan.config(settings)
    if config.doctor == "watch" and claim.identity != PRESET:
        config = config.model_copy(update={"doctor": "stop"})  # a lost run is not worth the rest of its budget
    folder = study.trial_folder(claim.identity)
    _train(study, study.search, claim, f"trial {claim.identity}", folder, config, report)


def _run_again(study: Study, claim: ClaimedTrial) -> None:
    attributes = claim.trial.user_attrs
    name = f"trial {attributes[OF]} with seed {attributes[SEED]}"
    config = study.plan.config(attributes[SETTINGS], attributes[SEED])
    _train(study, study.reruns, claim, name, study.rerun_folder(claim.trial), config, _unpruned(claim), confirm=True)


def _run_final(study: Study, claim: ClaimedTrial) -> None:
    attributes = claim.trial.user_attrs
    name = f"trial {attributes[OF]} for {attributes[BUDGET]} images"
    config = study.plan.config(attributes[SETTINGS], attributes[SEED], attributes[BUDGET])
    _train(study, study.finals, claim, name, study.final_folder(claim.trial), config, _unpruned(claim), confirm=True)


def _unpruned(claim: ClaimedTrial) -> Report:
    def report(value: float, step: int) -> str | None:
        claim.trial.report(value, step)
        return None

    return report


def _train(
    study: Study,
    queue: Queue,
    claim: ClaimedTrial,
    name: str,
    path: Path,
    config: Config,
    report: Report,
    confirm: bool = False,
) -> None:
    """Trains and reports the result to the study; ``confirm`` takes it on other noise than that which chose it.

    An interrupted run is left to the next worker.
    """
    drawn = claim.trial.user_attrs.get(SETTINGS, {})
    try:
        outcome = _report_result(
            queue.study, claim.trial, path, lambda: train(path, config, drawn, study.context, report, confirm)
        )
    except UpdateFinishedTrialError:
        # No heartbeat for too long: another worker has the trial now.
        outcome = "this worker was presumed dead, and another one continues the trial"
    except BaseException as error:
        # If the storage does not answer, other workers detect the lost trial.
        with suppress(OSError, SQLAlchemyError, StorageInternalError, UpdateFinishedTrialError):
            queue.release(claim, None if _blameless(error) else f"{type(error).__name__}: {_first_line(error)}")
        raise
    else:
        delete_checkpoints(path)
    console.print(f"{name}: {outcome}", highlight=False, soft_wrap=True)


def _report_result(study: optuna.Study, trial: optuna.Trial, path: Path, run: Callable[[], Result]) -> str:
    """Runs, reports the result and the doctor's findings to the study, and returns the result in words."""
    try:
        result = run()
    except TrialPruned as pruned:
        trial.set_user_attr(FINDINGS, findings_of(path))
        trial.set_user_attr(ENDED, str(pruned))
        trial.set_user_attr(IMAGES, pruned.images_seen)
        study.tell(trial, state=TrialState.PRUNED)
        return f"ended early, {pruned}"
    trial.set_user_attr(FINDINGS, findings_of(path))
    trial.set_user_attr(SCORES, result.scores)
    trial.set_user_attr(IMAGES, result.images_seen)
    study.tell(trial, result.value)
    return f"{result.value:.3f}"


def _blameless(error: BaseException) -> bool:
    """Returns whether an error could stop any trial: a request to stop, a disk, a storage."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Stopped | KeyboardInterrupt | OSError | SQLAlchemyError | StorageInternalError):
            return True
        cause = cause.__cause__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:500]
