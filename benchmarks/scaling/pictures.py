"""The pictures of ``docs/scaling.md``."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.scaling import cache
from benchmarks.scaling.cluster import Trace
from benchmarks.scaling.loads import Load
from benchmarks.scaling.replica import Device
from benchmarks.scaling.tables import CATALOGUE, EXPONENTS, REQUESTS, WARM_UP
from benchmarks.scaling.tuning import OBJECTIVE_SECONDS, REQUEST_IMAGES

DPI = 100
BIN_SECONDS = 10


def draw_cache(path: Path, catalogue: int = CATALOGUE) -> None:
    """Draws hit rates by cache size: lines are Che's approximation, dots are simulated."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    shares = np.logspace(-3.5, -0.3, 24)
    colors = mpl.colormaps["viridis"](np.linspace(0, 0.9, len(EXPONENTS)))
    for exponent, color in zip(EXPONENTS, colors, strict=True):
        images = cache.zipf(catalogue, exponent)
        rates = [cache.che_hit_rate(images, max(1, int(share * catalogue))) for share in shares]
        axes.plot(shares, rates, color=color, label=f"{exponent:g}")
        asked = cache.requests(images, REQUESTS * catalogue // CATALOGUE, seed=0).tolist()
        for share in (0.001, 0.01, 0.1):
            rate = cache.lru_hit_rate(asked, max(1, int(share * catalogue)), WARM_UP * catalogue // CATALOGUE)
            axes.plot(share, rate, "o", color=color, markersize=4)
    axes.set(xscale="log", xlabel="cache, as a share of all images", ylabel="hit rate", ylim=(0, 1))
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(title="exponent", loc="upper left")
    figure.savefig(path, dpi=DPI)


def draw_autoscaling(path: Path, device: Device, runs: Mapping[str, tuple[Load, Mapping[str, Trace]]]) -> None:
    """Draws each load with the capacity of its ready replicas and the 99th percentile, a line for each set of rules."""
    figure = Figure(figsize=(5 * len(runs), 5.5), layout="constrained")
    grid = figure.subplots(2, len(runs), squeeze=False, sharex="col")
    for column, (title, (load, traces)) in enumerate(runs.items()):
        rates, latencies = grid[0, column], grid[1, column]
        edges = np.cumsum([0.0, *(seconds for seconds, _ in load)]) / 60
        rates.stairs(
            [rate * REQUEST_IMAGES for _, rate in load], edges, color="0.3", label="load", fill=True, alpha=0.25
        )
        for (name, trace), color in zip(traces.items(), ("tab:blue", "tab:orange"), strict=False):
            minutes = [time / 60 for time, _, _ in trace.replicas]
            ready = [count * device.capacity for _, _, count in trace.replicas]
            rates.plot(minutes, ready, color=color, drawstyle="steps-post", label=f"capacity, {name}")
            _draw_p99(latencies, trace, color, name)
        latencies.axhline(OBJECTIVE_SECONDS, color="tab:red", linestyle=":", label="objective")
        rates.set(title=title, ylabel="images a second")
        latencies.set(yscale="log", ylabel="p99 of 10 s, in s; × = none", xlabel="minutes", ylim=(0.005, 10))
        for axes in (rates, latencies):
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=8)
    grid[1, 0].legend(fontsize=8)
    figure.savefig(path, dpi=DPI)


def _draw_p99(axes: Axes, trace: Trace, color: str, name: str) -> None:
    bins = (np.array(trace.arrived) // BIN_SECONDS).astype(int)
    order = np.argsort(bins, kind="stable")
    seconds = np.array(trace.seconds)[order]
    starts = np.unique(bins[order], return_index=True)
    p99 = [np.sort(part)[int(0.99 * len(part))] for part in np.split(seconds, starts[1][1:])]
    minutes = (starts[0] + 0.5) * BIN_SECONDS / 60
    axes.plot(minutes, np.where(np.isfinite(p99), p99, np.nan), color=color, label=name)
    lost = ~np.isfinite(p99)
    axes.plot(minutes[lost], np.full(lost.sum(), 8.0), "x", color=color, markersize=4)
