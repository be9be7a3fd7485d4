"""A worker waits for its database, and no result is lost or counted twice by an outage at any moment of a call."""

import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError, ProgrammingError

from training.locks import FileLock
from training.tuning.study import outages
from training.tuning.study.outages import PatientStorage
from training.tuning.study.storage import PostgreSql


class Outage:
    """Makes a method of the database fail ``times`` times, before or after it has done its work."""

    def __init__(self, method: Callable[..., Any], times: int, after: bool) -> None:
        self._method, self.times, self._after = method, times, after

    def __call__(self, storage: RDBStorage, *arguments: Any, **options: Any) -> Any:
        if self.times == 0:
            return self._method(storage, *arguments, **options)
        self.times -= 1
        if self._after:
            self._method(storage, *arguments, **options)
        raise StorageInternalError("a commit") from OperationalError("", {}, Exception("the server has gone"))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PatientStorage:
    monkeypatch.setattr(outages, "RETRY_SECONDS", 0.0)
    return PatientStorage(f"sqlite:///{tmp_path}/study.db")


@pytest.fixture
def study(storage: PatientStorage) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(storage=storage, study_name="study")


@pytest.fixture
def outage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outage]:
    def begin(name: str, times: int = 2, after: bool = False) -> Outage:
        found = Outage(getattr(RDBStorage, name), times, after)
        monkeypatch.setattr(RDBStorage, name, lambda *arguments, **options: found(*arguments, **options))
        return found

    return begin


@pytest.mark.parametrize("after", [False, True])
def test_a_result_survives_an_outage_before_and_after_it_is_written(
    after: bool, study: optuna.Study, outage: Callable[..., Outage], capfd: pytest.CaptureFixture[str]
) -> None:
    trial = study.ask()
    fault = outage("set_trial_state_values", 1 if after else 3, after)
    study.tell(trial, 0.5)
    assert fault.times == 0
    (told,) = study.trials
    assert (told.state, told.value) == (TrialState.COMPLETE, 0.5)
    errors = capfd.readouterr().err
    assert errors.count("the storage does not answer (") == 1
    assert "the server has gone); waiting for it" in errors
    assert after or "the storage answers again" in errors


def test_a_trial_that_another_worker_has_ended_is_not_taken_for_ones_own(
    storage: PatientStorage, study: optuna.Study, outage: Callable[..., Outage]
) -> None:
    trial = study.ask()
    storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    outage("set_trial_state_values", 1)
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])


@pytest.mark.parametrize("call", ["report", "attribute", "ask", "list", "suggest", "stale"])
def test_every_call_of_a_worker_waits(
    call: str, storage: PatientStorage, study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = study.ask()
    calls: dict[str, Callable[[], Any]] = {
        "report": lambda: trial.report(1.0, 16),
        "attribute": lambda: trial.set_user_attr("worker", "here:1"),
        "ask": study.ask,
        "list": lambda: study.get_trials(deepcopy=False),
        "suggest": lambda: trial.suggest_float("rate", 0, 1),
        "stale": lambda: storage._get_stale_trial_ids(study._study_id),
    }
    storage.heartbeat_interval = 1
    left = [8]  # more than Optuna's own tries of a few calls
    session = storage.scoped_session

    def broken() -> Any:
        if left[0]:
            left[0] -= 1
            raise OperationalError("", {}, Exception("the server has gone"))
        return session()

    broken.remove = session.remove  # type: ignore[attr-defined]
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(storage, "scoped_session", broken)
    calls[call]()
    assert left == [0]
    assert len(study.trials) == 1 + (call == "ask")


def test_patience_ends(study: optuna.Study, outage: Callable[..., Outage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "PATIENCE_SECONDS", 0.05)
    outage("set_trial_state_values", -1)
    with pytest.raises(StorageInternalError):
        study.tell(study.ask(), 0.5)


def test_an_error_that_no_waiting_mends_is_raised_at_once(storage: PatientStorage) -> None:
    tries = []

    def call() -> None:
        tries.append(1)
        raise StorageInternalError("a commit") from ProgrammingError("", {}, Exception("no such table"))

    with pytest.raises(StorageInternalError):
        storage.until_answered(call)
    assert len(tries) == 1


def test_no_worker_is_presumed_dead_until_all_could_send_heartbeats_again(
    storage: PatientStorage, study: optuna.Study, tmp_path: Path
) -> None:
    grace = 60
    database = PostgreSql.__new__(PostgreSql)
    database.backend = database._database = storage
    database._grace = timedelta(seconds=grace)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        storage.heartbeat_interval, storage.grace_period = 15, grace
    trial = study.ask()
    storage.record_heartbeat(trial._trial_id)
    with storage.engine.begin() as connection:
        old = datetime.now(UTC) - timedelta(hours=1)
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = ?", (old.strftime("%Y-%m-%d %H:%M:%S"),))

    def lost() -> bool:
        return database.lost_worker(study, study.trials[0], FileLock(tmp_path / "lock"))

    storage.noticed(answers=False)
    storage.noticed(answers=True)
    assert not lost()
    storage.answers_since = time.monotonic() - grace - 1
    assert lost()
