"""Reads stats.jsonl, the log of StyleGAN2-ADA, StyleGAN3 and R3GAN."""

import json
import math
from pathlib import Path
from typing import Any

from training.diagnosis.names import find_names
from training.diagnosis.watched_runs import WatchedRuns
from training.doctor.signals import Signals
from training.errors import TrainingError

STATS_FILE = "stats.jsonl"
_STEP = "Progress/kimg"


def read_stats(path: Path, runs: WatchedRuns, loss: str, tags: dict[str, str]) -> None:
    """Passes the run to a doctor; its steps are thousands of images. Raises ``TrainingError``.

    Each line holds the mean of every value over a tick. A damaged last line is ignored.
    """
    lines = _lines(path)
    names = find_names((name for line in lines for name in line), tags, str(path))
    watched = runs.add(path.parent.resolve().name, loss)
    for number, line in enumerate(lines):
        values = {signal: _mean(line[name]) for name, signal in names.items() if name in line}
        step = _mean(line[_STEP]) if _STEP in line else number
        if None not in values.values() and step is not None and math.isfinite(step):
            runs.observe(watched, Signals(round(step), **values))


def _lines(path: Path) -> list[dict[str, Any]]:
    texts = path.read_text(errors="replace").splitlines()
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            if number == len(texts):
                break
            raise TrainingError(f"{path}, line {number}: this is no JSON") from error
        if not isinstance(line, dict):
            raise TrainingError(f"{path}, line {number}: a line of {STATS_FILE} is a JSON object")
        lines.append(line)
    return lines


def _mean(value: Any) -> float | None:
    """Returns the mean of a tick; None for a value that was not measured."""
    mean = value.get("mean") if isinstance(value, dict) else value
    try:
        return float(mean) if isinstance(mean, int | float) else None
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
