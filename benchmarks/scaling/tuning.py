"""Tries the autoscaler's targets against loads, and chooses the cheapest that keeps both objectives.

The objectives are those of ``deploy/prometheus/rules.yaml``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.scaling.autoscaler import Rules, Trigger, shipped_rules
from benchmarks.scaling.cluster import Cluster, Trace
from benchmarks.scaling.loads import Load, spiky, stepped
from benchmarks.scaling.prometheus import CPU, QUEUED, WAIT, template_of, with_window
from benchmarks.scaling.replica import Device

OBJECTIVE_SECONDS = 2.5
OBJECTIVE_FAILED = 0.001

START_REPLICAS = 1.6
"""The load at the start, in capacities of a replica: enough that the least number of replicas decides nothing."""
REQUEST_IMAGES = 4
"""Images that each request asks for."""
MOST_REPLICAS = 40
"""Enough that the largest number decides nothing, either."""

LOADS: dict[str, Callable[[float], Load]] = {
    "steps ×1.5": lambda rate: stepped(rate, 1.5),
    "steps ×2": lambda rate: stepped(rate, 2),
    "spikes ×2": lambda rate: spiky(rate, 2),
    "spikes ×3": lambda rate: spiky(rate, 3),
}
DECISIVE = ("steps ×1.5", "steps ×2", "spikes ×2")
"""The loads under which both objectives must hold. A spike of ×3 is over before a replica can start."""

CPU_TARGETS = (None, 40, 50, 60, 70, 80)
"""Percent of the cores; None is the queue's triggers alone."""
TOO_MUCH = ("spikes ×3",)
"""The load that the processor's target alone does not bear: the queue's triggers act."""
SAFETY_NETS = (("1m", "2m", 0.1), ("30s", "1m", 0.1), ("30s", "1m", 0.5))
"""Windows of queued images and of the queue wait, and the wait's target in seconds."""


@dataclass(frozen=True)
class Result:
    """How one load went with one set of rules."""

    load: str
    rules: str
    p99: float
    failed: float
    replica_seconds: float
    most_replicas: int

    @property
    def holds(self) -> bool:
        """Returns whether both objectives hold."""
        return self.p99 <= OBJECTIVE_SECONDS and self.failed <= OBJECTIVE_FAILED


def with_cpu_target(rules: Rules, target: float | None) -> Rules:
    """Returns rules with another target of the processor, or without one."""
    triggers = [
        trigger.model_copy(update={"threshold": target}) if trigger.query == CPU else trigger
        for trigger in rules.triggers
        if target or trigger.query != CPU
    ]
    return rules.model_copy(update={"triggers": triggers})


def with_safety_net(rules: Rules, queued_window: str, wait_window: str, wait: float) -> Rules:
    """Returns rules with other windows of the queue's triggers, and another target of the wait."""

    def changed(trigger: Trigger) -> Trigger:
        template = template_of(trigger.query)
        if template == QUEUED:
            return trigger.model_copy(update={"query": with_window(trigger.query, queued_window)})
        if template == WAIT:
            return trigger.model_copy(update={"query": with_window(trigger.query, wait_window), "threshold": wait})
        return trigger

    return rules.model_copy(update={"triggers": [changed(trigger) for trigger in rules.triggers]})


def simulate(device: Device, rules: Rules, load: str, seed: int = 0, most: int = MOST_REPLICAS) -> Trace:
    """Returns the trace of a load that starts in a steady state of ``rules``."""
    start = START_REPLICAS
    cpu = next((trigger.threshold for trigger in rules.triggers if trigger.query == CPU), None)
    replicas = max(rules.least, math.ceil(start / (cpu / 100) - 0.1) if cpu else rules.least)
    cluster = Cluster(device, rules.model_copy(update={"most": most}))
    return cluster.run(LOADS[load](start * device.capacity / REQUEST_IMAGES), replicas, seed, REQUEST_IMAGES)


def _result(task: tuple[Device, Rules, str, str]) -> Result:
    device, rules, load, name = task
    trace = simulate(device, rules, load)
    most = max(count for _, count, _ in trace.replicas)
    return Result(load, name, trace.quantile(0.99), trace.failed, trace.replica_seconds, most)


def try_rules(device: Device, tried: Mapping[str, Rules], processes: int, loads: Iterable[str] = LOADS) -> list[Result]:
    """Returns the results of each load with all rules, which have names."""
    tasks = [(device, rules, load, name) for load in loads for name, rules in tried.items()]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(_result, tasks))


def cpu_rules() -> dict[str, Rules]:
    """Returns the shipped rules with each target of the processor."""
    return {
        "the queue alone" if target is None else f"{target} %": with_cpu_target(shipped_rules(), target)
        for target in CPU_TARGETS
    }


def safety_rules() -> dict[str, Rules]:
    """Returns the shipped rules with each set of the queue's triggers."""
    return {
        f"windows {queued} and {wait}, wait {seconds:g} s": with_safety_net(shipped_rules(), queued, wait, seconds)
        for queued, wait, seconds in SAFETY_NETS
    }


def choose(results: list[Result]) -> str | None:
    """Returns the rules with the fewest replica seconds of those under which both objectives hold; None without any."""
    costs = {
        name: sum(result.replica_seconds for result in results if result.rules == name)
        for name in {result.rules for result in results}
        if all(result.holds for result in results if result.rules == name and result.load in DECISIVE)
    }
    return min(costs, key=costs.__getitem__, default=None)
