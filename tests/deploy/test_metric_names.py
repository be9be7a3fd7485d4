"""Every metric that ``deploy/`` and the runbook name is in ``/metrics``: a typing error would never show anything."""

import os
import re
import subprocess
import sys

import pytest

from tests.deploy.conftest import DEPLOY, ROOT, read_panels, read_rules
from tests.deploy.promql import selectors

# Series that Prometheus makes itself.
PROMETHEUS_OWN = {"up", "ALERTS"}

SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}

NAMING_FILES = [
    path
    for path in (*DEPLOY.rglob("*"), ROOT / "docs" / "operations.md", ROOT / "docs" / "serving.md")
    if path.suffix in (".yaml", ".json", ".md", ".py")
]


@pytest.fixture(scope="module")
def exposed() -> set[str]:
    """The names of all series in ``/metrics``."""
    program = "from serving.metrics import Metrics; print(Metrics().exposition().decode())"
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    text = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    types = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return {name + suffix for name, kind in types for suffix in SUFFIXES[kind]}


def test_selectors_of_an_expression():
    """The reader of PromQL itself: a name that it misses would not be checked."""
    expression = """
      histogram_quantile(0.9, sum by (le, job) (rate(a_bucket{route=~"/b|c", le="2.5"}[5m])))
        / on (job) group_left () job:d:rate5m > 1.5 and (e{x="{{y}}"} == 0 or absent(f)) and time() - max(g) > 3e5
    """.replace("{{y}}", "y")
    assert selectors(expression) == [
        ("a_bucket", '{route=~"/b|c", le="2.5"}'),
        ("job:d:rate5m", ""),
        ("e", '{x="y"}'),
        ("f", ""),
        ("g", ""),
    ]


def test_every_expression_names_existing_series(exposed, recorded):
    expressions = [rule["expr"] for rule in read_rules()]
    expressions += [target["expr"] for panel in read_panels() for target in panel["targets"]]
    named = {name for expression in expressions for name, _ in selectors(expression)}
    assert len(named) > 20
    assert named <= exposed | recorded | PROMETHEUS_OWN


@pytest.mark.parametrize("path", NAMING_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_metric_in_a_file_exists(path, exposed, recorded):
    names = set(re.findall(r"(?<![\w:/-])(?:\w+:)?figment_[a-z0-9_]+(?::\w+)?", path.read_text()))
    metrics = {name.removesuffix("_bucket") for name in exposed if name.endswith("_bucket")}
    assert names <= exposed | recorded | metrics
