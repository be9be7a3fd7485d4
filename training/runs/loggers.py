"""What a person and a program see of a run as it goes: a progress bar or lines, JSON lines, TensorBoard."""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from training.console import console

METRICS_FILE = "metrics.jsonl"


class Monitor:
    """Writes what it is told wherever somebody may look."""

    def __init__(self, folder: Path, images_seen: int, budget: int, quiet: bool = False) -> None:
        """Takes up where ``images_seen`` is; lines from beyond it, by a run that was killed there, are forgotten.

        ``quiet`` shows a progress bar at most.
        """
        truncate_after(folder / METRICS_FILE, images_seen)
        self._lines = (folder / METRICS_FILE).open("a", buffering=1)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen or None)
        self._budget, self._quiet = budget, quiet
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
        self._tick_began = time.perf_counter()

    def start(self) -> None:
        """Shows the progress bar, where there is a terminal."""
        self._progress.start()

    def stop(self) -> None:
        """Closes everything."""
        self._progress.stop()
        self._lines.close()
        self._board.close()

    def step(self, images_seen: int) -> None:
        """Moves the progress bar."""
        self._progress.update(self._task, completed=images_seen)

    def tick(self, images_seen: int, means: dict[str, float], judging: float) -> None:
        """Writes the means since the last tick, of whose time ``judging`` seconds went into scoring."""
        now = time.perf_counter()
        values = {**means, "judge_share": judging / (now - self._tick_began)}
        self._tick_began = now
        self._lines.write(json.dumps({"images_seen": images_seen, **values, "time": time.time()}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, images_seen)
        summary = _summary(means)
        if not self._progress.disable:
            self._progress.update(self._task, description=summary)
        elif not self._quiet:
            speed = means["images_per_second"]
            left = timedelta(seconds=round((self._budget - images_seen) / speed))
            line = f"{images_seen} of {self._budget} images  {summary}  {speed:.0f} images/s  {left} left"
            print(line, file=sys.stderr, flush=True)

    def score(self, images_seen: int, half_life: int, scores: dict[str, float]) -> None:
        """Shows what the judge says of an averaged generator."""
        for name, value in scores.items():
            self._board.add_scalar(f"{name}/half_life_{half_life}", value, images_seen)
        if self._quiet:
            return
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        console.print(f"{images_seen} images, half-life {half_life}: {shown}", highlight=False)

    def picture(self, path: Path, grid: Image.Image, images_seen: int) -> None:
        """Writes a grid as a file and shows it in TensorBoard."""
        grid.save(path)
        self._board.add_image(path.parent.name, np.asarray(grid.convert("RGB")), images_seen, dataformats="HWC")


def truncate_after(lines: Path, images_seen: int) -> None:
    """Forgets the JSON lines from beyond so many images, and one that was torn."""
    if not lines.exists():
        return
    kept = []
    for line in lines.read_text().splitlines(keepends=True):
        try:
            if json.loads(line)["images_seen"] <= images_seen:
                kept.append(line)
        except ValueError:
            break
    draft = lines.with_suffix(".tmp")
    draft.write_text("".join(kept))
    draft.replace(lines)


def _summary(means: dict[str, float]) -> str:
    """The means that tell at a glance how the game stands."""
    parts = [
        f"loss D {means['discriminator_loss']:.3f}",
        *([f"G {means['generator_loss']:.3f}"] if "generator_loss" in means else []),
        f"logit real {means['real_logit']:.2f} fake {means['fake_logit']:.2f}",
        *([f"gradient D {means[norm]:.2f}"] if (norm := "discriminator_gradient_norm") in means else []),
        *([f"G {means[norm]:.2f}"] if (norm := "generator_gradient_norm") in means else []),
    ]
    return "  ".join(parts)
