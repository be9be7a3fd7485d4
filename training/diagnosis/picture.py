"""Draws a run's signals, and the moments at which findings began."""

from pathlib import Path

import matplotlib

matplotlib.use("agg")  # draws into files, so it needs no display
from matplotlib import pyplot
from matplotlib.axes import Axes

from training.diagnosis.watched_runs import Diagnosis
from training.doctor.signals import Signals
from training.files import atomic_file

_PANELS = (
    ("losses", (("d_loss", "discriminator"), ("g_loss", "generator")), "linear"),
    ("gradient of the generator", (("g_gradient", "norm"),), "log"),
    ("judge", (("score", "distance"),), "linear"),
)
"""Title → signals with their legends, scale."""


def draw(rows: list[Signals], diagnosis: Diagnosis, path: Path) -> Path:
    """Writes the panels for which the run has signals, with a line at every finding, and returns the path."""
    panels = [panel for panel in _PANELS if any(_points(rows, signal) for signal, _ in panel[1])]
    figure, grid = pyplot.subplots(
        len(panels), 1, figsize=(9, 2.4 * len(panels)), layout="constrained", sharex=True, squeeze=False
    )
    try:
        for axes, (title, signals, scale) in zip(grid[:, 0], panels, strict=True):
            axes.set_title(title, fontsize="medium")
            axes.set_yscale(scale)
            for signal, legend in signals:
                if points := _points(rows, signal):
                    axes.plot(*zip(*points, strict=True), label=legend, linewidth=1, marker="." * (len(points) < 40))
            _mark(axes, diagnosis)
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small", loc="upper right")
        grid[-1, 0].set_xlabel("images seen")
        verdict = ", ".join(dict.fromkeys(finding.condition.name for finding in diagnosis.findings))
        figure.suptitle(f"{diagnosis.run}: {verdict or 'nothing found'}")
        with atomic_file(path, one_writer=True) as file:
            figure.savefig(file, format="png", dpi=90)
    finally:
        pyplot.close(figure)
    return path


def _mark(axes: Axes, diagnosis: Diagnosis) -> None:
    """Draws each finding from its beginning to its report, in one colour and with one legend for each condition."""
    names = list(dict.fromkeys(finding.condition.name for finding in diagnosis.findings))
    for finding in diagnosis.findings:
        color = f"C{2 + names.index(finding.condition.name)}"
        axes.axvspan(finding.began, finding.step, color=color, alpha=0.25, linewidth=0)
        axes.axvline(finding.step, color=color, linewidth=1, linestyle="--")
    for number, name in enumerate(names):
        axes.plot([], [], color=f"C{2 + number}", linestyle="--", linewidth=1, label=name)


def _points(rows: list[Signals], signal: str) -> list[tuple[int, float]]:
    return [(row.step, value) for row in rows if (value := getattr(row, signal)) is not None]
