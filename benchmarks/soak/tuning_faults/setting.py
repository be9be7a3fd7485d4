"""What all studies of this program share: tiny data, a tiny space, a judge, and how ``tune`` is started."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

DIGITS = Path(__file__).parents[3] / "tests" / "data" / "digits.parquet"
"""512 digits of MNIST."""

SPACE: dict[str, Any] = {
    "preset": "digits",
    "settings": {
        "data.fit": "crop",
        "data.resolution": 16,
        "network.family": "mlp",
        "network.width": 32,
        "network.depth": 2,
        "network.noise_dim": 8,
        "batch_size": 16,
        "judge.samples": 500,
        "regularization.r1": 0,
        "regularization.interval": 1,
        "ema.half_lives": [20000],
        "precision": "float32",
    },
    "search": {
        "generator_optimizer.learning_rate": {"choices": [0.0005, 0.002]},
        "discriminator_optimizer.learning_rate": {"same_as": "generator_optimizer.learning_rate"},
        "generator_optimizer.beta1": {"choices": [0.0, 0.5]},
    },
}
"""Four settings and the preset: a trial of each was trained without faults, to compare with."""

GRACE = 4
"""Seconds after which a worker of a database is presumed dead; the least that ``tune`` takes."""


@dataclass(frozen=True)
class Size:
    """How large a study is."""

    trials: int
    images: int
    seeds: int = 1
    final_images: int | None = None
    """Of the winner's final run, which is then exported."""


class Process(Protocol):
    """A ``tune`` that was started."""

    pid: int

    def code(self) -> int | None:
        """Returns its exit code, negative after a signal, or None while it runs."""


@dataclass
class Setting:
    """Where the files lie."""

    work: Path
    fork: bool
    """Whether ``tune`` is forked from this process, which saves its imports, or started as a user starts it."""
    space: Path = field(init=False)
    _numbers: Iterator[int] = field(init=False, default_factory=itertools.count)

    def __post_init__(self) -> None:
        """Writes the space and trains the judge."""
        from training.config.schema import DataConfig
        from training.data.cache import judges_folder
        from training.data.dataset import load_images
        from training.evaluation.judge.train import train_judge

        self.space = self.work / "space.yaml"
        self.space.write_text(yaml.safe_dump(SPACE, sort_keys=False))
        data = load_images(str(DIGITS), DataConfig(resolution=16, channels=1, fit="crop"))
        train_judge(data, epochs=2).save(judges_folder() / f"{data.fingerprint}.pt")

    def arguments(self, out: Path, size: Size, storage: str | None, workers: int = 1) -> list[str]:
        """Returns the command line of a study."""
        options = {
            "data": DIGITS,
            "out": out,
            "images": size.images,
            "trials": size.trials,
            "seeds": size.seeds,
            "final-images": size.final_images,
            "export": out.with_name(f"{out.name}-zoo") if size.final_images else None,
            "storage": storage,
            "grace": GRACE,
            "workers": workers,
        }
        return ["tune", str(self.space), *(f"--{key}={value}" for key, value in options.items() if value is not None)]

    def start(self, arguments: list[str], log: Path | None = None) -> "Process":
        """Starts a command; what it prints goes to the end of ``log``."""
        log = log or self.work / f"{next(self._numbers):03d}.log"
        return _Forked(arguments, log) if self.fork else _Started(arguments, log)

    def log(self, out: Path) -> Path:
        """Returns the file for what all starts of a study print."""
        return out.with_name(f"{out.name}.log")


class _Started:
    """A process of its own, from the first import on."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "training", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.pid = self._process.pid

    def code(self) -> int | None:
        return self._process.poll()


class _Forked:
    """A process that has imported everything already."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        def run() -> None:
            with log.open("a", buffering=1) as output:
                for number in (1, 2):
                    os.dup2(output.fileno(), number)  # for its workers
                sys.stdout = sys.stderr = output
                sys.argv = ["training", *arguments]
                os.environ["OMP_NUM_THREADS"] = "1"
                for each in (signal.SIGTERM, signal.SIGINT):
                    signal.signal(each, signal.SIG_DFL)
                from training.cli import main

                main()

        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        assert process.pid is not None
        self._process, self.pid = process, process.pid

    def code(self) -> int | None:
        return self._process.exitcode


def kill(pid: int) -> bool:
    """Kills a process. Returns whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait(process: Process, seconds: float) -> int | None:
    """Waits for a process to end, and returns its code. Kills it and its workers after ``seconds``; then None."""
    deadline = time.monotonic() + seconds
    while (code := process.code()) is None:
        if time.monotonic() > deadline:
            for worker in workers_of(process.pid):
                kill(worker)
            kill(process.pid)
            return None
        time.sleep(0.01)
    return code


def workers_of(pid: int) -> list[int]:
    """Returns the children of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Keeps decoded images and judges in a folder of this program, and trains on one thread, within the block."""
    import torch

    threads, before = torch.get_num_threads(), os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before
