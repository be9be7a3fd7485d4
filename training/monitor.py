"""What a person and a program see of a run: a progress bar, JSON lines, TensorBoard, grids of samples."""

import json
import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from training.console import console
from training.errors import TrainingError


class Monitor:
    """Averages what the steps report and, at every tick, writes it wherever somebody may look."""

    def __init__(self, folder: Path, images_seen: int, budget: int) -> None:
        self._lines = (folder / "metrics.jsonl").open("a", buffering=1)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=images_seen or None)
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
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._tick_began, self._tick_images = time.monotonic(), images_seen

    def __enter__(self) -> "Monitor":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._lines.close()
        self._board.close()

    def step(self, values: dict[str, Tensor], images_seen: int) -> None:
        """Takes one step's scalars. They stay on their device until the tick, so that no step waits for them."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._steps += 1
        self._progress.update(self._task, completed=images_seen)

    def tick(self, images_seen: int) -> None:
        """Writes the means since the last tick.

        Raises ``TrainingError`` if one of them is no number: then the weights are spoilt, and nothing must be saved.
        """
        if not self._steps:
            return
        now = time.monotonic()
        means: dict[str, Any] = {name: float(total) / self._steps for name, total in self._sums.items()}
        for name, value in means.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} is {value} after {images_seen} images: the training has diverged. The last checkpoint is "
                    "from before; try a lower learning rate"
                )
        speed = (images_seen - self._tick_images) / (now - self._tick_began)
        line = {"images_seen": images_seen, **means, "images_per_second": speed, "time": time.time()}
        self._lines.write(json.dumps(line) + "\n")
        for name, value in {**means, "images_per_second": speed}.items():
            self._board.add_scalar(name, value, images_seen)
        summary = "  ".join(f"{name} {value:.3f}" for name, value in means.items())
        if self._progress.disable:
            print(f"{images_seen} images  {summary}  {speed:.0f} images/s", file=sys.stderr, flush=True)
        else:
            self._progress.update(self._task, description=summary)
        self._sums, self._steps = {}, 0
        self._tick_began, self._tick_images = now, images_seen

    def picture(self, path: Path, grid: Image.Image, images_seen: int) -> None:
        """Writes a grid as a file and shows it in TensorBoard."""
        grid.save(path)
        self._board.add_image(path.parent.name, np.asarray(grid.convert("RGB")), images_seen, dataformats="HWC")
