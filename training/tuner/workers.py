"""Several workers on one machine: as many processes of the same command, each with a GPU of its own."""

import os
import signal
import subprocess
import sys
from types import FrameType

import torch

from training.console import console
from training.errors import TrainingError


def run_workers(count: int, arguments: list[str]) -> None:
    """Starts the command ``count`` times and waits; SIGTERM and Ctrl-C are passed on.

    One that dies leaves its trial to the others. Raises ``TrainingError`` if none came to the end.
    """
    workers = [
        subprocess.Popen([sys.executable, "-m", "training", *arguments], env=environment(number, count))
        for number in range(count)
    ]

    def pass_on(number: int, frame: FrameType | None) -> None:
        for worker in workers:
            worker.send_signal(number)

    before = {each: signal.signal(each, pass_on) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        codes = [worker.wait() for worker in workers]
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    for number, code in enumerate(codes):
        if code:
            console.print(f"worker {number} ended with code {code}", highlight=False, soft_wrap=True)
    if all(codes):
        raise TrainingError("no worker came to the end; what they have done is kept: start the same command again")


def environment(number: int, count: int) -> dict[str, str]:
    """One GPU for each worker, in turn, and else an equal share of the cores."""
    environment = dict(os.environ)
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    devices = [name for name in visible if name] or [str(index) for index in range(torch.cuda.device_count())]
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    return environment
