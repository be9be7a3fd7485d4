"""Stores a study, and detects dead workers.

A journal in the study's folder needs no installation. There, the worker that holds a trial's lock owns the trial, and
the system releases the lock when the worker dies. PostgreSQL serves many machines, and its workers send heartbeats.
"""

import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from training.errors import TrainingError
from training.locks import FileLock
from training.tuning.study.outages import RETRY_SECONDS, PatientStorage, root_cause

JOURNAL_FILE = "journal.log"
CONNECT_SECONDS = 10
_CREATION_LOCK = 0x6669676D656E74
"""The number of an advisory lock: ``figment`` in ASCII."""
WORKER = "worker"
"""The attribute that names a trial's worker, set once the worker's death can be detected."""


class Storage(Protocol):
    """Where a study is stored."""

    backend: BaseStorage
    name: str
    """For messages, without a password."""
    shared: bool
    """Whether it also holds studies of other folders."""

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Marks a trial's worker as alive within the context."""

    def lost_worker(self, study: optuna.Study, trial: FrozenTrial, lock: FileLock) -> bool:
        """Returns whether a running trial has lost its worker."""


class Journal:
    """A journal file in the study's folder."""

    shared = False

    def __init__(self, folder: Path) -> None:
        """Opens or creates the journal. Raises ``TrainingError`` if the file is not a journal."""
        path = folder / JOURNAL_FILE
        self.name = str(path)
        backend = JournalFileBackend(str(path), lock_obj=_RepairingLock(path))  # type: ignore[arg-type]
        try:
            self.backend: BaseStorage = JournalStorage(backend)
        except (ValueError, KeyError) as error:
            raise TrainingError(f"{path} is not a readable journal of a study ({error})") from error

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Does nothing: the worker holds the trial's lock."""
        yield

    def lost_worker(self, study: optuna.Study, trial: FrozenTrial, lock: FileLock) -> bool:
        """Returns whether no process holds the trial's lock."""
        if not lock.try_acquire():
            return False
        lock.release()
        return True


class PostgreSql:
    """A database, for workers on many machines."""

    shared = True

    def __init__(self, url: str, grace: int) -> None:
        """Connects, and creates missing tables. Raises ``TrainingError`` if the database does not answer.

        A worker without a heartbeat for ``grace`` seconds is presumed dead.
        """
        self._grace = timedelta(seconds=grace)
        self._interval = max(1, grace // 4)
        try:
            address = make_url(url)
        except ArgumentError:
            raise TrainingError("--storage takes postgresql://USER:PASSWORD@HOST/DATABASE") from None
        self.name = address.render_as_string(hide_password=True)
        if address.get_backend_name() != "postgresql":
            raise TrainingError(f"--storage takes postgresql://…, not {self.name}")
        address = address.set(drivername="postgresql+psycopg")
        options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                with _one_at_a_time(address, options):
                    self._database = PatientStorage(
                        address.render_as_string(hide_password=False),
                        engine_kwargs=options,
                        heartbeat_interval=self._interval,
                        grace_period=grace,
                    )
        except ImportError as error:
            raise TrainingError("--storage postgresql://… needs psycopg: pip install 'psycopg[binary]'") from error
        except (SQLAlchemyError, StorageInternalError) as error:
            raise TrainingError(f"the storage {self.name} does not answer: {root_cause(error)}") from error
        self.backend: BaseStorage = self._database

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Sends a heartbeat from a thread four times per grace period; after a failed one, every second."""
        storage, stop = self._database, threading.Event()
        storage.until_answered(lambda: storage.record_heartbeat(trial._trial_id))

        def beat() -> None:
            answers = True
            while not stop.wait(self._interval if answers else RETRY_SECONDS):
                try:
                    storage.record_heartbeat(trial._trial_id)
                    answers = True
                except (SQLAlchemyError, StorageInternalError):
                    answers = False
                storage.noticed(answers)
            storage.remove_session()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def lost_worker(self, study: optuna.Study, trial: FrozenTrial, lock: FileLock) -> bool:
        """Returns whether heartbeats have stopped, or never began.

        After an outage of the database none has, for a grace period: no worker could send heartbeats.
        """
        outage_ended = self._database.answers_since
        if outage_ended is not None and time.monotonic() - outage_ended < self._grace.total_seconds():
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        now = self.backend.get_trial(trial._trial_id)
        if now.state != TrialState.RUNNING:
            return now.state == TrialState.FAIL
        if WORKER in now.user_attrs or now.datetime_start is None:
            return False
        return datetime.now(UTC) - now.datetime_start.astimezone(UTC) > 10 * self._grace


@contextmanager
def _one_at_a_time(address: URL, options: dict[str, Any]) -> Iterator[None]:
    """Holds a lock of the database: workers that create its tables at the same moment would fail."""
    engine = create_engine(address, **options)
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CREATION_LOCK})
            yield
    finally:
        engine.dispose()


def open_storage(url: str | None, folder: Path, grace: int) -> Storage:
    """Opens the storage at a URL, or else the journal in the study's folder. Raises ``TrainingError``."""
    return PostgreSql(url, grace) if url else Journal(folder)


class _RepairingLock(FileLock):
    """The lock on the journal. Taking it removes an incomplete last line, left by a killed worker or a full disk.

    With another line behind it, the whole journal would be unreadable.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(journal.with_suffix(".lock"))
        self._journal = journal

    def acquire(self) -> bool:
        super().acquire()
        with self._journal.open("r+b") as file:
            content = file.seek(0, 2)
            if content:
                file.seek(content - 1)
                if file.read(1) != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
        return True
