"""Many machines, one study: three workers share a real PostgreSQL, and one of them is killed."""

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkProcess
from pathlib import Path

import optuna
import psycopg
import pytest
from optuna.trial import TrialState

from benchmarks.soak.tuning_faults.database import server
from training.cli import main
from training.errors import TrainingError
from training.tuning.study.queue import identity_of
from training.tuning.study.storage import PostgreSql, open_storage

CONTEXT = multiprocessing.get_context("fork")
GRACE = 4
IMAGES = 960


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The URL of a PostgreSQL server for these tests."""
    with server() as running:
        if running is None:
            if "NOTHING_SKIPPED" in os.environ:
                pytest.fail("PostgreSQL is not installed")
            pytest.skip("PostgreSQL is not installed")
        yield running.url


def test_three_workers_of_which_one_is_killed(
    database: str, tune_arguments: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "shared"
    options = ["--images", str(IMAGES), "--trials", "5", "--storage", database, "--grace", str(GRACE)]
    monkeypatch.setattr(sys, "argv", ["training", *tune_arguments(out, *options)])
    workers = [CONTEXT.Process(target=main) for _ in range(3)]
    for worker in workers:
        worker.start()
    try:
        study = _study(database, out, workers)
        victim, number = _one_in_the_middle(study, workers, out)
        victim.kill()
        for worker in workers:
            worker.join(200)
            assert worker.exitcode == (-signal.SIGKILL if worker is victim else 0)
    finally:
        for worker in workers:
            worker.kill()
    trials = [trial for trial in study.trials if trial.state != TrialState.FAIL]
    assert all(trial.state.is_finished() for trial in trials)
    assert len(trials) == 5
    assert set(Counter(map(identity_of, trials)).values()) == {1}, "none is counted twice"
    successor = next(trial for trial in trials if identity_of(trial) == number)
    assert study.trials[number].state == TrialState.FAIL
    assert successor.params == study.trials[number].params
    assert successor.user_attrs["worker"] != study.trials[number].user_attrs["worker"]
    assert (out / "report.html").is_file()


def test_workers_that_start_together_on_a_new_database_all_begin(database: str) -> None:
    """Each creates the tables that are missing."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE DATABASE fresh")
    url = database.removesuffix("postgres") + "fresh"
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: PostgreSql(url, GRACE), range(4)))
    assert all(optuna.get_all_study_names(storage.backend) == [] for storage in opened)
    with psycopg.connect(url) as connection:
        (versions,) = connection.execute("SELECT count(*) FROM alembic_version").fetchone() or (0,)
    assert versions == 1


def test_a_missing_database_is_reported_in_one_sentence(database: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the storage .* does not answer: .*missing"):
        open_storage(database.removesuffix("postgres") + "missing", tmp_path, GRACE)


def test_a_renamed_folder_finds_its_study_among_those_of_the_database(
    database: str, tune: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--trials=1", "--seeds=0", "--storage", database, "--grace", str(GRACE)]
    tune(tmp_path / "named", *options)
    moved = (tmp_path / "named").rename(tmp_path / "moved")
    capsys.readouterr()
    tune(moved, *options)
    assert f"{moved} continues the study named" in capsys.readouterr().err
    (moved / "study.json").unlink()  # as in folders of versions that recorded no name
    with pytest.raises(
        TrainingError, match=r"trials/0000 is a run that the study 'moved' in postgresql://.*"
    ) as caught:
        tune(moved, *options)
    assert "write its study's name into" in str(caught.value)
    assert "secret" not in str(caught.value)
    names = optuna.get_all_study_names(PostgreSql(database, GRACE).backend)
    assert {name for name in names if name.startswith(("named", "moved"))} == {"named", "named-reruns", "named-finals"}
    (moved / "study.json").write_text('{"name": "named"}')
    tune(moved, *options)


def _study(database: str, out: Path, workers: list[ForkProcess]) -> optuna.Study:
    storage = PostgreSql(database, GRACE).backend
    deadline = time.monotonic() + 100
    while True:
        assert all(worker.is_alive() for worker in workers)
        assert time.monotonic() < deadline, "the study did not begin"
        try:
            return optuna.load_study(study_name=out.name, storage=storage)
        except KeyError:
            time.sleep(0.1)


def _one_in_the_middle(study: optuna.Study, workers: list[ForkProcess], out: Path) -> tuple[ForkProcess, int]:
    """A worker in the middle of a trial, and the trial's number."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        for trial in study.get_trials(states=(TrialState.RUNNING,)):
            process = int(trial.user_attrs.get("worker", ":0").rpartition(":")[2])
            if trial.intermediate_values and list((out / "trials" / f"{trial.number:04d}").glob("checkpoints/*.pt")):
                return next(worker for worker in workers if worker.pid == process), trial.number
        time.sleep(0.02)
    raise AssertionError("no trial was in the middle")
