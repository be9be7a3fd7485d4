"""Follows which phase a command is in, and kills it a given time after it enters one.

The phase lies in a mapped file, so it is known after the kill. The kill comes from a timer of the kernel: no Python
code runs in between, and nothing is polled.
"""

import ctypes
import functools
import importlib
import json
import mmap
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START = "start"
"""From the first line of the command to its first phase."""

_RECORD_BYTES = 64

HOOKS = (
    ("run folder", "training.train", "begin_run"),
    ("decoding", "training.train", "load_images"),
    ("networks", "training.train", "TrainingState"),
    ("reading the checkpoint", "training.train", "resume_point"),
    ("opening the logs", "training.train", "Reporter"),
    ("steps", "training.train", "fit"),
    ("metrics", "training.runs.reporter", "Reporter.tick"),
    ("pictures", "training.runs.reporter", "Reporter._draw"),
    ("training the judge", "training.runs.reporter", "Reporter._first_judge"),
    ("scoring", "training.runs.reporter", "Reporter._score"),
    ("writing best.pt", "training.runs.reporter", "write_tensors"),
    ("writing a checkpoint", "training.runs.reporter", "save_checkpoint"),
    ("reading the generator", "training.export", "load_best_generator"),
    ("ONNX export", "training.export", "to_onnx"),
    ("parity check", "training.export", "measure_parity"),
    ("reading the graph", "training.packing.pack", "open_source"),
    ("conversion", "training.packing.pack", "convert"),
    ("graph against card", "training.export", "write_checked"),
    ("graph against card", "training.packing.pack", "write_checked"),
    ("writing the bundle", "training.packing.writing", "write_bundle"),
    ("reading the bundle", "training.publishing.push", "read_bundle"),
    ("uploading", "training.publishing.push", "_upload"),
)
"""Phase, module, and the function or class that is the phase while it runs."""


@dataclass(frozen=True)
class Aim:
    """A moment: some seconds after a phase is entered for the N-th time, from 1."""

    phase: str
    entry: int
    seconds: float


@dataclass(frozen=True)
class Segment:
    """A time that a command spends in one phase without a break."""

    phase: str
    entry: int
    seconds: float


class PhaseRecorder:
    """Follows the phases of this process."""

    def __init__(self, record: Path, aim: Aim | None) -> None:
        """``record`` is a file of zeros that ``new_record`` has made."""
        with record.open("r+b") as file:
            self._record = mmap.mmap(file.fileno(), _RECORD_BYTES)
        self._aim = aim
        self._stack: list[str] = []
        self._entries: Counter[str] = Counter()
        self._segments: list[Segment] = []
        self._began = time.perf_counter()
        self._now = START
        self._enter(START)

    def install(self) -> None:
        """Wraps the functions of ``HOOKS`` in this process."""
        for phase, module, place in HOOKS:
            owner: Any = importlib.import_module(module)
            *path, name = place.split(".")
            for part in path:
                owner = getattr(owner, part)
            setattr(owner, name, self._wrapped(getattr(owner, name), phase))

    def write_segments(self, path: Path) -> None:
        """Writes the segments so far as JSON."""
        self._end_segment()
        path.write_text(json.dumps([[part.phase, part.entry, part.seconds] for part in self._segments]))

    def _wrapped(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(function, updated=())
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._stack.append(phase)
            self._enter(phase)
            try:
                return function(*arguments, **named)
            finally:
                self._stack.pop()
                self._enter(self._stack[-1] if self._stack else START)

        return wrapped

    def _enter(self, phase: str) -> None:
        self._end_segment()
        self._now = phase
        self._entries[phase] += 1
        self._record[:_RECORD_BYTES] = phase.encode().ljust(_RECORD_BYTES, b"\0")
        aim = self._aim
        if aim and (aim.phase, aim.entry) == (phase, self._entries[phase]):
            kill_after(aim.seconds)

    def _end_segment(self) -> None:
        now = time.perf_counter()
        self._segments.append(Segment(self._now, self._entries[self._now], now - self._began))
        self._began = now


def new_record(path: Path) -> None:
    """Makes the file that holds the phase."""
    path.write_bytes(bytes(_RECORD_BYTES))


def read_phase(path: Path) -> str:
    """Returns the phase that a process was in when it ended."""
    return path.read_bytes().rstrip(b"\0").decode()


def read_segments(path: Path) -> list[Segment]:
    """Returns the segments of a process that has ended by itself."""
    return [Segment(*part) for part in json.loads(path.read_text())]


class _Signal(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("number", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("pad", ctypes.c_char * 48),
    )


class _Time(ctypes.Structure):
    _fields_ = (("interval", ctypes.c_long * 2), ("value", ctypes.c_long * 2))


def kill_after(seconds: float) -> None:
    """Lets the kernel kill this process with SIGKILL after some seconds."""
    libc, timer = ctypes.CDLL(None, use_errno=True), ctypes.c_void_p()
    nanoseconds = max(1, round(seconds * 1e9))
    event = _Signal(None, signal.SIGKILL, 0)
    when = _Time((0, 0), divmod(nanoseconds, 10**9))
    if libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) or libc.timer_settime(
        timer, 0, ctypes.byref(when), None
    ):
        raise OSError(ctypes.get_errno(), "the kernel gave no timer")
