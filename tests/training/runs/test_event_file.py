"""TensorBoard's files: readable by TensorBoard, complete after a kill, and an error where it happens."""

import errno
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.runs.event_file import EventFile


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_reads_curves_texts_and_pictures(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.add_scalar("loss", 0.5, 32)
    file.add_text("doctor", "all is well", 32)
    file.add_picture("samples", np.zeros((4, 6, 3), np.uint8), 32)
    file.flush()  # and no close: as after a kill
    assert points(tmp_path, "loss") == [(32, 0.5)]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["samples"]
    assert events.Tags()["tensors"] == ["doctor/text_summary"]


def test_a_resumed_run_hides_what_comes_after_its_checkpoint_and_keeps_the_rest(tmp_path: Path) -> None:
    killed = EventFile(tmp_path)
    for step in (32, 64, 96):
        killed.add_scalar("loss", step, step)
    killed.close()
    resumed = EventFile(tmp_path, hide_from=65)
    resumed.add_scalar("loss", 1.0, 96)
    resumed.close()
    assert points(tmp_path, "loss") == [(32, 32.0), (64, 64.0), (96, 1.0)]


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file._file.close()
    file._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115
    file._records._writer = file._file
    file.add_scalar("loss", 0.5, 32)
    with pytest.raises(OSError, match="tfevents") as raised:
        file.flush()
    assert raised.value.errno == errno.ENOSPC
    file._file.raw.close()
