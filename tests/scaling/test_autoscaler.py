"""The simulated autoscaler decides as Kubernetes documents it, and by the rules that ship."""

from collections import deque

import pytest
import yaml

from benchmarks.scaling.autoscaler import MANIFEST, Autoscaler, Rules, Trigger, shipped_rules
from benchmarks.scaling.cluster import Cluster
from benchmarks.scaling.loads import stepped
from benchmarks.scaling.prometheus import CPU, QUEUED, WAIT, Sample, template_of
from benchmarks.scaling.replica import Device
from benchmarks.scaling.tuning import with_cpu_target
from serving.metrics import DURATION_SECONDS


@pytest.mark.parametrize(
    ("kind", "threshold", "value", "replicas", "counted", "desired"),
    [
        ("AverageValue", 64, 640, 2, 2, 10),
        ("AverageValue", 64, 130, 2, 2, 2),  # within the tolerance of a tenth
        ("AverageValue", 64, 141, 2, 2, 3),
        ("AverageValue", 64, 0, 4, 4, 0),
        ("Value", 0.1, 0.25, 4, 4, 10),
        ("Value", 0.1, 0.25, 8, 4, 10),  # of those that are ready
        ("Value", 0.1, 0.109, 4, 4, 4),
        ("Utilization", 50, 100, 4, 4, 8),
        ("Utilization", 50, 100, 8, 4, 8),  # those that start will be enough
        ("Utilization", 50, 100, 6, 4, 8),
        ("Utilization", 50, 20, 5, 5, 2),
        ("Utilization", 50, 54, 5, 5, 5),
        ("Utilization", 50, 20, 5, 4, 3),  # the one that tells nothing counts as on target
    ],
)
def test_a_trigger_wants(kind, threshold, value, replicas, counted, desired):
    """https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details."""
    trigger = Trigger(query="anything", metric_type=kind, threshold=threshold)
    assert trigger.desired(value, replicas, counted) == desired


def series_with(queued, now):
    zeros = (0.0,) * (len(DURATION_SECONDS) + 1)
    return [deque([Sample(now, queued, 0.0, 2, zeros)])]


def decisions(values, replicas):
    """The replicas after each sync, with these queues and no processor's target; all replicas are ready."""
    autoscaler, found = Autoscaler(with_cpu_target(shipped_rules(), None)), []
    for index, queued in enumerate(values):
        now = 15.0 * index
        replicas = autoscaler.decide(now, replicas, replicas, series_with(queued, now))
        found.append(replicas)
    return found


def test_replicas_double_at_most_every_half_minute():
    assert decisions([10_000] * 7, 2) == [4, 4, 8, 8, 10, 10, 10]


def test_replicas_go_one_a_minute_after_five_quiet_minutes():
    after_peak = decisions([10_000] * 5 + [0] * 40, 2)
    quiet = after_peak[5:]
    assert set(quiet[: 300 // 15 - 1]) == {10}
    leaving = quiet[300 // 15 - 1 :]
    assert leaving[:9] == [9, 9, 9, 9, 8, 8, 8, 8, 7]
    assert min(after_peak) >= 2


def test_a_query_that_cannot_be_simulated_is_refused(tmp_path):
    manifest = yaml.safe_load(MANIFEST.read_text())
    for trigger in manifest["spec"]["triggers"]:
        if "query" in trigger["metadata"]:
            trigger["metadata"]["query"] = trigger["metadata"]["query"].replace("0.95", "0.9")
    (tmp_path / "scaled-object.yaml").write_text(yaml.safe_dump(manifest))
    with pytest.raises(ValueError, match=r"cannot answer: .*0\.9\b"):
        shipped_rules(tmp_path / "scaled-object.yaml")


def test_the_shipped_rules_are_read_completely():
    rules = shipped_rules()
    assert [template_of(trigger.query) for trigger in rules.triggers] == [CPU, QUEUED, WAIT]
    assert (rules.least, rules.most) == (2, 10)


SLOW = Device({1: 0.1, 2: 0.2, 4: 0.4, 8: 0.8}, cores=2)  # 20 images a second


QUEUED_NOW = QUEUED.replace("WINDOW", "30s")


def only(query, kind, threshold, most=20):
    trigger = Trigger(query=query, metric_type=kind, threshold=threshold)
    return Rules(least=2, most=most, triggers=[trigger], behavior=shipped_rules().behavior)


def test_a_steady_load_gets_the_replicas_of_its_target():
    """100 images a second at half of 20 each are 10 replicas; a tenth of tolerance may save or cost one."""
    trace = Cluster(SLOW, only(CPU, "Utilization", 50)).run([(1500, 100)], 6, seed=0)
    assert trace.replicas[-1][1] in (9, 10, 11)
    assert trace.failed == 0


def test_a_cluster_answers_every_request_also_those_of_replicas_that_go():
    load = stepped(30, 3)
    trace = Cluster(SLOW, only(CPU, "Utilization", 50)).run([*load, (900, 5)], 3, seed=0)
    counts = [count for _, count, _ in trace.replicas]
    assert max(counts) > counts[-1]
    assert (
        len(trace.seconds)
        == len(trace.arrived)
        == pytest.approx(sum(t * rate for t, rate in [*load, (900, 5)]), rel=0.02)
    )
    assert sorted(trace.arrived)[0] > 0
    assert len(set(trace.arrived)) == len(trace.arrived)


def test_the_same_seed_gives_the_same_trace():
    first, second = (Cluster(SLOW, shipped_rules()).run(stepped(30, 2), 3, seed=5) for _ in range(2))
    assert first == second
    assert first != Cluster(SLOW, shipped_rules()).run(stepped(30, 2), 3, seed=6)


def test_new_replicas_get_requests_only_when_they_are_ready():
    """Without them, twice the capacity is lost until then, whatever the autoscaler decides."""
    late = Cluster(SLOW, only(QUEUED_NOW, "AverageValue", 64), ready_seconds=10_000).run([(300, 80)], 2, seed=0)
    soon = Cluster(SLOW, only(QUEUED_NOW, "AverageValue", 64), ready_seconds=1).run([(300, 80)], 2, seed=0)
    assert max(ready for _, _, ready in late.replicas) == 2
    assert late.quantile(0.5) > 10 * soon.quantile(0.5)
