"""Reads the folder of one of Figment's own runs, with all its signals."""

import json
import math
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from training.diagnosis.watched_runs import Diagnosis
from training.doctor.case import Case
from training.doctor.signals import Signals, known_loss
from training.loop.treatment import treated_config
from training.runs.advice import fitting_attempts
from training.runs.doctor_log import Replay, replay
from training.runs.folder import RunFolder
from training.runs.json_lines import DOCTOR_FILE, METRICS_FILE

_METRICS = {
    "d_loss": "discriminator_loss",
    "g_loss": "generator_loss",
    "g_gradient": "generator_gradient_norm",
    "fake_logit": "fake_logit",
}
_SCORES = {"score": "fxd", "coverage": "coverage"}


def read_run(path: Path) -> tuple[Replay, Diagnosis]:
    """Returns what the doctor knows of a run, and its diagnosis; steps are images seen. Raises ``TrainingError``.

    It is what the doctor has said while the run trained. A run of an earlier version is diagnosed from its metrics.
    """
    run = RunFolder.open(path)
    known = replay(run.path, run.config) if (run.path / DOCTOR_FILE).exists() else _from_metrics(run)
    name, loss, case = run.path.resolve().name, run.config.loss, known.case
    config = treated_config(run.config, [course.treatment for course in known.courses])
    fitting = partial(fitting_attempts, config=config)
    return known, Diagnosis(name, case.rows, known_loss(loss) is not None, loss, tuple(case.findings), fitting)


def describe_actions(known: Replay) -> list[str]:
    """Returns a line for each treatment with the score before and after, and one if the doctor gave the run up."""
    lines = []
    for course in known.courses:
        before, after = ("no score" if math.isinf(score) else f"{score:.4g}" for score in (course.before, course.after))
        lines.append(f"treated at {course.treatment.images_seen}, {course.treatment}: score {before} → {after}")
    return [*lines, *([f"given up: {known.given_up}"] if known.given_up else [])]


def _from_metrics(run: RunFolder) -> Replay:
    values: dict[int, dict[str, float]] = defaultdict(dict)
    for line in _complete_lines(run.path / METRICS_FILE):
        values[line["images_seen"]].update(_take(line, _METRICS))
    for line in _complete_lines(run.scores):
        best, scores = values[line["images_seen"]], _take(line, _SCORES)
        if scores["score"] < best.get("score", math.inf):  # of several EMAs the best, as in best.pt
            best.update(scores)
    known = Replay(Case(run.config.loss, judged=run.config.judge is not None))
    for seen in sorted(values):
        known.add_signals(Signals(seen, **values[seen]))
    return known


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
