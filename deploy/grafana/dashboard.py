"""Writes the Grafana dashboard: ``python -m deploy.grafana.dashboard > deploy/grafana/dashboards/figment.json``.

Grafana's format repeats every default in every panel. ``deploy.grafana.panels`` has only what tells panels apart.
"""

import json
from typing import Any

from deploy.grafana.panels import GREEN, RED, ROWS, WIDTH, Panel

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Labels of a table's rows that say nothing.
_HIDDEN_COLUMNS = ("Time", "Value", "__name__", "namespace", "job")


def _json_of_panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    instant = panel.kind in ("stat", "table")
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in panel.steps]},
    }
    options: dict[str, Any] = {}
    transformations: list[dict[str, Any]] = []
    if panel.kind == "timeseries":
        defaults |= {"min": 0} | ({} if panel.largest is None else {"max": panel.largest})
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 10,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "dashed" if len(panel.steps) > 1 else "off"},
        }
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    elif panel.kind == "stat":
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "colorMode": "value"}
    elif panel.kind == "state-timeline":
        words = {"0": {"text": "no", "color": RED}, "1": {"text": "yes", "color": GREEN}}
        defaults["mappings"] = [{"type": "value", "options": words}]
    else:
        hidden = dict.fromkeys(_HIDDEN_COLUMNS, True)
        transformations = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.question,
        "datasource": _DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
                "instant": instant,
                "range": not instant,
                "format": "table" if panel.kind == "table" else "time_series",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "transformations": transformations,
    }


def _panels() -> list[dict[str, Any]]:
    """Returns rows and panels from left to right, each line as high as its highest panel."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        panels.append(
            {"id": len(panels) + 1, "type": "row", "title": title, "gridPos": place, "collapsed": False, "panels": []}
        )
        x, y, line = 0, y + 1, 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y, line = 0, y + line, 0
            panels.append(_json_of_panel(panel, len(panels) + 1, x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return panels


def _variable(name: str, label: str, of: str, **rest: Any) -> dict[str, Any]:
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": _DATASOURCE,
        "query": {"query": f"label_values({of}, {name})", "refId": name},
        "refresh": 2,  # whenever the time range changes
        **rest,
    }


def dashboard() -> dict[str, Any]:
    """Returns the dashboard as Grafana imports it."""
    return {
        "uid": "figment",
        "title": "Figment",
        "description": "The rows follow an incident, from the top. Alerts: docs/operations.md.",
        "tags": ["figment"],
        "schemaVersion": 39,  # Grafana 10.4; later versions convert it
        "editable": True,
        "graphTooltip": 1,  # one crosshair over all panels
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
                # Outside of Kubernetes there is no namespace: "All" must match the absent label, too.
                _variable(
                    "namespace",
                    "Namespace",
                    of="figment_ready",
                    multi=True,
                    includeAll=True,
                    allValue=".*",
                    current={"text": ["All"], "value": ["$__all"]},
                ),
                _variable("job", "Job", of='figment_ready{namespace=~"$namespace"}'),
            ]
        },
        "annotations": {"list": []},
        "panels": _panels(),
    }


def text() -> str:
    """Returns the content of ``deploy/grafana/dashboards/figment.json``."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")
