"""Draws a run's signals, and the moments at which findings began."""

import math
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # draws into files, so it needs no display
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from training.diagnosis.watched_runs import Diagnosis
from training.doctor.signals import Signals
from training.doctor.thresholds import WARM_UP_ROWS
from training.files import atomic_file
from training.runs.doctor_log import Replay

_PANELS = (
    ("losses", (("d_loss", "discriminator"), ("g_loss", "generator")), "linear", True),
    (
        "logits of the discriminator",
        (("train_logit", "trained on"), ("held_out_logit", "held out"), ("probe_fake_logit", "generated")),
        "linear",
        True,
    ),
    ("gradient of the generator", (("g_gradient", "norm"),), "log", False),
    ("judge", (("score", "distance"),), "linear", False),
)
"""Title → signals with their legends, scale, whether the first rows may lie outside."""


def draw(known: Replay, diagnosis: Diagnosis, path: Path) -> Path:
    """Writes the panels for which the run has signals, and returns the path.

    A dashed line is a finding, and a thick one a treatment.
    """
    rows = known.signals
    panels = [panel for panel in _PANELS if any(_points(rows, signal) for signal, _ in panel[1])]
    figure, grid = pyplot.subplots(
        len(panels), 1, figsize=(9, 2.4 * len(panels)), layout="constrained", sharex=True, squeeze=False
    )
    try:
        for axes, (title, signals, scale, settled) in zip(grid[:, 0], panels, strict=True):
            axes.set_title(title, fontsize="medium")
            axes.set_yscale(scale)
            for signal, legend in signals:
                if points := _points(rows, signal):
                    axes.plot(*zip(*points, strict=True), label=legend, linewidth=1, marker="." * (len(points) < 40))
            if settled:
                _fit_to_settled(axes, rows, [signal for signal, _ in signals])
            _mark(axes, diagnosis, known)
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small", loc="upper left")
        grid[-1, 0].set_xlabel("images seen")
        verdict = ", ".join(dict.fromkeys(finding.condition.name for finding in diagnosis.findings))
        if handles := _legend(diagnosis, known):
            figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")
        figure.suptitle(f"{diagnosis.run}: {verdict or 'nothing found'}")
        with atomic_file(path, one_writer=True) as file:
            figure.savefig(file, format="png", dpi=90)
    finally:
        pyplot.close(figure)
    return path


def _fit_to_settled(axes: Axes, rows: list[Signals], signals: list[str]) -> None:
    """Fits the vertical axis to the values after the first rows, whose swings would flatten all others."""
    settled = [value for signal in signals for _, value in _points(rows[WARM_UP_ROWS:], signal) if math.isfinite(value)]
    if settled:
        low, high = min(settled), max(settled)
        margin = (high - low or abs(high) or 1) * pyplot.rcParams["axes.ymargin"]
        axes.set_ylim(low - margin, high + margin)


def _mark(axes: Axes, diagnosis: Diagnosis, known: Replay) -> None:
    """Draws each finding from its beginning to its report, in one colour for each condition."""
    names = list(dict.fromkeys(finding.condition.name for finding in diagnosis.findings))
    for finding in diagnosis.findings:
        color = f"C{2 + names.index(finding.condition.name)}"
        axes.axvspan(finding.began, finding.step, color=color, alpha=0.25, linewidth=0)
        axes.axvline(finding.step, color=color, linewidth=1, linestyle="--")
    for course in known.courses:
        axes.axvline(course.treatment.images_seen, color="black", linewidth=2, alpha=0.6)


def _legend(diagnosis: Diagnosis, known: Replay) -> list[Line2D]:
    """Returns one handle for each condition, and one for treatments."""
    names = dict.fromkeys(finding.condition.name for finding in diagnosis.findings)
    handles = [
        Line2D([], [], color=f"C{2 + number}", linestyle="--", linewidth=1, label=name)
        for number, name in enumerate(names)
    ]
    if known.courses:
        handles.append(Line2D([], [], color="black", linewidth=2, alpha=0.6, label="treatment"))
    return handles


def _points(rows: list[Signals], signal: str) -> list[tuple[int, float]]:
    if signal == "probe_fake_logit":  # those of other rows are of single batches, augmented and in training mode
        signal, rows = "fake_logit", [row for row in rows if row.train_logit is not None]
    return [(row.step, value) for row in rows if (value := getattr(row, signal)) is not None]
