"""Plots a study: learning curves, the importance of parameters, and where good trials lie in the space."""

import base64
import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib

matplotlib.use("agg")  # draws into files, without a display
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from training.tuning.space.space import entries
from training.tuning.study.pruning import PRESET, rungs
from training.tuning.study.queue import identity_of
from training.tuning.study.study import Study

WINNER_COLOUR, PRESET_COLOUR, COMPLETE_COLOUR, PRUNED_COLOUR = "#0b6e8a", "#d1642a", "#5a6b78", "#c3ccd2"
_STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a97a0",
    "axes.labelcolor": "#3a464e",
    "xtick.color": "#5a6b78",
    "ytick.color": "#5a6b78",
    "font.size": 10,
    "svg.hashsalt": "figment",
}
_MIN_TRIALS = 4
"""Fewest complete trials for an estimate of importance."""


def learning_curves(study: Study, winner: int) -> str:
    """Plots the objective over the images seen; faint lines ended early, at their dot."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for trial in study.search.trials:
            steps = sorted(trial.intermediate_values)
            values = [trial.intermediate_values[step] for step in steps]
            if not steps:
                continue
            identity, pruned = identity_of(trial), trial.state == TrialState.PRUNED
            colour = {winner: WINNER_COLOUR, PRESET: PRESET_COLOUR}.get(
                identity, PRUNED_COLOUR if pruned else COMPLETE_COLOUR
            )
            special = identity in (winner, PRESET)
            axes.plot(steps, values, color=colour, linewidth=2.4 if special else 1, zorder=3 if special else 1)
            axes.plot(steps[-1], values[-1], ".", color=colour, markersize=9 if special else 5, zorder=3)
        for rung in rungs(study.plan.images) if study.plan.prune else ():
            axes.axvline(rung, color="#8a97a0", linestyle=":", linewidth=1)
        axes.plot([], [], color=WINNER_COLOUR, linewidth=2.4, label=f"trial {winner}, the winner")
        if winner != PRESET:
            axes.plot([], [], color=PRESET_COLOUR, linewidth=2.4, label="the preset")
        axes.plot([], [], color=COMPLETE_COLOUR, label="spent its budget")
        axes.plot([], [], color=PRUNED_COLOUR, marker=".", label="ended early")
        axes.legend(frameon=False, fontsize="small")
        _logarithmic(axes)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _count_label(value)))
        axes.set_xlabel("images seen")
        axes.set_ylabel("objective, smaller is better")

    return _svg(10, 4.6, draw)


def importances(study: Study) -> str | None:
    """Plots how strongly each parameter decides whether a trial is among the best, or None with too few trials."""
    complete = [trial for trial in study.search.trials if trial.state == TrialState.COMPLETE]
    if len(complete) < _MIN_TRIALS:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=0.34)
            found = get_param_importances(study.search.study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # all values equal, or no common parameter
            return None
    if not found or not any(found.values()):
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        names = list(reversed(found))
        axes.barh(names, [found[name] for name in names], color=WINNER_COLOUR, height=0.62)
        for row, name in enumerate(names):
            axes.text(
                found[name] + 0.008, row, f"{found[name]:.0%}", va="center", fontsize="small", color=COMPLETE_COLOUR
            )
        axes.set_xlim(0, max(found.values()) * 1.12)
        axes.set_xticks([])
        axes.spines[["bottom", "left"]].set_visible(False)
        axes.tick_params(length=0)

    return _svg(10, 0.5 + 0.34 * len(found), draw)


def slices(study: Study, winner: int) -> str | None:
    """Plots the objective over each parameter, or None without trials."""
    trials = [trial for trial in study.search.trials if _last(trial) is not None]
    names = _names(study, trials)
    if not names:
        return None
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        for axes, name in zip(grid.flat, names, strict=False):
            for trial in trials:
                if name in trial.params:
                    _dot(axes, trial, _position(trial, name), winner)
            _ticks(axes, trials, name)
            axes.set_title(name, fontsize=8.5, color="#3a464e")
            _logarithmic(axes)
            axes.tick_params(labelsize=8)
        for axes in list(grid.flat)[len(names) :]:
            axes.set_visible(False)
        figure.supylabel("objective at its last scoring", fontsize=9, color="#3a464e")

    return _svg(10, 0.4 + 2.1 * rows, draw)


def parallel_coordinates(study: Study, winner: int) -> str | None:
    """Plots every trial as a line through its parameters, darker if better, or None below two parameters."""
    trials = sorted(
        (trial for trial in study.search.trials if _last(trial) is not None), key=lambda trial: -(_last(trial) or 0)
    )
    names = [
        name for name in _names(study, trials) if all(name in trial.params for trial in trials if _within_space(trial))
    ]
    if len(names) < 2:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, trial in enumerate(trials):
            points = [
                (place, _scaled_position(trial, name)) for place, name in enumerate(names) if name in trial.params
            ]
            if len(points) < 2:
                continue
            identity = identity_of(trial)
            shade = 0.15 + 0.6 * (row / max(1, len(trials) - 1)) ** 2
            special = {winner: WINNER_COLOUR, PRESET: PRESET_COLOUR}.get(identity)
            axes.plot(
                *zip(*points, strict=True),
                color=special or COMPLETE_COLOUR,
                alpha=1 if special else shade,
                linewidth=2.4 if special else 1,
                zorder=3 if special else 1,
            )
        for place, name in enumerate(names):
            axes.axvline(place, color="#8a97a0", linewidth=0.8, zorder=0)
            low, high = _end_labels(trials, name)
            axes.text(place, -0.05, low, ha="center", va="top", fontsize=7.5, color=COMPLETE_COLOUR)
            axes.text(place, 1.05, high, ha="center", va="bottom", fontsize=7.5, color=COMPLETE_COLOUR)
        axes.set_xticks(
            range(len(names)), [name.replace(".", ".\n").replace(" ", "\n", 1) for name in names], fontsize=7.5
        )
        axes.tick_params(length=0, pad=16)
        axes.set_yticks([])
        axes.set_ylim(-0.02, 1.02)
        axes.spines[["left", "bottom"]].set_visible(False)

    return _svg(10, 4.4, draw)


def _svg(width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """Draws a figure, and returns it as a data URL."""
    with pyplot.rc_context(_STYLE):
        figure = pyplot.figure(figsize=(width, height), layout="constrained")
        try:
            draw(figure)
            content = io.BytesIO()
            figure.savefig(content, format="svg", metadata={"Date": None})
        finally:
            pyplot.close(figure)
    return "data:image/svg+xml;base64," + base64.b64encode(content.getvalue()).decode()


def _logarithmic(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _last(trial: FrozenTrial) -> float | None:
    """Returns the final objective, or the last one of a pruned trial."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None


def _names(study: Study, trials: list[FrozenTrial]) -> list[str]:
    """Returns the parameters of all trials, in the order of the space."""
    order = list(dict(entries(study.plan.space.search)))
    found = dict.fromkeys(name for trial in trials for name in trial.params)
    return sorted(found, key=lambda name: order.index(name.partition(" ")[0]))


def _within_space(trial: FrozenTrial) -> bool:
    return identity_of(trial) != PRESET  # the preset may lie outside the space


def _dot(axes: Axes, trial: FrozenTrial, position: float, winner: int) -> None:
    identity, pruned = identity_of(trial), trial.state == TrialState.PRUNED
    colour = {winner: WINNER_COLOUR, PRESET: PRESET_COLOUR}.get(identity, PRUNED_COLOUR if pruned else COMPLETE_COLOUR)
    value = _last(trial)
    assert value is not None
    axes.plot(position, value, "o", color=colour, markersize=7 if identity in (winner, PRESET) else 4)


def _position(trial: FrozenTrial, name: str) -> float:
    """Returns a parameter's position on its axis: the value, or the index of a choice."""
    return float(trial.distributions[name].to_internal_repr(trial.params[name]))


def _scaled_position(trial: FrozenTrial, name: str) -> float:
    """Returns the position scaled to 0 … 1."""
    distribution = trial.distributions[name]
    value = _position(trial, name)
    if isinstance(distribution, CategoricalDistribution):
        return value / max(1, len(distribution.choices) - 1)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    low, high = float(distribution.low), float(distribution.high)
    if distribution.log:
        return float(np.log(value / low) / np.log(high / low))
    return (value - low) / (high - low)


def _end_labels(trials: list[FrozenTrial], name: str) -> tuple[str, str]:
    distribution: Any = next(trial.distributions[name] for trial in trials if name in trial.params)
    if isinstance(distribution, CategoricalDistribution):
        return str(distribution.choices[0]), str(distribution.choices[-1])
    return f"{distribution.low:g}", f"{distribution.high:g}"


def _ticks(axes: Axes, trials: list[FrozenTrial], name: str) -> None:
    distribution: Any = next(trial.distributions[name] for trial in trials if name in trial.params)
    if isinstance(distribution, CategoricalDistribution):
        axes.set_xticks(range(len(distribution.choices)), list(map(str, distribution.choices)))
        axes.set_xlim(-0.5, len(distribution.choices) - 0.5)
    elif distribution.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())


def _count_label(value: float) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
