"""Processes wait for each other without a timeout, and not for one that has died."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from training.errors import LostProcessError
from training.parallel import barrier
from training.parallel.barrier import Pulse, StoreBarrier


@pytest.fixture
def connect() -> Callable[[], TCPStore]:
    """Returns a function that connects to one store, as each process does."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=5))
    return lambda: TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=5))


def test_nobody_passes_before_the_last_has_arrived(connect: Callable[[], TCPStore]) -> None:
    late, passed = threading.Event(), list[int]()

    def go(rank: int) -> None:
        mine = StoreBarrier(connect(), rank, 3)
        for _ in range(2):
            if rank == 2:
                late.wait(5)
            mine.wait()
            passed.append(rank)

    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(go, rank) for rank in range(3)]
        time.sleep(0.5)
        assert passed == []
        late.set()
        for each in done:
            each.result(5)
    assert sorted(passed[:3]) == sorted(passed[3:]) == [0, 1, 2]


def test_a_process_without_a_sign_of_life_is_lost(
    connect: Callable[[], TCPStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(barrier, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(barrier, "SILENCE_SECONDS", 0.6)
    Pulse(connect(), 1).beat()  # and never again
    with pytest.raises(LostProcessError, match="process 1 has given no sign of life for"):
        StoreBarrier(connect(), 0, 2).wait()


def test_a_process_that_is_only_slow_is_waited_for(
    connect: Callable[[], TCPStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes three times as long as a silent process may."""
    monkeypatch.setattr(barrier, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(barrier, "SILENCE_SECONDS", 1.0)

    def slow() -> None:
        pulse, deadline = Pulse(connect(), 1), time.monotonic() + 3
        while time.monotonic() < deadline:
            pulse.beat()
            time.sleep(0.05)
        StoreBarrier(connect(), 1, 2).wait()

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(slow)
        StoreBarrier(connect(), 0, 2).wait()
        other.result(5)
