"""Starts several workers on one machine: processes of the same command, each with its own GPU.

Each worker has its own process session. So Ctrl-C in the terminal and a signal to the process group reach only the
parent, which forwards one request. A worker detects any death of its parent, saves, and stops.
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
from training.tuning.trial.run import Stopped

PARENT_VARIABLE = "FIGMENT_TUNE_PARENT"
"""The environment variable with the parent's process number."""
POLL_SECONDS = 0.1
ONE_REQUEST_SECONDS = 1.0
"""Signals within this time are one request: timeout(1) and others signal both a process and its group."""
_ORDERLY_EXITS = (0, 130, -signal.SIGTERM)


def run_workers(count: int, arguments: list[str]) -> None:
    """Starts the command ``count`` times, and waits until all workers have ended.

    Forwards SIGTERM and Ctrl-C: the first request stops workers after a checkpoint, the second at once, the third kills
    them. The others continue a dead worker's trial. Raises ``Stopped`` if a request interrupted the work, and
    ``TrainingError`` if no worker finished.
    """
    requests: list[float] = []

    def request_stop(number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not requests or now - requests[-1] > ONE_REQUEST_SECONDS:
            requests.append(now)

    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # the judge's training leaves memory that the workers need
    before = {each: signal.signal(each, request_stop) for each in (signal.SIGTERM, signal.SIGINT)}
    workers: list[subprocess.Popen[bytes]] = []
    try:
        workers.extend(_start(arguments, environment(number, count)) for number in range(count))
        _wait(workers, requests)
    finally:
        for worker in workers:
            worker.kill()  # no effect on a worker that has ended
            worker.wait()
        for each, handler in before.items():
            signal.signal(each, handler)
    for number, worker in enumerate(workers):
        code = worker.returncode
        if code and not (requests and code in _ORDERLY_EXITS):
            console.print(f"worker {number} ended with code {code}", highlight=False, soft_wrap=True)
    if requests and any(worker.returncode for worker in workers):
        raise Stopped
    if all(worker.returncode for worker in workers):
        raise TrainingError("no worker finished; their results are saved: start the same command again")


def _start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "training", *arguments],
        env={**environment, PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait(workers: list[subprocess.Popen[bytes]], requests: list[float]) -> None:
    forwarded = 0
    while running := [worker for worker in workers if worker.poll() is None]:
        while forwarded < len(requests):
            forwarded += 1
            for worker in running:
                # Not SIGINT: a worker that is still importing would end with a traceback.
                worker.send_signal(signal.SIGTERM if forwarded <= 2 else signal.SIGKILL)
        time.sleep(POLL_SECONDS)


def stop_with_parent() -> bool:
    """Returns whether ``run_workers`` started this process; if so, the parent's death sends it SIGTERM."""
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is None:
        return False

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True, name="parent").start()
    return True


def environment(number: int, count: int) -> dict[str, str]:
    """Returns a worker's environment: one GPU per worker in turn, and an equal share of the cores."""
    environment = dict(os.environ)
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = [name for name in visible if name] or [str(index) for index in range(torch.cuda.device_count())]
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment
