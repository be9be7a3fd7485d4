"""The dashboard is the one that its code writes, and Grafana can show it."""

import json
import re

from deploy.grafana.dashboard import text
from deploy.grafana.panels import ROWS
from tests.deploy.conftest import DEPLOY, read_panels

FILE = DEPLOY / "grafana" / "dashboards" / "figment.json"

# Variables that Grafana defines itself.
GRAFANA_OWN = {"__rate_interval"}


def test_the_file_is_what_the_code_writes():
    message = "run: python -m deploy.grafana.dashboard > deploy/grafana/dashboards/figment.json"
    assert FILE.read_text() == text(), message


def test_rows_are_the_questions_of_an_incident():
    assert [*ROWS] == [
        "Is it up?",
        "Is it fast?",
        "Is it full?",
        "Where does the time go?",
        "What runs where?",
        "Memory and restarts",
    ]


def test_panels_fill_the_grid_without_overlap():
    dashboard = json.loads(FILE.read_text())
    taken = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {x for x, _ in taken} == {*range(24)}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len({*numbers})


def test_every_variable_is_defined_and_every_query_selects_the_installation():
    """A query without the selection would add up the test installation and production."""
    variables = {variable["name"] for variable in json.loads(FILE.read_text())["templating"]["list"]}
    assert variables == {"datasource", "namespace", "job"}
    for panel in read_panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert {*re.findall(r"\$(\w+)", target["expr"])} <= variables | GRAFANA_OWN
            selected = target["expr"].count('namespace=~"$namespace", job="$job"')
            assert selected == target["expr"].count("{") or "ALERTS" in target["expr"]


def test_every_panel_says_which_question_it_answers():
    assert all(re.search(r"[.?]$", panel["description"]) for panel in read_panels())
