"""The files of ``deploy/``, and the service of the serving tests."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serving.conftest import generators, serve, zoo

__all__ = ["generators", "serve", "zoo"]

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yaml"


def read_rules() -> list[dict[str, Any]]:
    """Returns all recording rules and alerts, in their order."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def read_panels() -> list[dict[str, Any]]:
    """Returns the dashboard's panels, without its rows."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "figment.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


@pytest.fixture(scope="session")
def recorded() -> set[str]:
    """The names of all recorded series."""
    return {rule["record"] for rule in read_rules() if "record" in rule}
