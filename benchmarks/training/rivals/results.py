"""The results: one line per data set, contender and mark, written as soon as it is known."""

import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError
from training.runs.json_lines import Line, append_line

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Cell:
    """What one line is about."""

    case: str
    contender: str
    minutes: float
    clock: str


class Results:
    """The folder of a comparison: ``results.jsonl``, and the samples that the pictures are made of."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "results.jsonl"

    def lines(self) -> dict[Cell, Line]:
        """Returns the newest line of each cell. Raises ``TrainingError`` for a line that is none."""
        found = {}
        for number, text in enumerate(self._file.read_text().splitlines() if self._file.exists() else [], 1):
            try:
                line = json.loads(text)
                cell = Cell(line["dataset"], line["contender"], line["minutes"], line["clock"])
            except (ValueError, KeyError, TypeError):
                raise TrainingError(
                    f"line {number} of {self._file} is no result: a kill may have torn it; remove the line, and its "
                    "run is repeated"
                ) from None
            found[cell] = line
        return found

    def missing(self, cells: Iterable[Cell], settings: dict[str, Any]) -> list[Cell]:
        """Returns the cells that have no line yet, or whose line is of other settings than these."""
        lines = self.lines()
        return [cell for cell in cells if cell not in lines or lines[cell]["settings"] != settings]

    def add(self, cell: Cell, line: Line) -> None:
        """Adds a line about a cell."""
        self._folder.mkdir(parents=True, exist_ok=True)
        about = {
            "dataset": cell.case,
            "contender": cell.contender,
            "minutes": cell.minutes,
            "clock": cell.clock,
            "machine": machine(),
        }
        append_line(self._file, about | line)

    def samples(self, cell: Cell) -> Path:
        """Returns the path of a cell's sample grid."""
        return self._folder / "samples" / f"{cell.case}-{cell.contender}-{cell.minutes:g}-{cell.clock}.png"


def machine() -> str:
    """Returns the processor and the versions that decide the speed of a run."""
    model = platform.processor() or platform.machine()
    for text in _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []:
        if text.startswith("model name"):
            model = text.partition(":")[2].strip()
            break
    return f"{model}, {platform.system()}, PyTorch {torch.__version__}, {torch.get_num_threads()} thread(s)"
