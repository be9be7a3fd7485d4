"""The table of all results, and a picture per data set."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.training.rivals.cases import CASES, Case
from benchmarks.training.rivals.entries import PRESET, Entry
from benchmarks.training.rivals.judges import METRICS
from benchmarks.training.rivals.results import Cell, Results
from training.evaluation.shared.scores import KERNEL
from training.files import write_atomic
from training.runs.json_lines import Line

CELL_SIDE = 256
_LABELS, _GAP, _TITLES = 150, 6, 24
"""Pixels: the width of the rows' labels, the gap between two cells, the height of the columns' titles."""

_SCALED = {KERNEL: 1000}
"""Metric → what it is multiplied by in tables."""


class Report:
    """What is known of a comparison on one clock. A table shows a dash where there is no result."""

    def __init__(self, results: Results, entries: Sequence[Entry], clock: str) -> None:
        self._results, self._entries = results, list(entries)
        self._lines = {cell: line for cell, line in results.lines().items() if cell.clock == clock}
        self._clock = clock

    def write(self, folder: Path) -> list[Path]:
        """Writes ``rivals.md`` and ``CASE.png`` for every data set with a result, and returns their paths."""
        cases = [case for case in CASES.values() if self._marks(case)]
        table = folder / "rivals.md"
        write_atomic(table, "\n".join(self._section(case) for case in cases).encode())
        written = [table]
        for case in cases:
            written.append(folder / f"{case.name}.png")
            self._picture(case).save(written[-1])
        return written

    def _marks(self, case: Case) -> list[float]:
        return sorted({cell.minutes for cell in self._lines if cell.case == case.name})

    def _line(self, case: Case, entry: str, minutes: float) -> Line | None:
        return self._lines.get(Cell(case.name, entry, minutes, self._clock))

    def _section(self, case: Case) -> str:
        names = [entry.title for entry in self._entries]
        lines = [line for cell, line in self._lines.items() if cell.case == case.name]
        head = [f"### {case.title}", "", f"| at | lower is better | {' | '.join(names)} | preset ÷ best other | real |"]
        rows = [self._row(case, minutes, metric) for minutes in self._marks(case) for metric in METRICS]
        speeds = [self._run_row(case, entry) for entry in self._entries]
        marks = " | ".join(f"{minutes:g} min" for minutes in self._marks(case))
        columns = "|---" * len(self._marks(case))
        return "\n".join(
            [
                *head,
                f"|---|---{'|---' * len(names)}|---|---|",
                *rows,
                "",
                f"| images seen (images/s, minutes) | {marks} |",
                f"|---{columns}|",
                *speeds,
                "",
                *self._notes(lines),
                "",
            ]
        )

    def _row(self, case: Case, minutes: float, metric: str) -> str:
        found = {entry.name: self._line(case, entry.name, minutes) for entry in self._entries}
        values = {name: (line or {}).get("scores", {}).get(metric) for name, line in found.items()}
        floors = {line["floor"].get(metric) for line in found.values() if line} - {None}
        cells = [
            _number(values[name], metric) if line is None or "scores" in line else "diverged"
            for name, line in found.items()
        ]
        floor = _number(min(floors), metric) if floors else "–"
        ratio = preset_ratio(values)
        told = "–" if ratio is None else f"**{ratio:.2f}**"
        name = f"{metric} × {_SCALED[metric]}" if metric in _SCALED else metric
        return f"| {minutes:g} min | {name} | {' | '.join(cells)} | {told} | {floor} |"

    def _run_row(self, case: Case, entry: Entry) -> str:
        cells = []
        for minutes in self._marks(case):
            line = self._line(case, entry.name, minutes)
            cells.append(
                f"{line['images']} ({line['images_per_second']:.3g}, {line['seconds'] / 60:.2f})" if line else "–"
            )
        return f"| {entry.title} | {' | '.join(cells)} |"

    def _notes(self, lines: list[Line]) -> list[str]:
        counts = sorted({line["samples"] for line in lines})
        time = "processor time" if self._clock == "cpu" else "wall-clock time"
        notes = [
            f"Minutes of {time}. {' or '.join(map(str, counts))} generated images against as many real ones; "
            f"{', '.join(sorted({line['judge'] for line in lines}))}. Machine: "
            + "; ".join(sorted({line["machine"] for line in lines}))
            + "."
        ]
        if len({line["machine"] for line in lines}) > 1:
            notes.append("**Several machines: at equal time, the faster one has seen more images.**")
        if len({line["judge"] for line in lines}) > 1:
            notes.append("**Several judges: fxd compares under the same one only.**")
        return notes

    def _picture(self, case: Case) -> Image.Image:
        """Draws the samples: a row per contender that has a result, a column per mark."""
        marks, step = self._marks(case), CELL_SIDE + _GAP
        entries = [entry for entry in self._entries if any(self._line(case, entry.name, minutes) for minutes in marks)]
        canvas = Image.new("RGB", (_LABELS + step * len(marks), _TITLES + step * len(entries)), "white")
        draw = ImageDraw.Draw(canvas)
        for column, minutes in enumerate(marks):
            centre = _LABELS + step * column + CELL_SIDE // 2
            draw.text((centre, _TITLES // 2), f"{minutes:g} min", fill="black", anchor="mm", font_size=14)
        for row, entry in enumerate(entries):
            top = _TITLES + step * row
            draw.multiline_text(
                (6, top + CELL_SIDE // 2), entry.title.replace(" ", "\n"), fill="black", anchor="lm", font_size=14
            )
            for column, minutes in enumerate(marks):
                corner = (_LABELS + step * column, top)
                shown = self._cell(case, entry, minutes)
                if isinstance(shown, Image.Image):
                    canvas.paste(shown, corner)
                else:
                    middle = (corner[0] + CELL_SIDE // 2, top + CELL_SIDE // 2)
                    draw.text(middle, shown, fill="black", anchor="mm", font_size=14)
        return canvas

    def _cell(self, case: Case, entry: Entry, minutes: float) -> Image.Image | str:
        """Returns the samples of a cell, or in words why there are none."""
        line = self._line(case, entry.name, minutes)
        path = self._results.samples(Cell(case.name, entry.name, minutes, self._clock))
        if line is None:
            return "not run"
        if "scores" not in line:
            return "diverged"
        # Lines of another machine are easily copied without its pictures.
        return _enlarged(path) if path.exists() else f"no {path.parent.name}/{path.name}"


def preset_ratio(values: dict[str, float | None]) -> float | None:
    """Returns the preset's value as a share of the best other's; None if one is missing or that is not positive.

    ``kd-lite0`` is unbiased, so it may be negative: a share of that would mean nothing.
    """
    ours = values.get(PRESET)
    others = [value for name, value in values.items() if name != PRESET and value is not None]
    if ours is None or not others or min(others) <= 0:
        return None
    return ours / min(others)


def _number(value: float | None, metric: str) -> str:
    return "–" if value is None else f"{value * _SCALED.get(metric, 1):.4g}"


def _enlarged(path: Path) -> Image.Image:
    """Returns a sample grid at the size of a cell; whole factors keep its pixels square."""
    with Image.open(path) as grid:
        pixels = np.asarray(grid.convert("RGB"))
    factor = max(1, CELL_SIDE // len(pixels))
    return Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
