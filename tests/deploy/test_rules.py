"""Recording rules and alerts: valid, tested one by one, and each with a line in the runbook."""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from serving.routes import ROUTES
from tests.deploy.conftest import DEPLOY, ROOT, RULES, read_panels, read_rules

CASES = ROOT / "tests" / "deploy" / "rules_test.yaml"
ALERTS = [rule for rule in read_rules() if "alert" in rule]
IMAGE_ROUTES = re.compile(r'route=~"([^"]+)"')


def promtool(*arguments: str) -> str:
    if not shutil.which("promtool") and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return checked.stdout


def test_promtool_accepts_rules_and_configuration():
    assert f"{len(read_rules())} rules found" in promtool("check", "rules", "--lint-fatal", str(RULES))
    promtool("check", "config", "--lint-fatal", str(DEPLOY / "prometheus" / "prometheus.yaml"))


def test_alerts_fire_when_they_should_and_only_then():
    """The cases are in rules_test.yaml."""
    promtool("test", "rules", str(CASES))


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_every_alert_is_tested_firing_and_silent(alert):
    cases = [
        case
        for test in yaml.safe_load(CASES.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert
    ]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_leads_to_its_line_in_the_runbook(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
    assert re.search(rf"^### {rule['alert']}$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert rule["annotations"]["summary"].endswith(".")


def test_the_runbook_has_no_alert_that_does_not_exist():
    headings = re.findall(r"^### (Figment\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert headings == [rule["alert"] for rule in ALERTS]


def test_windows_of_the_burn_rates_differ_in_nothing_else():
    """Seven copies of one formula: a change in one of them alone would be a silent fault."""
    burns = {
        rule["record"].rpartition("rate")[2]: rule["expr"]
        for rule in read_rules()
        if rule.get("record", "").startswith("job:figment_budget_burn:")
    }
    assert set(burns) == {"5m", "30m", "1h", "2h", "6h", "1d", "3d"}
    formulas = {re.sub(rf"avg_over_time\(([\w:]+)\[{window}\]\)", r"\1", expr) for window, expr in burns.items()}
    assert len(formulas) == 1


def test_objectives_and_panels_count_the_routes_that_generate_images():
    """A new route that is missing here would fail without waking anybody."""
    expressions = [rule["expr"] for rule in read_rules()]
    expressions += [target["expr"] for panel in read_panels() for target in panel["targets"]]
    (pattern,) = {found for expression in expressions for found in IMAGE_ROUTES.findall(expression)}
    counted = {route.label for route in ROUTES if re.fullmatch(pattern, route.label)}
    generating = {route.label for route in ROUTES if route.method == "POST" or route.label.startswith("/images/")}
    assert counted == generating
    assert {"/generate", "/interpolate", "/images/{model}/{seed}.{format}"} < counted
