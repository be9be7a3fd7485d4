"""The curves of a run as a picture."""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")  # draws into files; no display is asked for
from matplotlib import pyplot
from matplotlib.axes import Axes

from training.objective.losses import LOSSES
from training.runs.folder import RunFolder
from training.runs.loggers import METRICS_FILE

Lines = list[dict[str, Any]]


def plot_run(run: RunFolder) -> None:
    """Draws ``curves.png`` from what the run has written so far: losses, logits, gradients, and the judge's scores."""
    metrics, scores = _read(run.path / METRICS_FILE), _read(run.scores)
    if not metrics:
        return
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained", sharex=True)
    try:
        losses, logits, gradients, judged = axes.flat
        _curves(losses, metrics, {"discriminator_loss": "discriminator", "generator_loss": "generator"}, "loss")
        equilibrium = LOSSES[run.config.loss].equilibrium
        if equilibrium is not None:
            losses.axhline(equilibrium, color="grey", linestyle="--", linewidth=1, label="D cannot tell")
        _curves(logits, metrics, {"real_logit": "real", "fake_logit": "fake"}, "mean logit of D")
        norms = {"discriminator_gradient_norm": "discriminator", "generator_gradient_norm": "generator"}
        _curves(gradients, metrics, norms, "gradient norm")
        gradients.set_yscale("log")
        for half_life in run.config.ema.half_lives:
            chosen = [line for line in scores if line["half_life"] == half_life]
            _curves(judged, chosen, {"fxd": f"half-life {half_life}"}, scores[0]["judge"] if scores else "no judge")
        for panel in axes.flat:
            panel.grid(alpha=0.3)
            panel.set_xlabel("images seen")
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize="small")
        figure.suptitle(f"{run.config.name}: {run.config.network.family}, {run.config.loss}")
        draft = run.path / "curves.tmp"
        figure.savefig(draft, format="png", dpi=90)
        draft.replace(run.path / "curves.png")
    finally:
        pyplot.close(figure)


def _curves(axes: Axes, lines: Lines, names: dict[str, str], title: str) -> None:
    axes.set_title(title, fontsize="medium")
    for name, label in names.items():
        points = [(line["images_seen"], line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, linewidth=1)


def _read(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
