"""Runs checks in a process of their own, one after the other.

An error of CUDA spoils its process: every later call fails, too. So a check that fails ends the process, and the next
one begins in a fresh process. A crash or a hang costs one check only.
"""

import importlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from benchmarks.gpu.rows import Row, SkippedError
from benchmarks.gpu.target import Target

_OWN_PACKAGES = {"benchmarks", "models", "serving", "training"}


@dataclass(frozen=True)
class Finding:
    """A row with the check that reported it, and the seconds since the check's previous row."""

    check: str
    row: Row
    seconds: float


def run_checks(modules: Mapping[str, str], target: Target) -> Iterator[Finding]:
    """Yields the findings of checks (name → module with a function ``check``) in their order, as they come."""
    waiting = list(modules)
    while waiting:
        with _Worker({name: modules[name] for name in waiting}, target) as worker:
            for name in list(waiting):
                waiting.remove(name)
                failed = False
                for finding in worker.findings(name, target.check_seconds):
                    yield finding
                    failed |= finding.row.status == "failed"
                if failed:
                    break


class _Worker:
    """A process that runs checks in turn, and this process's end of the connection to it."""

    def __init__(self, modules: Mapping[str, str], target: Target) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
        self._connection, other = context.Pipe(duplex=False)
        self._process: BaseProcess = context.Process(target=_work, args=(other, dict(modules), target))
        self._process.start()
        other.close()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def findings(self, name: str, timeout: float) -> Iterator[Finding]:
        """Yields the findings of the check that the process runs now."""
        began = last = time.monotonic()
        while True:
            if not self._connection.poll(max(0.0, began + timeout - time.monotonic())):
                row = Row(name, f"took more than {timeout:g} s", "failed")
            else:
                try:
                    message: Row | None = self._connection.recv()
                except EOFError:
                    row = Row(name, self._describe_end(), "failed")
                else:
                    if message is None:
                        return
                    now = time.monotonic()
                    yield Finding(name, message, now - last)
                    last = now
                    continue
            yield Finding(name, row, time.monotonic() - last)
            return

    def _describe_end(self) -> str:
        self._process.join(10)
        code = self._process.exitcode
        if code is not None and code < 0:
            return f"the process was ended by {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"


def _work(connection: Connection, modules: Mapping[str, str], target: Target) -> None:
    """Sends each check's rows, and None after its last one."""
    for module in modules.values():
        for row in rows_of(module, target):
            connection.send(row)
        connection.send(None)


def rows_of(module: str, target: Target) -> Iterator[Row]:
    """Yields the rows of a check. An exception becomes the last row: a package that is missing is no failure."""
    subject = module.rpartition(".")[2]
    try:
        yield from importlib.import_module(module).check(target)
    except SkippedError as skipped:
        yield Row(subject, str(skipped), "skipped")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in _OWN_PACKAGES:
            yield Row(subject, f"needs the package {error.name}: make install", "skipped")
            return
        reason = " ".join(str(error).split())[:300]
        yield Row(subject, f"{type(error).__name__}: {reason}", "failed", {"traceback": traceback.format_exc()})
