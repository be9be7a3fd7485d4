"""Waits for a database that does not answer: a restart or a short outage must not cost a worker."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError

from training.console import console
from training.parallel.stopping import unless_stopped

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE_SECONDS = 300.0
"""How long a worker waits for its database. A restart takes seconds, the failover of a managed database a minute."""
RETRY_SECONDS = 1.0


def root_cause(error: BaseException) -> str:
    """Returns the first line of the innermost error: the database's own message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _waits(method: Callable[Concatenate["PatientStorage", P], T]) -> Callable[Concatenate["PatientStorage", P], T]:
    @functools.wraps(method)
    def call(self: "PatientStorage", /, *arguments: P.args, **options: P.kwargs) -> T:
        return self.until_answered(lambda: method(self, *arguments, **options))

    return call


class PatientStorage(RDBStorage):
    """A database whose calls are made again until it answers, for up to five minutes.

    An outage may begin after the database has done what a call asks, and before it says so. To make the call again is
    harmless: it writes the same value, or a trial that nobody works on, which is replaced as that of a dead worker.
    """

    answers_since: float | None = None
    """When the last outage that this process noticed ended, by ``time.monotonic``; None without one."""
    _answers = True

    def until_answered(self, call: Callable[[], T]) -> T:
        """Returns the result of a call, which is made again while the database does not answer.

        Raises its error after ``PATIENCE_SECONDS``, or if a stop is requested meanwhile.
        """
        deadline = None
        while True:
            try:
                result = call()
            except (SQLAlchemyError, StorageInternalError) as error:
                if not _is_outage(error):
                    raise
                self.noticed(answers=False)
                if deadline is None:
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    message = f"the storage does not answer ({root_cause(error)}); waiting for it"
                    console.print(message, highlight=False, soft_wrap=True)
                if time.monotonic() > deadline or not unless_stopped(lambda: time.sleep(RETRY_SECONDS)):
                    raise
            else:
                self.noticed(answers=True)
                if deadline is not None:
                    console.print("the storage answers again", highlight=False, soft_wrap=True)
                return result

    def noticed(self, answers: bool) -> None:
        """Notes whether the database has answered."""
        if answers and not self._answers:
            self.answers_since = time.monotonic()
        self._answers = answers

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Sets a trial's state and values, and accepts that a call before an outage has done so already."""
        tries = 0

        def call() -> bool:
            nonlocal tries
            tries += 1
            return super(PatientStorage, self).set_trial_state_values(trial_id, state, values)

        try:
            return self.until_answered(call)
        except UpdateFinishedTrialError:
            found = self.get_trial(trial_id)
            if tries > 1 and found.state == state and found.values == (None if values is None else list(values)):
                return True
            raise

    create_new_study = _waits(RDBStorage.create_new_study)
    set_study_user_attr = _waits(RDBStorage.set_study_user_attr)
    set_study_system_attr = _waits(RDBStorage.set_study_system_attr)
    get_study_id_from_name = _waits(RDBStorage.get_study_id_from_name)
    get_study_name_from_id = _waits(RDBStorage.get_study_name_from_id)
    get_study_directions = _waits(RDBStorage.get_study_directions)
    get_study_user_attrs = _waits(RDBStorage.get_study_user_attrs)
    get_study_system_attrs = _waits(RDBStorage.get_study_system_attrs)
    get_all_studies = _waits(RDBStorage.get_all_studies)
    get_trial_id_from_study_id_trial_number = _waits(RDBStorage.get_trial_id_from_study_id_trial_number)
    get_trial = _waits(RDBStorage.get_trial)
    set_trial_intermediate_value = _waits(RDBStorage.set_trial_intermediate_value)
    set_trial_user_attr = _waits(RDBStorage.set_trial_user_attr)
    set_trial_system_attr = _waits(RDBStorage.set_trial_system_attr)
    # Optuna's cache in front of a database calls these instead of their public counterparts.
    _create_new_trial = _waits(RDBStorage._create_new_trial)
    _get_trials = _waits(RDBStorage._get_trials)
    _set_trial_param = _waits(RDBStorage._set_trial_param)
    _get_stale_trial_ids = _waits(RDBStorage._get_stale_trial_ids)


def _is_outage(error: BaseException | None) -> bool:
    """Returns whether an error, or one of its causes, is a lost or refused connection."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError):
            return True
        error = error.__cause__ or error.__context__
    return False
