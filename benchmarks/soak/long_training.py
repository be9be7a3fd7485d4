"""Trains a tiny network on 10⁶ images: memory must be flat, and files must grow with what is asked for and no more."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import DIGITS
from benchmarks.soak.training_faults.preloaded import ROOT, child_environment

_IMAGES, _SMOKE_IMAGES = 1_000_000, 6_400
_TICKS, _PICTURES, _SAVES = 1000, 10, 20
"""Ticks, grids and scores, and checkpoints of the whole run."""
_SETTINGS = ("network.family=mlp", "network.width=16", "network.depth=1", "network.noise_dim=16", "data.fit=crop")
_MORE = ("data.resolution=16", "batch_size=64", "judge.samples=500", "ema.half_lives=[20000]", "precision=float32")

_WARM_UP = 0.1
"""Share of the run after which memory must be flat."""
_SLACK, _SMOKE_SLACK = 1.02, 1.3
"""Growth that is allowed: a short run has not drawn and judged often enough to have all that it keeps."""
_SLACK_BYTES = 8 * 2**20
"""On top of it: pages that the allocator keeps differ from moment to moment."""
_LINE_BYTES, _TICK_EVENT_BYTES, _PICTURE_BYTES, _ROW_BYTES = 600, 2000, 200_000, 250
"""Most bytes of a line of metrics, of its events for TensorBoard, of a grid, and of a line of ``doctor.jsonl``."""
_DOCTOR_ROWS = 1000


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Trains once, and returns the rows."""
    images = _SMOKE_IMAGES if smoke else _IMAGES
    ticks = _TICKS // 10 if smoke else _TICKS
    folder = work / "run"
    paces = [f"images={images}", f"pace.tick={images // ticks}", f"pace.samples={images // _PICTURES}"]
    paces += [f"judge.every={images // _PICTURES}", f"pace.checkpoint={images // _SAVES}"]
    settings = [f"--set={setting}" for setting in (*_SETTINGS, *_MORE, *paces)]
    command = [sys.executable, "-m", "training", "fit", "digits", "--data", str(DIGITS), "--out", str(folder)]
    readings: list[_Reading] = []
    with (work / "output").open("wb") as output:
        process = subprocess.Popen(
            [*command, *settings], cwd=ROOT, env=child_environment(work), stdout=output, stderr=output
        )
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            time.sleep(0.05 if smoke else 0.2)
            if (seen := _images_seen(folder)) and process.poll() is None:
                readings.append(_Reading(seen, watched.memory_info().rss, watched.num_fds()))
    if process.returncode:
        raise RuntimeError((work / "output").read_text())
    return [_memory(readings, images, _SMOKE_SLACK if smoke else _SLACK), _files(folder, images, ticks)]


@dataclass(frozen=True)
class _Reading:
    images_seen: int
    resident_bytes: int
    open_files: int


def _images_seen(folder: Path) -> int:
    """Returns how far the run is, by the last whole line of its metrics; 0 before the first."""
    try:
        text = (folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return 0
    lines = text[: text.rfind("\n") + 1].splitlines()
    return int(lines[-1].split('"images_seen": ')[1].split(",")[0]) if lines else 0


def _memory(readings: list[_Reading], images: int, slack: float) -> Outcome:
    # The first score trains the judge, and the first grid imports the plots. Both come with the first tenth.
    later = [reading for reading in readings if reading.images_seen > _WARM_UP * images]
    if len(later) < 10:
        raise RuntimeError(f"only {len(later)} readings of memory: the run was too short to say anything")
    settled = later[: max(1, len(later) // 9)]
    before, most = max(reading.resident_bytes for reading in settled), max(reading.resident_bytes for reading in later)
    files = max(reading.open_files for reading in settled), max(reading.open_files for reading in later)
    return Outcome(
        fault=f"a training of {images:,} images".replace(",", " "),
        tried=f"once, {len(readings)} readings",
        promised=f"memory within {slack - 1:.0%} and 8 MiB of the second tenth, and at most two more open files",
        happened=f"{before / 2**20:.0f} MiB in the second tenth, {most / 2**20:.0f} MiB at most; "
        f"{files[0]} and {files[1]} open files",
        kept=most <= slack * before + _SLACK_BYTES and files[1] <= files[0] + 2,
    )


def _files(folder: Path, images: int, ticks: int) -> Outcome:
    metrics, doctor = folder / "metrics.jsonl", folder / "doctor.jsonl"
    lines, rows = (path.read_bytes().count(b"\n") for path in (metrics, doctor))
    pictures = list((folder / "samples").iterdir())
    events = sum(path.stat().st_size for path in (folder / "tensorboard").iterdir())
    shown = sum(path.stat().st_size for path in pictures)
    kept = (
        # A checkpoint's step has a line of its own where it is not the step of a tick, and findings have theirs.
        lines <= ticks + _SAVES + 20
        and metrics.stat().st_size <= lines * _LINE_BYTES
        and rows <= _DOCTOR_ROWS
        and doctor.stat().st_size <= rows * _ROW_BYTES
        and len(pictures) <= _PICTURES + 2
        and shown <= len(pictures) * _PICTURE_BYTES
        and events <= lines * _TICK_EVENT_BYTES + len(pictures) * _PICTURE_BYTES
        and len(list((folder / "checkpoints").iterdir())) == 2
    )
    return Outcome(
        fault=f"files of a training of {images:,} images".replace(",", " "),
        tried=f"once, with {ticks} ticks and {_PICTURES} grids",
        promised="a line a tick, a grid an interval, at most 1000 rows for the doctor, two checkpoints; sizes bounded",
        happened=f"metrics.jsonl {lines} lines, {metrics.stat().st_size / 1000:.0f} kB; doctor.jsonl {rows} lines, "
        f"{doctor.stat().st_size / 1000:.0f} kB; TensorBoard {events / 1000:.0f} kB; {len(pictures)} grids, "
        f"{shown / 1000:.0f} kB; 2 checkpoints",
        kept=kept,
    )
