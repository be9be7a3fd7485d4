"""Threads that may hang do not keep the process alive, and several bundles are opened at once."""

import asyncio
import faulthandler
import os
import platform
import subprocess
import sys
import threading
import time

import pytest

from serving.process.worker import map_in_daemon_threads
from tests.serving.in_process import application


def test_results_come_in_order_from_a_bounded_number_of_threads():
    running, most, lock = 0, 0, threading.Lock()

    def work(number):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02 * (5 - number))
        with lock:
            running -= 1
        return number * 10

    assert map_in_daemon_threads(work, range(5), 2, "test") == [0, 10, 20, 30, 40]
    assert most == 2


def test_an_exception_comes_after_all_items_are_done():
    done = []

    def work(number):
        if number == 1:
            raise OSError("no such bundle")
        time.sleep(0.05)
        done.append(number)

    with pytest.raises(OSError, match="no such bundle"):
        map_in_daemon_threads(work, range(3), 3, "test")
    assert sorted(done) == [0, 2]


def test_a_thread_that_never_ends_does_not_keep_the_process():
    """A lost network mount may never answer."""
    program = """
import threading
from serving.process.worker import map_in_daemon_threads, start_in_daemon_thread
hung = threading.Event()
start_in_daemon_thread(lambda: map_in_daemon_threads(lambda _: hung.wait(), range(2), 2, "open"), "load")
"""
    subprocess.run([sys.executable, "-c", program], timeout=20, check=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed, and has a call for it")
def test_free_memory_is_returned_to_the_system():
    """What a thread has freed stays in its pool, below what it has not freed."""
    program = """
import ctypes, threading
import psutil
from serving.process.worker import release_free_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    blocks = [libc.malloc(10_000) for _ in range(10_000)]
    for block in blocks:
        ctypes.memset(block, 1, 10_000)
    for block in blocks[:-1]:
        libc.free(block)
thread = threading.Thread(target=use)
thread.start()
thread.join()
before = psutil.Process().memory_info().rss
release_free_memory()
assert before - psutil.Process().memory_info().rss > 80_000_000
"""
    subprocess.run([sys.executable, "-c", program], timeout=20, check=True)


@pytest.mark.parametrize(("given", "used"), [(None, "2"), ("7", "7")])
def test_workers_have_few_memory_pools_unless_the_operator_chose(given, used):
    """Many pools hold what cannot be returned to the system: 100 MB after 100 reloads."""
    program = "import os, pathlib; from serving.process.worker import run_workers_as; "
    program += "run_workers_as('serving.worker', pathlib.Path.cwd()); print(os.environ['MALLOC_ARENA_MAX'])"
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    environment |= {} if given is None else {"MALLOC_ARENA_MAX": given}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [used], done.stderr


def test_a_start_that_hangs_ends_with_a_traceback():
    """Its parent then starts another one; otherwise nobody would ever answer."""
    program = """
import sys, time
from serving import worker
def hang(*_):
    time.sleep(60)
worker.load_for_process = hang
worker._START_SECONDS = 0.2
sys.argv += ["--worker-id", "1"]
worker.main()
"""
    ended = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "in hang" in ended.stderr


def test_a_service_that_runs_is_not_ended(zoo, monkeypatch):
    """Neither after its start nor after its first bundles."""
    running = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: running.append(True))
    monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", running.clear)
    running.append(True)  # as ``serving.worker`` does

    async def live():
        async with application(zoo):
            assert not running

    asyncio.run(live())
    assert not running
