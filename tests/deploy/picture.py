"""Draws the dashboard from Prometheus's answers, for the documents: its panels, at their places, with their queries."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

from tests.deploy.conftest import DEPLOY
from tests.deploy.prometheus import Prometheus

INCHES = 0.75  # of a column of the grid
LINE_INCHES = 0.36  # of a line of the grid
BACKGROUND, FRAME, TEXT, FAINT = "#111217", "#181b1f", "#ccccdc", "#2c3036"
COLORS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
LINES = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff9830", "#f2495c", "#b877d9", "#5794f2")
TIMES = mdates.DateFormatter("%H:%M", tz=UTC)


def draw_dashboard(prometheus: Prometheus, start: float, end: float, path: Path) -> None:
    """Draws the dashboard of the time between two timestamps into a PNG."""
    panels = json.loads((DEPLOY / "grafana" / "dashboards" / "figment.json").read_text())["panels"]
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = 24 * INCHES, lines * LINE_INCHES
    plt.rcParams.update({"text.color": TEXT, "axes.labelcolor": TEXT, "xtick.color": TEXT, "ytick.color": TEXT})
    figure = plt.figure(figsize=(width, height), facecolor=BACKGROUND)
    for panel in panels:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - place["y"] / lines
        if panel["type"] == "row":
            figure.text(left + 0.004, top - 0.75 / lines, panel["title"], fontsize=12, weight="bold")
            continue
        box = (left, top - place["h"] / lines, place["w"] / 24, place["h"] / lines)
        frame = figure.add_axes((box[0] + 0.002, box[1] + 0.1 / lines, box[2] - 0.004, box[3] - 0.2 / lines))
        frame.set(facecolor=FRAME, xticks=[], yticks=[])
        frame.set_title(panel["title"], fontsize=9, loc="left", y=1, pad=-12, x=0.015)
        if panel["type"] == "stat":
            _draw_stat(frame, prometheus, panel, end)
        elif panel["type"] == "table":
            _draw_table(frame, prometheus, panel)
        else:
            inner = figure.add_axes((box[0] + 0.034, box[1] + 2.2 / lines, box[2] - 0.042, box[3] - 3.4 / lines))
            _draw_series(inner, prometheus, panel, start, end)
    figure.savefig(path, dpi=64)
    plt.close(figure)


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), target["legendFormat"])


def _formatter(unit: str) -> Any:
    if unit == "percentunit":
        return PercentFormatter(1, decimals=0)
    return EngFormatter(unit={"s": "s", "bytes": "B"}.get(unit, ""), sep=" " if unit in ("s", "bytes") else "")


def _color(panel: dict[str, Any], value: float) -> str:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return COLORS[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]


def _draw_stat(axes: Axes, prometheus: Prometheus, panel: dict[str, Any], end: float) -> None:
    values = [
        (_legend(target, series["metric"]), float(series["values"][-1][1]))
        for target in panel["targets"]
        for series in prometheus.query_range(target["expr"], end, end, 1)
    ]
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for index, (name, value) in enumerate(values):
        x = (index + 0.5) / len(values)
        text = f"{value:.1f} s" if unit == "s" else f"{value:.4g}"
        axes.text(x, 0.42, text, fontsize=20, ha="center", va="center", color=_color(panel, value))
        axes.text(x, 0.14, name, fontsize=8, ha="center", va="center")


def _draw_table(axes: Axes, prometheus: Prometheus, panel: dict[str, Any]) -> None:
    hidden = panel["transformations"][0]["options"]["excludeByName"]
    rows = [
        {name: value for name, value in sample["metric"].items() if name not in hidden}
        for target in panel["targets"]
        for sample in prometheus.query(target["expr"])
    ]
    names = sorted(rows[0])
    cells = [[row[name][:16] for name in names] for row in rows]
    table = axes.table(cells, colLabels=names, loc="center", cellLoc="left", edges="horizontal")
    table.scale(1, 1.3)
    for cell in table.get_celld().values():
        cell.set(edgecolor=FAINT)
        cell.get_text().set(color=TEXT, fontsize=9)


def _draw_series(axes: Axes, prometheus: Prometheus, panel: dict[str, Any], start: float, end: float) -> None:
    axes.set(facecolor=FRAME)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.tick_params(labelsize=7, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    defaults = panel["fieldConfig"]["defaults"]
    series = [
        (_legend(target, found["metric"]), *_points(found["values"]))
        for target in panel["targets"]
        for found in prometheus.query_range(target["expr"], start, end, max(1, (end - start) / 240))
    ]
    if panel["type"] == "state-timeline":
        axes.set_yticks(range(len(series)), [name for name, *_ in series])
        axes.set_yticklabels([])
        for line, (name, times, values) in enumerate(series):
            axes.scatter(times, [line] * len(times), c=[_color(panel, value) for value in values], marker="s", s=150)
            axes.text(times[0], line + 0.25, name, fontsize=8)
        axes.set_ylim(-0.5, len(series) - 0.5)
    elif defaults["custom"]["stacking"]["mode"] == "normal":
        axes.stackplot(series[0][1], *(values for _, _, values in series), labels=[name for name, *_ in series],
                       colors=LINES, alpha=0.6)  # fmt: skip
    else:
        for (name, times, values), color in zip(series, LINES * 4, strict=False):
            axes.plot(times, values, label=name, color=color, linewidth=1.2)
            axes.fill_between(times, values, color=color, alpha=0.08)
    if panel["type"] == "timeseries":
        axes.set_ylim(0, defaults.get("max", max(axes.get_ylim()[1], 1e-9)))
        axes.yaxis.set_major_formatter(_formatter(defaults["unit"]))
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.1), fontsize=7, frameon=False, labelcolor=TEXT,
                    ncols=3, columnspacing=1, handlelength=1)  # fmt: skip
    axes.set_xlim(datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
    axes.xaxis.set_major_locator(mdates.MinuteLocator())
    axes.xaxis.set_major_formatter(TIMES)


def _points(values: list[list[Any]]) -> tuple[list[datetime], list[float]]:
    return [datetime.fromtimestamp(time, UTC) for time, _ in values], [float(value) for _, value in values]
