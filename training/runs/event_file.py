"""Writes TensorBoard's event files, each event at once.

PyTorch's ``SummaryWriter`` writes in a thread of its own. On a full disk that thread ends with a traceback, and the
training hears of it later or not at all.
"""

import os
import socket
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from training.files import named_errors


class EventFile:
    """A new event file in a folder. Its methods raise ``OSError``."""

    def __init__(self, folder: Path, hide_from: int | None = None) -> None:
        """``hide_from`` is the step from which on TensorBoard forgets what earlier files of the folder hold."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._file = self._path.open("wb")
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        if hide_from is not None:
            self._write(Event(step=hide_from, session_log=SessionLog(status=SessionLog.START)))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Adds a point of a curve."""
        self._add(summary.scalar(name, value), step)  # type: ignore[no-untyped-call]

    def add_text(self, name: str, text: str, step: int) -> None:
        """Adds a text."""
        self._add(summary.text(name, text), step)  # type: ignore[no-untyped-call]

    def add_picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Adds a picture, uint8 [H, W, 3]."""
        self._add(summary.image(name, pixels, dataformats="HWC"), step)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """Hands everything to the system, so a kill does not lose it."""
        with named_errors(self._path):
            self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        with named_errors(self._path):
            self._file.close()

    def _add(self, values: Summary, step: int) -> None:
        self._write(Event(summary=values, step=step))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        with named_errors(self._path):
            self._records.write(event.SerializeToString())
