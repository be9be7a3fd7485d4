"""What one worker does: a trial after the other, then re-runs, until the study needs nothing more."""

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
from training.tuning.search.memory import release_memory
from training.tuning.search.pruning import AshaPruner
from training.tuning.search.queue import Claim, Queue
from training.tuning.search.study import BUDGET, ENDED, IMAGES, OF, SCORES, SEED, SETTINGS, Study
from training.tuning.search.trial import Result, Stopped, TrialPruned, delete_checkpoints, train

PATIENCE_SECONDS = 1.0
"""Between two looks at what other workers do."""


def work(study: Study, trials: int, seeds: int, final_images: int | None = None) -> None:
    """Returns when ``trials`` trials, the re-runs of the best and the winner's final run are done, by whomever.

    Raises ``Stopped`` on SIGTERM or Ctrl-C during a run.
    """
    _until_done(study.search, lambda claim: _search(study, claim), trials)
    study.plan_reruns(seeds)
    _until_done(study.reruns, lambda claim: _rerun(study, claim), None)
    if final_images:
        study.plan_final(final_images)
        _until_done(study.finals, lambda claim: _run_finally(study, claim), None)


def _until_done(queue: Queue, run: Callable[[Claim], None], limit: int | None) -> None:
    told = False
    while True:
        with queue.claimed(limit) as claim:
            if claim:
                run(claim)
                release_memory()
                continue
        if not queue.busy():
            if limit is None or len(queue.trials) >= limit:
                return
        elif not told:
            console.print("waiting for other workers' runs", highlight=False, soft_wrap=True)
            told = True
        time.sleep(PATIENCE_SECONDS)


def _search(study: Study, claim: Claim) -> None:
    def report(value: float, step: int) -> str | None:
        claim.trial.report(value, step)
        if not claim.trial.should_prune():
            return None
        pruner = study.search.study.pruner
        assert isinstance(pruner, AshaPruner)
        frozen = next(trial for trial in study.search.trials if trial.number == claim.trial.number)
        place, count = pruner.place(study.search.study, frozen, step)
        return f"place {place} of {count} after {step} images"

    path = study.trial_folder(claim.identity)
    settings = study.draw(claim.trial, claim.identity)
    _finish(
        study.search,
        claim,
        f"trial {claim.identity}",
        path,
        lambda: train(path, study.plan.config(settings), settings, study.workshop, report),
    )


def _rerun(study: Study, claim: Claim) -> None:
    attributes = claim.trial.user_attrs
    name = f"trial {attributes[OF]} with seed {attributes[SEED]}"
    config = study.plan.config(attributes[SETTINGS], attributes[SEED])
    _run_to_the_end(study, study.reruns, claim, name, study.rerun_folder(claim.trial), config)


def _run_finally(study: Study, claim: Claim) -> None:
    attributes = claim.trial.user_attrs
    name = f"trial {attributes[OF]} for {attributes[BUDGET]} images"
    config = study.plan.config(attributes[SETTINGS], attributes[SEED], attributes[BUDGET])
    _run_to_the_end(study, study.finals, claim, name, study.final_folder(claim.trial), config)


def _run_to_the_end(study: Study, queue: Queue, claim: Claim, name: str, path: Path, config: Config) -> None:
    def report(value: float, step: int) -> str | None:
        claim.trial.report(value, step)
        return None

    own = claim.trial.user_attrs[SETTINGS]
    _finish(queue, claim, name, path, lambda: train(path, config, own, study.workshop, report))


def _finish(queue: Queue, claim: Claim, name: str, path: Path, run: Callable[[], Result]) -> None:
    """Runs, and tells the study what has come of it; whatever cuts the run short leaves it to the next worker."""
    try:
        said = _run_and_tell(queue.study, claim.trial, run)
    except UpdateFinishedTrialError:
        # Too long without a sign of life: another worker has the trial now.
        said = "this worker was taken for dead, and another one goes on with it"
    except BaseException as error:
        # Where it cannot be told, it will be noticed.
        with suppress(OSError, SQLAlchemyError, StorageInternalError, UpdateFinishedTrialError):
            queue.cut_short(claim, None if _blameless(error) else f"{type(error).__name__}: {_first_line(error)}")
        raise
    else:
        delete_checkpoints(path)
    console.print(f"{name}: {said}", highlight=False, soft_wrap=True)


def _run_and_tell(study: optuna.Study, trial: optuna.Trial, run: Callable[[], Result]) -> str:
    """What has come of a run, in words."""
    try:
        result = run()
    except TrialPruned as end:
        trial.set_user_attr(ENDED, str(end))
        trial.set_user_attr(IMAGES, end.images_seen)
        study.tell(trial, state=TrialState.PRUNED)
        return f"ended early, {end}"
    trial.set_user_attr(SCORES, result.scores)
    trial.set_user_attr(IMAGES, result.images_seen)
    study.tell(trial, result.value)
    return f"{result.value:.3f}"


def _blameless(error: BaseException) -> bool:
    """Whether an error would have met any trial: a request to stop, a disk, a storage."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, Stopped | KeyboardInterrupt | OSError | SQLAlchemyError | StorageInternalError):
            return True
        found = found.__cause__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no words"])[0][:500]
