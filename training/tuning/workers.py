"""Several workers on one machine: as many processes of the same command, each with a GPU of its own.

Each child is a session of its own, so Ctrl-C in the terminal and a signal to the process group reach the parent alone,
which passes one request on. A child notices the death of its parent, however it died, and stops in good order.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

import torch

from training.console import console
from training.errors import TrainingError
from training.tuning.search.trial import Stopped

PARENT = "FIGMENT_TUNE_PARENT"
"""The environment variable that tells a child its parent's process number."""
LOOK_SECONDS = 0.1
ONE_REQUEST_SECONDS = 1.0
"""Signals that come within this time are one request: timeout(1) and others send each to a process and to its group."""
_IN_GOOD_ORDER = (0, 130, -signal.SIGTERM)


def run_workers(count: int, arguments: list[str]) -> None:
    """Starts the command ``count`` times and waits.

    SIGTERM or Ctrl-C is passed on: the first for an orderly stop, the second to end at once, the third kills. A worker
    that dies leaves its trial to the others. Raises ``Stopped`` if it was asked to stop before all was done, and
    ``TrainingError`` if no worker came to the end.
    """
    requests: list[float] = []

    def ask(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not requests or now - requests[-1] > ONE_REQUEST_SECONDS:
            requests.append(now)

    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the judge's training has left is the workers' now
    before = {each: signal.signal(each, ask) for each in (signal.SIGTERM, signal.SIGINT)}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        workers.extend(_start(arguments, environment(number, count)) for number in range(count))
        _wait(workers, requests)
    finally:
        for worker in workers:
            worker.kill()  # does nothing to those that have ended
            worker.wait()
        for each, handler in before.items():
            signal.signal(each, handler)
    for number, worker in enumerate(workers):
        code = worker.returncode
        if code and not (requests and code in _IN_GOOD_ORDER):
            console.print(f"worker {number} ended with code {code}", highlight=False, soft_wrap=True)
    if requests and any(worker.returncode for worker in workers):
        raise Stopped
    if all(worker.returncode for worker in workers):
        raise TrainingError("no worker came to the end; what they have done is kept: start the same command again")


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        env={**environment, PARENT: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait(workers: list[subprocess.Popen[bytes]], requests: list[float]) -> None:
    passed_on = 0
    while running := [worker for worker in workers if worker.poll() is None]:
        while passed_on < len(requests):
            passed_on += 1
            for worker in running:
                # Not SIGINT: a worker that still imports its libraries would end with a traceback.
                worker.send_signal(signal.SIGTERM if passed_on <= 2 else signal.SIGKILL)
        time.sleep(LOOK_SECONDS)


def stop_with_parent() -> bool:
    """Whether this process is a worker that ``run_workers`` has started; then it is sent SIGTERM if its parent dies."""
    parent = os.environ.pop(PARENT, None)
    if parent is None:
        return False

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(LOOK_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()
    return True


def environment(number: int, count: int) -> dict[str, str]:
    """One GPU for each worker, in turn, and else an equal share of the cores."""
    environment = dict(os.environ)
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = [name for name in visible if name] or [str(index) for index in range(torch.cuda.device_count())]
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment
