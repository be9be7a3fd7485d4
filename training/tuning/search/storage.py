"""Where a study lives, and how it is known which of its workers are alive.

A journal in the study's folder needs nothing installed; there a trial belongs to whoever holds the lock on it, which
the system takes from the dead at once. In PostgreSQL, for many machines, workers give signs of life instead.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from training.errors import TrainingError
from training.locks import FileLock

JOURNAL_FILE = "journal.log"
CONNECT_SECONDS = 10
WORKER = "worker"
"""The attribute that says who works on a trial; set as soon as it can be told whether that one is alive."""


class Storage(Protocol):
    """A study's storage."""

    backend: BaseStorage
    name: str
    """For messages; without a password."""
    shared: bool
    """Whether it holds the studies of other folders, too."""

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """Gives signs of life for a trial."""

    def lost(self, study: optuna.Study, trial: FrozenTrial, lock: FileLock) -> bool:
        """Whether a trial that is said to run has lost its worker."""


class Journal:
    """A file in the study's folder."""

    shared = False

    def __init__(self, folder: Path) -> None:
        """Opens or begins it. Raises ``TrainingError`` if it holds something else."""
        path = folder / JOURNAL_FILE
        self.name = str(path)
        backend = JournalFileBackend(str(path), lock_obj=_MendingLock(path))  # type: ignore[arg-type]
        try:
            self.backend: BaseStorage = JournalStorage(backend)
        except (ValueError, KeyError) as error:
            raise TrainingError(f"{path} is no journal of a study that can be read ({error})") from error

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """The lock on the trial is the sign of life."""
        yield

    def lost(self, study: optuna.Study, trial: FrozenTrial, lock: FileLock) -> bool:
        """Whether nobody holds the trial's lock."""
        if not lock.try_acquire():
            return False
        lock.release()
        return True


class PostgreSql:
    """A database, for workers on many machines."""

    shared = True

    def __init__(self, url: str, grace: int) -> None:
        """Connects, and makes the tables if they are missing. Raises ``TrainingError`` if it does not answer.

        A worker that has given no sign of life for ``grace`` seconds is taken for dead.
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
                self.backend: BaseStorage = RDBStorage(
                    address.render_as_string(hide_password=False),
                    engine_kwargs=options,
                    heartbeat_interval=self._interval,
                    grace_period=grace,
                )
        except ImportError as error:
            raise TrainingError("--storage postgresql://… needs psycopg: pip install 'psycopg[binary]'") from error
        except (SQLAlchemyError, StorageInternalError) as error:
            raise TrainingError(f"the storage {self.name} does not answer: {reason(error)}") from error

    @contextmanager
    def alive(self, trial: optuna.Trial) -> Iterator[None]:
        """A thread that gives a sign of life four times in each time of grace; what the network swallows it repeats."""
        assert isinstance(self.backend, RDBStorage)
        storage, stop = self.backend, threading.Event()
        storage.record_heartbeat(trial._trial_id)

        def beat() -> None:
            while not stop.wait(self._interval):
                try:
                    storage.record_heartbeat(trial._trial_id)
                except (SQLAlchemyError, StorageInternalError):
                    continue
            storage.remove_session()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def lost(self, study: optuna.Study, trial: FrozenTrial, lock: FileLock) -> bool:
        """Whether signs of life have stopped coming, or never began."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
        now = self.backend.get_trial(trial._trial_id)
        if now.state != TrialState.RUNNING:
            return now.state == TrialState.FAIL
        if WORKER in now.user_attrs or now.datetime_start is None:
            return False
        return datetime.now(UTC) - now.datetime_start.astimezone(UTC) > 10 * self._grace


def open_storage(url: str | None, folder: Path, grace: int) -> Storage:
    """The storage at a URL, or the journal in the study's folder. Raises ``TrainingError``."""
    return PostgreSql(url, grace) if url else Journal(folder)


def reason(error: BaseException) -> str:
    """The first line of the innermost error: what the database itself says."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _MendingLock(FileLock):
    """The lock on the journal; who takes it cuts off a line that somebody died writing, or that the disk had no room
    for: with another one behind it the whole journal could no longer be read.
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
