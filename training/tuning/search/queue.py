"""Who works on which trial: every trial by one worker at a time, none forgotten, none counted twice.

A trial whose worker died fails, and another one with the same identity takes its place and goes on in its folder.
Where two workers put the same work into the queue at the same moment, the one with the lower number counts.
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
from training.tuning.search.storage import WORKER, Storage

MAX_ATTEMPTS = 10
"""A trial that this many workers have died of, one after the other and without getting further, is given up."""
ERROR = "error"
"""The attribute that says which error cut a trial short."""

_IDENTITY, _DROPPED, _BLAMELESS = "identity", "dropped", "blameless"
_OF_ONE_LIFE = (WORKER, ERROR, _BLAMELESS)


@dataclass(frozen=True)
class Claim:
    """A trial that this worker has to itself."""

    trial: optuna.Trial
    identity: int
    """The same for all that take a trial's place."""


def identity_of(trial: FrozenTrial) -> int:
    """What a trial is known by: its number, or that of the one whose place it has taken."""
    identity: int = trial.user_attrs.get(_IDENTITY, trial.number)
    return identity


class Queue:
    """The trials of a study."""

    def __init__(self, study: optuna.Study, storage: Storage, folder: Path, lock: FileLock) -> None:
        """``lock`` is the study's, and nobody asks for a trial without it; each trial's own lies in ``folder``."""
        self.study, self._storage, self._folder, self._lock = study, storage, folder, lock

    @property
    def trials(self) -> list[FrozenTrial]:
        """Every trial that counts, by identity."""
        return sorted((trial for trial in self._all() if trial.state != TrialState.FAIL), key=identity_of)

    def add(self, identity: int, params: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        """Puts a trial into the queue unless it is or was there."""
        with self._lock:
            if not any(identity_of(trial) == identity for trial in self._all()):
                self.study.enqueue_trial(dict(params), user_attrs={**attributes, _IDENTITY: identity})

    @contextmanager
    def claimed(self, limit: int | None = None) -> Iterator[Claim | None]:
        """The next trial that waits or, while there are fewer than ``limit``, a new one; None if there is neither."""
        with self._lock:
            self._replace_lost()
            claim = self._ask(limit)
            lock = None if claim is None else self._lock_of(claim.identity)
            held = lock is not None and lock.try_acquire()
        if claim is None or lock is None:
            yield None
            return
        if not held:  # somebody taken for dead still writes into the folder, until told so by the storage
            lock.acquire()
        try:
            with self._storage.alive(claim.trial):
                claim.trial.set_user_attr(WORKER, f"{platform.node()}:{os.getpid()}")
                yield claim
        finally:
            lock.release()

    def cut_short(self, claim: Claim, error: str | None) -> None:
        """Leaves a claimed trial to the next worker; ``error`` is None if the trial has nothing to do with its end."""
        if error is None:
            claim.trial.set_user_attr(_BLAMELESS, True)
        else:
            claim.trial.set_user_attr(ERROR, error)
        self.study.tell(claim.trial, state=TrialState.FAIL, skip_if_finished=True)

    def given_up(self, identity: int) -> str | None:
        """Why a trial was given up, or None if it was not."""
        lives = [trial for trial in self._all() if identity_of(trial) == identity and _DROPPED not in trial.user_attrs]
        if not lives or any(trial.state != TrialState.FAIL for trial in lives) or _deaths(lives) < MAX_ATTEMPTS:
            return None
        last = lives[-1].user_attrs.get(ERROR, "what it could not tell")
        return f"{MAX_ATTEMPTS} workers died of it, the last of {last}"

    def busy(self) -> bool:
        """Whether any trial runs or waits; those that lost their worker wait from now on."""
        with self._lock:
            self._replace_lost()
        return any(not trial.state.is_finished() for trial in self.trials)

    def _all(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _lock_of(self, identity: int) -> FileLock:
        return FileLock(self._folder / f"{identity:04d}.lock")

    def _ask(self, limit: int | None) -> Claim | None:
        while True:
            counted = self.trials
            if not any(trial.state == TrialState.WAITING for trial in counted) and (
                limit is None or len(counted) >= limit
            ):
                return None
            trial = self.study.ask()
            identity = int(trial.user_attrs.get(_IDENTITY, trial.number))
            before = [other for other in self.trials if other.number < trial.number]
            twice = any(identity_of(other) == identity for other in before)
            # Others may have asked at the same moment: a database knows nothing of the lock in this folder.
            too_many = _IDENTITY not in trial.user_attrs and limit is not None and len(before) >= limit
            if not twice and not too_many:
                return Claim(trial, identity)
            trial.set_user_attr(_DROPPED, True)
            self.study.tell(trial, state=TrialState.FAIL)

    def _replace_lost(self) -> None:
        for trial in self._all():
            if trial.state == TrialState.RUNNING and self._storage.lost(
                self.study, trial, self._lock_of(identity_of(trial))
            ):
                self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        lives = defaultdict(list)
        for trial in self._all():
            if _DROPPED not in trial.user_attrs:
                lives[identity_of(trial)].append(trial)
        for identity, spent in lives.items():
            if _deaths(spent) < MAX_ATTEMPTS and all(trial.state == TrialState.FAIL for trial in spent):
                self.study.add_trial(_successor(spent[-1], identity))


def _deaths(lives: list[FrozenTrial]) -> int:
    """How many workers have died of a trial since it last got further."""
    deaths, furthest = 0, -1
    for life in lives:
        if (life.last_step or 0) > furthest:
            deaths, furthest = 0, life.last_step or 0
        deaths += _BLAMELESS not in life.user_attrs
    return deaths


def _successor(trial: FrozenTrial, identity: int) -> FrozenTrial:
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={
            **{key: value for key, value in trial.user_attrs.items() if key not in _OF_ONE_LIFE},
            _IDENTITY: identity,
        },
        system_attrs=trial.system_attrs,
    )
