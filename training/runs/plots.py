"""Draws the curves of a run."""

import gc

import matplotlib

matplotlib.use("agg")  # draws into files, so it needs no display
from matplotlib import pyplot
from matplotlib.axes import Axes

from training.files import atomic_file
from training.objective.losses import LOSSES
from training.runs.folder import RunFolder
from training.runs.json_lines import METRICS_FILE, Line, read_lines


def plot_run(run: RunFolder) -> None:
    """Draws ``curves.png`` from what the run has logged so far: losses, logits, gradient norms and scores."""
    metrics, scores = read_lines(run.path / METRICS_FILE), read_lines(run.scores)
    if metrics:
        _draw(run, metrics, scores)
        # A figure refers to itself in circles. Left to Python's own moment, 24 drawings took 36 MB more, and kept them.
        gc.collect()


def _draw(run: RunFolder, metrics: list[Line], scores: list[Line]) -> None:
    figure, axes = pyplot.subplots(2, 2, figsize=(11, 7), sharex=True)
    # Not a constrained layout: it draws everything twice, and all of these panels need the same room.
    figure.subplots_adjust(left=0.08, right=0.985, top=0.9, bottom=0.08, hspace=0.22, wspace=0.14)
    try:
        losses, logits, gradients, distances = axes.flat
        _plot_curves(losses, metrics, {"discriminator_loss": "discriminator", "generator_loss": "generator"}, "loss")
        equilibrium = LOSSES[run.config.loss].equilibrium
        if equilibrium is not None:
            losses.axhline(equilibrium, color="grey", linestyle="--", linewidth=1, label="D cannot tell")
        _plot_curves(logits, metrics, {"real_logit": "real", "fake_logit": "fake"}, "mean logit of D")
        norms = {"discriminator_gradient_norm": "discriminator", "generator_gradient_norm": "generator"}
        _plot_curves(gradients, metrics, norms, "gradient norm")
        gradients.set_yscale("log")
        title = scores[0]["judge"] if scores else "no judge"
        for half_life in run.config.ema.half_lives:
            chosen = [line for line in scores if line["half_life"] == half_life]
            _plot_curves(distances, chosen, {"fxd": f"half-life {half_life}"}, title)
        for panel in axes.flat:
            panel.grid(alpha=0.3)
            panel.set_xlabel("images seen")
            if panel.get_legend_handles_labels()[0]:
                panel.legend(fontsize="small")
        figure.suptitle(f"{run.config.name}: {run.config.network.family}, {run.config.loss}")
        with atomic_file(run.path / "curves.png", one_writer=True) as file:
            figure.savefig(file, format="png", dpi=90)
    finally:
        pyplot.close(figure)


def _plot_curves(axes: Axes, lines: list[Line], names: dict[str, str], title: str) -> None:
    """Plots each named value over the images seen; ``names`` are value → legend."""
    axes.set_title(title, fontsize="medium")
    for name, legend in names.items():
        points = [(line["images_seen"], line[name]) for line in lines if name in line]
        if points:
            axes.plot(*zip(*points, strict=True), label=legend, linewidth=1)
