"""Workers that are killed at any moment: each piece of work is done, by one worker at a time, and counted once."""

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


def note(folder: Path, what: str, identity: int) -> None:
    with (folder / "notes").open("a") as file:
        file.write(f"{identity} {what} {os.getpid()}\n")


def work(folder: Path, seconds: float) -> None:
    """A worker whose runs take a while, and are noted when they begin and when they end."""
    queue = open_queue(folder)
    while True:
        with queue.claimed(TRIALS) as claim:
            if claim is None:
                if not queue.busy():
                    return
                time.sleep(0.02)
                continue
            note(folder, "begins", claim.identity)
            claim.trial.suggest_float("x", 0, 1)
            time.sleep(seconds)
            note(folder, "ends", claim.identity)
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


def test_sigkills_at_random_moments_lose_nothing_and_count_nothing_twice(tmp_path: Path) -> None:
    open_queue(tmp_path)
    chance = random.Random(0)
    others = [CONTEXT.Process(target=work, args=(tmp_path, 0.05)) for _ in range(2)]
    for other in others:
        other.start()
    dead = {killed(tmp_path, 0.02 + chance.random() * 0.2) for _ in range(8)}
    for other in others:
        other.join(60)
        assert other.exitcode == 0
    trials = open_queue(tmp_path).trials
    assert len(trials) == TRIALS
    assert all(trial.state == TrialState.COMPLETE for trial in trials)
    assert set(Counter(map(identity_of, trials)).values()) == {1}
    running: dict[str, int] = {}
    for line in (tmp_path / "notes").read_text().splitlines():
        identity, what, worker = line.split()
        if what == "begins":
            assert identity not in running or running[identity] in dead, "two at once"
            running[identity] = int(worker)
        else:
            assert running.pop(identity) == int(worker)
    assert set(running.values()) <= dead


def test_a_study_whose_only_worker_was_killed_goes_on_with_the_same_trial(tmp_path: Path) -> None:
    process = CONTEXT.Process(target=work, args=(tmp_path, 60))
    process.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "notes").exists():
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


def test_a_trial_that_every_worker_dies_of_is_given_up(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    queue.add(5, {}, {})
    for _ in range(MAX_ATTEMPTS):
        with queue.claimed() as claim:
            assert claim is not None
            assert claim.identity == 5
        # The lock is let go of, the trial still runs: so does a worker leave it that is killed.
    with queue.claimed() as claim:
        assert claim is None
    assert not queue.busy()


def test_a_trial_that_was_cut_short_through_no_fault_of_its_own_is_never_given_up(tmp_path: Path) -> None:
    """Machines that come and go stop a long run more often than any number of lives."""
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
    assert queue.why_abandoned(5) == f"{MAX_ATTEMPTS} workers died of it, the last of RuntimeError: no such instruction"
    errors = [trial.user_attrs.get("error") for trial in queue.study.trials]
    assert errors == [None] * (MAX_ATTEMPTS + 2) + ["RuntimeError: no such instruction"] * MAX_ATTEMPTS, (
        "each death with its own"
    )


def test_a_trial_that_gets_further_each_time_is_never_given_up(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    queue.add(5, {}, {})
    for life in range(3 * MAX_ATTEMPTS):
        with queue.claimed() as claim:
            assert claim is not None
            claim.trial.report(1.0, 1 + life // 2)
    assert queue.why_abandoned(5) is None


def test_the_same_work_put_into_the_queue_twice_is_done_once(tmp_path: Path) -> None:
    """As two machines do that share a database, but no lock."""
    queue = open_queue(tmp_path)
    for _ in range(2):
        queue.study.enqueue_trial({"x": 0.5}, user_attrs={"identity": 7})
    with queue.claimed() as claim:
        assert claim is not None
        queue.study.tell(claim.trial, 1.0)
    with queue.claimed() as claim:
        assert claim is None
    assert [identity_of(trial) for trial in queue.trials] == [7]


def test_no_more_trials_are_begun_than_asked_for(tmp_path: Path) -> None:
    queue = open_queue(tmp_path)
    for _ in range(3):
        with queue.claimed(limit=3) as claim:
            assert claim is not None
            queue.study.tell(claim.trial, 1.0)
    with queue.claimed(limit=3) as claim:
        assert claim is None


@pytest.mark.parametrize("torn", [b'{"op_code":4,"worker', b"{", b'{"op_code":99}'])
def test_a_line_that_somebody_died_writing_does_not_spoil_the_journal(tmp_path: Path, torn: bytes) -> None:
    queue = open_queue(tmp_path)
    with queue.claimed() as claim:
        assert claim is None
    with (tmp_path / "journal.log").open("ab") as file:
        file.write(torn)
    queue.add(1, {}, {})
    queue.add(2, {}, {})
    assert [identity_of(trial) for trial in open_queue(tmp_path).trials] == [1, 2]


def test_a_file_that_is_no_journal_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "journal.log").write_text("no journal\nat all\n")
    with pytest.raises(TrainingError, match="is no journal of a study that can be read"):
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
def test_a_storage_that_cannot_be_used_is_one_sentence_without_the_password(
    url: str, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=sentence) as caught:
        open_storage(url, tmp_path, 60)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
