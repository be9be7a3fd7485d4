"""The page, the simulation and the manifests say the same: whoever changes one is told of the others."""

import re
import subprocess
import sys

import pytest
import yaml

from benchmarks.scaling import assumptions, tables, tuning
from benchmarks.scaling.autoscaler import shipped_rules
from benchmarks.scaling.capacity import GPU_HOST_CORES, cpu_target, gpu_rows
from benchmarks.scaling.cluster import READY_SECONDS
from benchmarks.scaling.document import DOCUMENT, quick_tables, replica, written
from benchmarks.scaling.loads import spiky
from benchmarks.scaling.profiles import load_profiles
from benchmarks.scaling.prometheus import QUEUED, WAIT, template_of
from benchmarks.scaling.tuning import Result, choose, simulate
from benchmarks.scaling.validation import MEASURED
from serving.config.settings import Settings
from tests.deploy.manifests import ROOT

TEXT = DOCUMENT.read_text()
PROFILES, RULES = load_profiles(), shipped_rules()
AGAIN = "benchmarks/scaling has other figures than docs/scaling.md: run python -m benchmarks.scaling.document"


def on_page(name):
    (table,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", TEXT, re.DOTALL)
    return table.strip()


def wait_target():
    """The seconds in the queue above which replicas are added."""
    (wait,) = (trigger.threshold for trigger in RULES.triggers if template_of(trigger.query) == WAIT)
    return wait


def cells(name):
    """The rows of a table on the page: the first cell, and the others."""
    lines = [line.strip("| ").split(" | ") for line in on_page(name).splitlines()]
    return {line[0]: line[1:] for line in lines[2:]}, lines[0][1:]


@pytest.mark.parametrize(
    ("name", "table"), quick_tables(PROFILES, RULES).items(), ids=lambda value: value.split("\n")[0]
)
def test_tables_are_those_of_the_program(name, table):
    assert on_page(name) == table, AGAIN


def test_the_shipped_target_is_the_cheapest_that_holds():
    """The reason for 50 %: the table's own marks and minutes choose it, and the manifests have it."""
    rows, loads = cells("cpu targets")
    results = []
    for rules, row in rows.items():
        for load, cell in zip(loads, row, strict=True):
            minutes = float(re.search(r"(\d+) min", cell)[1])
            late, failed = (0.0, 0.0) if "✗" not in cell else (9.0, 1.0)
            results.append(Result(load, rules, late, failed, minutes, 0))
    assert loads == list(tuning.LOADS)
    assert choose(results) == f"{100 * cpu_target(RULES):g} %"


def test_the_shipped_windows_and_wait_are_on_the_page():
    windows = {template_of(t.query): re.search(r"\[(\w+)\]", t.query)[1] for t in RULES.triggers if "[" in t.query}
    rows, _ = cells("safety nets")
    assert f"windows {windows[QUEUED]} and {windows[WAIT]}, wait {wait_target():g} s" in rows


def test_the_shipped_rules_do_under_spikes_what_the_page_says():
    """One row is simulated again: the policy, the autoscaler's algorithm or the manifests may have changed."""
    load = "spikes ×2"
    trace = simulate(replica(PROFILES), RULES, load)
    most = max(count for _, count, _ in trace.replicas)
    name = f"{100 * cpu_target(RULES):g} %"
    found = Result(load, name, trace.quantile(0.99), trace.failed, trace.replica_seconds, most)
    rows, loads = cells("cpu targets")
    assert found.holds
    assert rows[name][loads.index(load)] == tables.target_cell(found), AGAIN


def test_objectives_are_those_of_the_alerts():
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text())
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    budgets = {
        rule["labels"]["objective"]: float(re.search(r"vector\((.*)\)", rule["expr"])[1])
        for rule in every
        if rule.get("record") == "figment_budget:ratio"
    }
    assert budgets == {"availability": tuning.OBJECTIVE_FAILED, "latency": 0.01}
    (slow,) = {bound for rule in every for bound in re.findall(r'le="([\d.]+)"', rule["expr"])}
    assert float(slow) == tuning.OBJECTIVE_SECONDS


def test_measured_arrivals_are_those_of_the_performance_page():
    page = (ROOT / "docs" / "performance.md").read_text()
    for row in MEASURED:
        line = f"| {row.load * 100:.0f} % | {row.goodput:.0f}/s | {row.p50 * 1000:.0f} ms | {row.p99 * 1000:.0f} ms |"
        assert f"{line} {row.rejected * 100:.0f} % |" in page
    assert "The capacity was 1121 requests a second" in page


def test_figures_in_sentences():
    for sentence in (
        f"new replica gets requests {READY_SECONDS:.0f} s after",
        f"autoscaler's target of {100 * cpu_target(RULES):.0f} %",
        f"{assumptions.TRANSPORT_BYTES} bytes of TCP",
    ):
        assert sentence in " ".join(TEXT.split())
    assert Settings.model_fields["max_batch"].default == max(PROFILES.cpu.generators["cifar10"].batch_seconds)
    assert sum(seconds for seconds, _ in spiky(1, 2)) > 2 * 220


def test_figures_of_the_gpu_in_sentences():
    """The triggers that never act on it, and its price in cores: new times may turn each of them round."""
    rows = gpu_rows(PROFILES)
    least, most = (round(pick(row["cores"] for row in rows)) for pick in (min, max))
    first, last = (f"{pick(row['queue_seconds'] for row in rows) * 1000:.0f}" for pick in (min, max))
    digits, cifar10 = (row["host"] for row in rows)
    for sentence in (
        f"generates as much as {least} to {most} cores",
        f"costs as much as {assumptions.USD_PER_GPU_HOUR / assumptions.USD_PER_CORE_HOUR:.0f}",
        f"processor, {100 * cpu_target(RULES):.0f} % of {GPU_HOST_CORES} cores",
        f"uses {100 * digits:.0f} % with `digits`, so it never acts; with `cifar10` {100 * cifar10:.0f} %",
        f"lasts {first} to {last} ms",
    ):
        assert sentence in " ".join(TEXT.split())
    assert digits < cpu_target(RULES) < cifar10
    assert max(row["queue_seconds"] for row in rows) < wait_target()
    assert max(row["needed"] for row in rows) < 0.5
    assert most < assumptions.USD_PER_GPU_HOUR / assumptions.USD_PER_CORE_HOUR


def test_kubernetes_guide_names_the_shipped_numbers():
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    assert f"more than {100 * cpu_target(RULES):.0f} % of the processor" in guide
    queued, wait = (trigger.threshold for trigger in RULES.triggers if template_of(trigger.query) in (QUEUED, WAIT))
    assert f"more than {queued:g} images" in guide
    assert f"longer than {wait:g} s" in guide
    assert f"There are {RULES.least} … {RULES.most} of them" in guide


def test_a_page_without_a_place_for_a_table_is_refused():
    with pytest.raises(ValueError, match="no place for the table 'costs'"):
        written("text", {"costs": "| |"})
    assert written("<!-- a -->\nold\n<!-- end of a -->", {"a": "new"}) == "<!-- a -->\n\nnew\n\n<!-- end of a -->"


def test_the_benchmark_runs(tmp_path):
    """In smoke mode, with replicas a hundred times slower."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "scaling", "--smoke", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "| rules | steps ×1.5 |" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "scaling.json",
        "scaling-cache.png",
        "scaling-autoscaling.png",
    }
