"""Where a run reports to: JSON lines, TensorBoard, a progress bar, lines on the console.

To add a destination, write a ``Logger`` and add it to the list in ``run_loggers``.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.console import console
from training.files import named_errors
from training.runs.json_lines import METRICS_FILE, truncate_after


class Logger:
    """Receives the progress of a run. By default every method does nothing."""

    def start(self) -> None:
        """Called once before the first step."""

    def step(self, images_seen: int) -> None:
        """Called after every step."""

    def metrics(self, images_seen: int, means: dict[str, float]) -> None:
        """Receives the means since the last call, once per tick."""

    def diagnosis(self, images_seen: int, event: dict[str, Any], text: str, standing: list[str]) -> None:
        """Receives a finding, a treatment, its outcome, or the end of a finding.

        ``event`` is for programs, and empty if a finding has just ended; ``text`` is for people. ``standing`` are the
        conditions that are found at this moment.
        """

    def scores(self, images_seen: int, half_life: int, scores: dict[str, float]) -> None:
        """Receives the judge's scores of the EMA generator with this half-life, in images."""

    def picture(self, images_seen: int, name: str, picture: Image.Image) -> None:
        """Receives a picture, such as the grid of ``samples``."""

    def close(self) -> None:
        """Called once at the end, after an error too."""


def run_loggers(
    folder: Path, images_seen: int, budget: int, quiet: bool = False, lines: int | None = None
) -> list[Logger]:
    """Returns the loggers of a run that continues from ``images_seen``; ``quiet`` omits the lines on the console.

    ``lines`` is how many ``metrics.jsonl`` had when the checkpoint was written; None if the checkpoint does not say.
    """
    return [
        JsonLinesLogger(folder, images_seen, lines),
        TensorBoardLogger(folder, images_seen),
        ProgressBar(images_seen, budget),
        *([] if quiet else [ConsoleLogger(budget)]),
    ]


class JsonLinesLogger(Logger):
    """Writes metrics into ``metrics.jsonl``."""

    def __init__(self, folder: Path, images_seen: int, lines: int | None = None) -> None:
        """Removes lines from beyond the checkpoint: an earlier process wrote them and was killed before saving."""
        self._path = folder / METRICS_FILE
        truncate_after(self._path, images_seen, lines)
        self._file = self._path.open("a", buffering=1)

    def metrics(self, images_seen: int, means: dict[str, float]) -> None:
        self._write({"images_seen": images_seen, **means, "time": time.time()})

    def diagnosis(self, images_seen: int, event: dict[str, Any], text: str, standing: list[str]) -> None:
        if event:
            self._write({"images_seen": images_seen, **event, "time": time.time()})

    def close(self) -> None:
        with named_errors(self._path):
            self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        with named_errors(self._path):
            self._file.write(json.dumps(line) + "\n")


class TensorBoardLogger(Logger):
    """Writes everything into ``tensorboard/``."""

    def __init__(self, folder: Path, images_seen: int) -> None:
        from training.runs.event_file import EventFile  # imports for half a second, and export needs none of it

        self._file = EventFile(folder / "tensorboard", hide_from=images_seen + 1 if images_seen else None)

    def metrics(self, images_seen: int, means: dict[str, float]) -> None:
        for name, value in means.items():
            self._file.add_scalar(name, value, images_seen)
        self._file.flush()

    def diagnosis(self, images_seen: int, event: dict[str, Any], text: str, standing: list[str]) -> None:
        self._file.add_scalar("doctor/standing_findings", len(standing), images_seen)
        if event:
            self._file.add_text("doctor", text, images_seen)

    def scores(self, images_seen: int, half_life: int, scores: dict[str, float]) -> None:
        for name, value in scores.items():
            self._file.add_scalar(f"{name}/half_life_{half_life}", value, images_seen)

    def picture(self, images_seen: int, name: str, picture: Image.Image) -> None:
        self._file.add_picture(name, np.asarray(picture.convert("RGB")), images_seen)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class ProgressBar(Logger):
    """Shows progress and the latest losses, on a terminal only."""

    def __init__(self, images_seen: int, budget: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("fit", total=budget, completed=images_seen)
        self._standing: list[str] = []

    def start(self) -> None:
        self._progress.start()

    def step(self, images_seen: int) -> None:
        self._progress.update(self._task, completed=images_seen)

    def metrics(self, images_seen: int, means: dict[str, float]) -> None:
        self._progress.update(self._task, description=_summary(means, self._standing))

    def diagnosis(self, images_seen: int, event: dict[str, Any], text: str, standing: list[str]) -> None:
        self._standing = standing

    def close(self) -> None:
        self._progress.stop()


class ConsoleLogger(Logger):
    """Prints scores, and metrics where no progress bar shows them."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._began: float | None = None
        self._standing: list[str] = []

    def start(self) -> None:
        self._began = time.perf_counter()

    def step(self, images_seen: int) -> None:
        if self._began is not None and not console.is_terminal:
            seconds = time.perf_counter() - self._began
            print(f"{images_seen} of {self._budget} images: first step in {seconds:.1f} s", file=sys.stderr, flush=True)
        self._began = None

    def metrics(self, images_seen: int, means: dict[str, float]) -> None:
        if console.is_terminal:
            return
        speed = means["images_per_second"]
        left = timedelta(seconds=round((self._budget - images_seen) / speed))
        summary = _summary(means, self._standing)
        line = f"{images_seen} of {self._budget} images  {summary}  {speed:.0f} images/s  {left} left"
        print(line, file=sys.stderr, flush=True)

    def diagnosis(self, images_seen: int, event: dict[str, Any], text: str, standing: list[str]) -> None:
        self._standing = standing
        if event:
            console.print(f"{images_seen} images, doctor: {text}", highlight=False, markup=False, soft_wrap=True)

    def scores(self, images_seen: int, half_life: int, scores: dict[str, float]) -> None:
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        console.print(f"{images_seen} images, half-life {half_life}: {shown}", highlight=False)


def _summary(means: dict[str, float], standing: list[str]) -> str:
    """Returns the balance of generator and discriminator in one line: losses, logits, gradient norms, findings."""
    parts = [
        f"loss D {means['discriminator_loss']:.3f}",
        *([f"G {means['generator_loss']:.3f}"] if "generator_loss" in means else []),
        f"logit real {means['real_logit']:.2f} fake {means['fake_logit']:.2f}",
        *([f"gradient D {means[norm]:.2f}"] if (norm := "discriminator_gradient_norm") in means else []),
        *([f"G {means[norm]:.2f}"] if (norm := "generator_gradient_norm") in means else []),
        *([f"doctor: {', '.join(standing)}"] if standing else []),
    ]
    return "  ".join(parts)
