"""Of several training processes one reports the error, and all exit."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from training.errors import LostProcessError, TrainingError
from training.parallel import ending

FAULT = TrainingError("batch_size is 33")


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Yields a function that makes this process one rank of two, as a launcher would start it."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=5))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ending, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(ending, "HEAD_START_SECONDS", 0.1)
    monkeypatch.setattr(ending, "POLL_SECONDS", 0.05)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def raise_exit(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", raise_exit)
    yield lambda rank: monkeypatch.setenv("RANK", str(rank))
    for number, handler in handlers.items():
        signal.signal(number, handler)


def exit_code(error: BaseException, code: int, sentence: str | None) -> int:
    with pytest.raises(SystemExit) as exit_:
        ending.end(error, code, sentence)
    assert isinstance(exit_.value.code, int)
    return exit_.value.code


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_reports_and_all_exit_with_its_code(
    ranks: Callable[[int], None], capsys: pytest.CaptureFixture[str], order: tuple[int, int]
) -> None:
    codes = []
    for rank in order:
        ranks(rank)
        codes.append(exit_code(FAULT, 2 + rank, f"error: {rank}"))
    assert codes == [2 + order[0]] * 2
    assert capsys.readouterr().err == f"error: {order[0]}\n"


def test_a_process_that_lost_another_lets_it_report(
    ranks: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    ranks(0)
    codes = []
    lost = threading.Timer(0.1, lambda: ending.open_store().compare_set(ending._key(), "", "1 4"))  # type: ignore[union-attr]
    lost.start()
    codes.append(exit_code(LostProcessError("gone"), 1, "error: gone"))
    lost.join()
    assert codes == [4]
    assert capsys.readouterr().err == ""


def test_a_process_that_lost_another_reports_if_no_other_does(
    ranks: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    ranks(0)
    assert exit_code(LostProcessError("gone"), 1, "error: gone") == 1
    assert capsys.readouterr().err == "error: gone\n"


def test_an_unexpected_error_prints_one_traceback(
    ranks: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for rank in (0, 1):
        ranks(rank)
        assert exit_code(ZeroDivisionError("oh"), 1, None) == 1
    assert capsys.readouterr().err == "ZeroDivisionError: oh\n"


def test_a_waiting_process_exits_soon_after_another(
    ranks: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks(1)
    codes: list[int] = []
    left = threading.Event()

    def record_exit(code: int) -> None:
        codes.append(code)
        left.set()

    monkeypatch.setattr(os, "_exit", record_exit)
    with ending.ends_with_others():
        store = ending.open_store()
        assert store is not None
        store.compare_set(ending._key(), "", "0 5")
        assert left.wait(5), "it waits as in a collective that the other never joins"
    assert codes == [5]


def test_a_single_process_prints_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(FAULT, 1, "error: batch_size is 33") == 1
    assert capsys.readouterr().err == "error: batch_size is 33\n"
