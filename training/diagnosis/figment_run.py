"""Reads the folder of one of Figment's own runs, with all its signals."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from training.diagnosis.watched_runs import WatchedRuns
from training.doctor.signals import Signals
from training.runs.folder import RunFolder
from training.runs.loggers import METRICS_FILE

_METRICS = {
    "d_loss": "discriminator_loss",
    "g_loss": "generator_loss",
    "g_gradient": "generator_gradient_norm",
    "fake_logit": "fake_logit",
}
_SCORES = {"score": "fxd", "coverage": "coverage"}


def read_run(path: Path, runs: WatchedRuns) -> list[Signals]:
    """Passes the run to a doctor; its steps are images seen. Returns its rows. Raises ``TrainingError``."""
    run = RunFolder.open(path)
    values: dict[int, dict[str, float]] = defaultdict(dict)
    for line in _complete_lines(run.path / METRICS_FILE):
        values[line["images_seen"]].update(_take(line, _METRICS))
    for line in _complete_lines(run.scores):
        known, scores = values[line["images_seen"]], _take(line, _SCORES)
        if scores["score"] < known.get("score", math.inf):  # of several EMAs the best, as in best.pt
            known.update(scores)
    watched = runs.add(run.path.resolve().name, run.config.loss)
    rows = [Signals(seen, **values[seen]) for seen in sorted(values)]
    for row in rows:
        runs.observe(watched, row)
    return rows


def _take(line: dict[str, Any], names: dict[str, str]) -> dict[str, float]:
    return {signal: line[name] for signal, name in names.items() if name in line}


def _complete_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines up to the first torn one: the run may be training, or was killed while it wrote."""
    lines = []
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            lines.append(json.loads(text))
        except (ValueError, RecursionError):
            break
    return lines
