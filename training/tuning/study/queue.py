"""Gives each trial to one worker at a time. No trial is lost, and none counts twice.

If a worker dies, its trial fails, and another trial with the same identity continues in the same folder. If two workers
enqueue the same work at the same moment, the trial with the lower number counts.
"""

import os
import platform
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from training.locks import FileLock
from training.tuning.study.storage import WORKER, Storage

MAX_ATTEMPTS = 10
"""A trial is abandoned after this many failed attempts in a row without progress."""
ERROR = "error"
"""The attribute with the error that ended an attempt."""

_IDENTITY, _DROPPED, _BLAMELESS = "identity", "dropped", "blameless"
_OF_ONE_ATTEMPT = (WORKER, ERROR, _BLAMELESS)
"""Attributes that the next attempt does not inherit."""


@dataclass(frozen=True)
class ClaimedTrial:
    """A trial that only this worker works on."""

    trial: optuna.Trial
    identity: int
    """The same for all attempts at a trial."""


def identity_of(trial: FrozenTrial) -> int:
    """Returns the number of a trial's first attempt, which all its attempts share."""
    identity: int = trial.user_attrs.get(_IDENTITY, trial.number)
    return identity


class Queue:
    """The trials of a study, waiting, running and finished."""

    def __init__(self, study: optuna.Study, storage: Storage, folder: Path, lock: FileLock) -> None:
        """Takes the study's ``lock``, held while a trial is chosen, and the ``folder`` of each trial's own lock."""
        self.study, self._storage, self._folder, self._lock = study, storage, folder, lock

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial that counts, by identity."""
        return sorted((trial for trial in self._all() if trial.state != TrialState.FAIL), key=identity_of)

    def add(self, identity: int, params: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Enqueues a trial unless it is or was in the queue."""
        with self._lock:
            if not any(identity_of(trial) == identity for trial in self._all()):
                self.study.enqueue_trial(dict(params), user_attrs={**attributes, _IDENTITY: identity})

    @contextmanager
    def claimed(self, limit: int | None = None) -> Iterator[ClaimedTrial | None]:
        """Claims the next waiting trial or, below ``limit`` trials, a new one. Yields None if there is neither."""
        with self._lock:
            self._replace_lost()
            claim = self._ask(limit)
            lock = None if claim is None else self._lock_of(claim.identity)
            held = lock is not None and lock.try_acquire()
        if claim is None or lock is None:
            yield None
            return
        if not held:  # a worker presumed dead still writes into the folder, until the storage rejects its report
            lock.acquire()
        try:
            with self._storage.alive(claim.trial):
                claim.trial.set_user_attr(WORKER, f"{platform.node()}:{os.getpid()}")
                yield claim
        finally:
            lock.release()

    def release(self, claim: ClaimedTrial, error: str | None) -> None:
        """Leaves a claimed trial to the next worker; ``error`` is None if the trial did not cause the interruption."""
        if error is None:
            claim.trial.set_user_attr(_BLAMELESS, True)
        else:
            claim.trial.set_user_attr(ERROR, error)
        self.study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True)

    def why_abandoned(self, identity: int) -> str | None:
        """Returns why a trial was abandoned, or None if it was not."""
        attempts = [
            trial for trial in self._all() if identity_of(trial) == identity and _DROPPED not in trial.user_attrs
        ]
        if not attempts or any(trial.state != TrialState.FAIL for trial in attempts):
            return None
        if _failures_in_a_row(attempts) < MAX_ATTEMPTS:
            return None
        last = attempts[-1].user_attrs.get(ERROR, "an unknown cause")
        return f"{MAX_ATTEMPTS} attempts failed, the last with {last}"

    def busy(self) -> bool:
        """Returns whether any trial runs or waits. Trials that lost their worker are enqueued again."""
        with self._lock:
            self._replace_lost()
        return any(not trial.state.is_finished() for trial in self.trials)

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _lock_of(self, identity: int) -> FileLock:
        return FileLock(self._folder / f"{identity:04d}.lock")

    def _ask(self, limit: int | None) -> ClaimedTrial | None:
        while True:
            counted = self.trials
            if not any(trial.state == TrialState.WAITING for trial in counted) and (
                limit is None or len(counted) >= limit
            ):
                return None
            trial = self.study.ask()
            identity = int(trial.user_attrs.get(_IDENTITY, trial.number))
            before = [other for other in self.trials if other.number < trial.number]
            duplicate = any(identity_of(other) == identity for other in before)
            # Workers on other machines share the database, but not this folder's lock, so they may ask at once.
            too_many = _IDENTITY not in trial.user_attrs and limit is not None and len(before) >= limit
            if not duplicate and not too_many:
                return ClaimedTrial(trial, identity)
            trial.set_user_attr(_DROPPED, True)
            self.study.tell(trial, state=TrialState.FAIL)

    def _replace_lost(self) -> None:
        for trial in self._all():
            if trial.state == TrialState.RUNNING and self._storage.lost_worker(
                self.study, trial, self._lock_of(identity_of(trial))
            ):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        attempts = defaultdict(list)
        for trial in self._all():
            if _DROPPED not in trial.user_attrs:
                attempts[identity_of(trial)].append(trial)
        for identity, failed in attempts.items():
            if all(trial.state == TrialState.FAIL for trial in failed) and _failures_in_a_row(failed) < MAX_ATTEMPTS:
                self.study.add_trial(_next_attempt(failed[-1], identity))


def _failures_in_a_row(attempts: list[FrozenTrial]) -> int:
    """Returns the failed attempts since the last one that made progress; interruptions do not count."""
    failures, furthest = 0, -1
    for attempt in attempts:
        if (attempt.last_step or 0) > furthest:
            failures, furthest = 0, attempt.last_step or 0
        failures += _BLAMELESS not in attempt.user_attrs
    return failures


def _next_attempt(trial: FrozenTrial, identity: int) -> FrozenTrial:
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={
            **{key: value for key, value in trial.user_attrs.items() if key not in _OF_ONE_ATTEMPT},
            _IDENTITY: identity,
        },
        system_attrs=trial.system_attrs,
    )
