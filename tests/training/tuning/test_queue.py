"""Workers killed at any moment: each trial is run by one worker at a time, and counts once."""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from training.errors import TrainingError
from training.locks import FileLock
from training.tuning.study.queue import MAX_ATTEMPTS, Queue, identity_of
from training.tuning.study.storage import Journal, open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)
CONTEXT = multiprocessing.get_context("fork")
TRIALS = 40


def open_queue(folder: Path) -> Queue:
    folder.mkdir(parents=True, exist_ok=True)
    storage, lock = Journal(folder), FileLock(folder / "study.lock")
    with lock:
        study = optuna.create_study(storage=storage.backend, study_name="study", load_if_exists=True)
    return Queue(study, storage, folder / "trials", lock)


def log_event(folder: Path, event: str, identity: int) -> None:
    with (folder / "events").open("a") as file:
        file.write(f"{identity} {event} {os.getpid()}\n")


def work(folder: Path, seconds: float) -> None:
    """A worker whose runs take ``seconds``, and log their begin and end."""
    queue = open_queue(folder)
    while True:
        with queue.claimed(TRIALS) as claim:
            if claim is None:
                if not queue.busy():
                    return
                time.sleep(0.02)
                continue
            log_event(folder, "begins", claim.identity)
            claim.trial.suggest_float("x", 0, 1)
            time.sleep(seconds)
            log_event(folder, "ends", claim.identity)
            queue.study.tell(claim.trial, 1.0)


def killed(folder: Path, moment: float) -> int:
    """The process number of a worker that gets SIGKILL after a while."""
    process = CONTEXT.Process(target=work, args=(folder, 0.05))
    process.start()
    process.join(moment)
    process.kill()
    process.join()
    assert process.pid is not None
    return process.pid


def test_sigkills_at_random_moments_lose_no_trial_and_duplicate_none(tmp_path: Path) -> None:
    open_queue(tmp_path)
    rng = random.Random(0)
    others = [CONTEXT.Process(target=work, args=(tmp_path, 0.05)) for _ in range(2)]
    for other in others:
        other.start()
    dead = {killed(tmp_path, 0.02 + rng.random() * 0.2) for _ in range(8)}
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    trials = open_queue(tmp_path).trials
    assert len(trials) == TRIALS
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    assert set(Counter(map(identity_of, trials)).values()) == {1}
    running: dict[str, int] = {}
    for line in (tmp_path / "events").read_text().splitlines():
        identity, event, worker = line.split()
        if event == "begins":
            assert identity not in running or running[identity] in dead, "two at once"
            running[identity] = int(worker)
        else:
            assert running.pop(identity) == int(worker)
    assert set(running.values()) <= dead


def test_after_its_only_worker_was_killed_a_study_continues_the_same_trial(tmp_path: Path) -> None:
    process = CONTEXT.Process(target=work, args=(tmp_path, 60))
    process.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "events").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    queue = open_queue(tmp_path)
    before = queue.study.trials[0]
    with queue.claimed(TRIALS) as claim:
        assert claim is not None
        assert claim.identity == 0
        assert claim.trial.number == 1
        assert claim.trial.suggest_float("x", 0, 1) == before.params["x"], "with the settings it had"
    assert [trial.state for trial in queue.study.trials[:1]] == [TrialState.FAIL]


def test_a_trial_that_kills_every_worker_is_abandoned(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    queue.add(5, {}, {})
    for _ in range(MAX_ATTEMPTS):
        with queue.claimed() as claim:
            assert claim is not None
            assert claim.identity == 5
        # The lock is released and the trial still runs, as after a killed worker.
    with queue.claimed() as claim:
        assert claim is None
    assert not queue.busy()


def test_a_trial_that_was_only_interrupted_is_never_abandoned(tmp_path: Path) -> None:
    """Preemptible machines interrupt a long run more often than ``MAX_ATTEMPTS``."""
    queue = open_queue(tmp_path)
    queue.add(5, {}, {})
    for _ in range(MAX_ATTEMPTS + 2):
        with queue.claimed() as claim:
            assert claim is not None
            queue.release(claim, None)
    assert queue.why_abandoned(5) is None
    for _ in range(MAX_ATTEMPTS):
        with queue.claimed() as claim:
            assert claim is not None
            queue.release(claim, "RuntimeError: no such instruction")
    with queue.claimed() as claim:
        assert claim is None
    assert queue.why_abandoned(5) == f"{MAX_ATTEMPTS} attempts failed, the last with RuntimeError: no such instruction"
    errors = [trial.user_attrs.get("error") for trial in queue.study.trials]
    assert errors == [None] * (MAX_ATTEMPTS + 2) + ["RuntimeError: no such instruction"] * MAX_ATTEMPTS, (
        "each attempt has its own"
    )


def test_a_trial_that_makes_progress_is_never_abandoned(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    queue.add(5, {}, {})
    for attempt in range(3 * MAX_ATTEMPTS):
        with queue.claimed() as claim:
            assert claim is not None
            claim.trial.report(1.0, 1 + attempt // 2)
    assert queue.why_abandoned(5) is None


def test_duplicate_work_in_the_queue_runs_once(tmp_path: Path) -> None:
    """As from two machines that share a database, but no lock."""
    queue = open_queue(tmp_path)
    for _ in range(2):
        queue.study.enqueue_trial({"x": 0.5}, user_attrs={"identity": 7})
    with queue.claimed() as claim:
        assert claim is not None
        queue.study.tell(claim.trial, 1.0)
    with queue.claimed() as claim:
        assert claim is None
    assert [identity_of(trial) for trial in queue.trials] == [7]


def test_no_more_trials_start_than_requested(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    for _ in range(3):
        with queue.claimed(limit=3) as claim:
            assert claim is not None
            queue.study.tell(claim.trial, 1.0)
    with queue.claimed(limit=3) as claim:
        assert claim is None


@pytest.mark.parametrize("torn", [b'{"op_code":4,"worker', b"{", b'{"op_code":99}'])
def test_an_incomplete_last_line_does_not_damage_the_journal(tmp_path: Path, torn: bytes) -> None:
    queue = open_queue(tmp_path)
    with queue.claimed() as claim:
        assert claim is None
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(torn)
    queue.add(1, {}, {})
    queue.add(2, {}, {})
    assert [identity_of(trial) for trial in open_queue(tmp_path).trials] == [1, 2]


def test_another_file_in_place_of_the_journal_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "journal.log").write_text("no journal\nat all\n")
    with pytest.raises(TrainingError, match="is not a readable journal of a study"):
        open_storage(None, tmp_path, 60)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "--storage takes postgresql://USER:PASSWORD@HOST/DATABASE"),
        ("mysql://user:secret@host/db", r"--storage takes postgresql://…, not mysql://user:\*\*\*@host/db"),
        (
            "postgresql://user:secret@127.0.0.1:9/db",
            r"the storage postgresql://user:\*\*\*@127.0.0.1:9/db does not answer",
        ),
    ],
)
def test_an_unusable_storage_is_reported_in_one_sentence_without_the_password(
    url: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=sentence) as caught:
        open_storage(url, tmp_path, 60)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
