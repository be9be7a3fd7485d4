"""What breaks first as the load grows: the load's share of each limit."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.scaling import assumptions
from benchmarks.scaling.autoscaler import Rules
from benchmarks.scaling.capacity import (
    REPLICA_CORES,
    cpu_target,
    header_bytes,
    requests_per_core,
    requests_per_process,
)
from benchmarks.scaling.cluster import READY_SECONDS
from benchmarks.scaling.profiles import Profiles

GENERATOR = "cifar10"
FACTORS = (1, 10, 100, 1000)
HOURS_PER_MONTH = 730


@dataclass(frozen=True)
class Limit:
    """Something of which there is only so much, and how much of it a load needs."""

    name: str
    most: float
    needed: Callable[[float], float]
    way_out: str

    def share(self, rate: float) -> float:
        """Returns the share of the limit that ``rate`` requests a second need; above 1 it is broken."""
        return self.needed(rate) / self.most


def base_rate(profiles: Profiles, rules: Rules) -> float:
    """Returns the load ×1, in requests a second: one replica of two cores at the autoscaler's target."""
    return REPLICA_CORES * requests_per_core(profiles, GENERATOR) * cpu_target(rules)


def replicas(profiles: Profiles, rules: Rules, rate: float) -> int:
    """Returns the replicas that the autoscaler runs at this rate."""
    return math.ceil(rate / base_rate(profiles, rules) - 1e-9)


def limits(profiles: Profiles, rules: Rules) -> list[Limit]:
    """Returns all limits that are known, for clients that ask for one PNG at a time."""

    def count(rate: float) -> int:
        return replicas(profiles, rules, rate)

    assert profiles.cpu.service is not None
    series = profiles.cpu.service.series
    sent_bits = 8 * (profiles.image_bytes(GENERATOR) + header_bytes(profiles))
    return [
        Limit("replicas (`maxReplicaCount`)", rules.most, count, "raise it, or use GPUs"),
        Limit(
            "requests of one process, if one large replica serves all",
            requests_per_process(profiles),
            lambda rate: rate,
            "more replicas, or several images a request",
        ),
        Limit(
            "network of one ingress machine",
            assumptions.INGRESS_BITS_PER_SECOND,
            lambda rate: rate * sent_bits,
            "a CDN, or several ingress machines",
        ),
        Limit(
            "series of one Prometheus",
            assumptions.PROMETHEUS_SERIES,
            lambda rate: count(rate) * series,
            "recording rules by job only, or a Prometheus for each region",
        ),
        Limit(
            "nodes of one cluster",
            assumptions.CLUSTER_NODES,
            lambda rate: count(rate) / assumptions.REPLICAS_PER_NODE,
            "a cluster for each region",
        ),
    ]


def seconds_to_follow(rules: Rules, factor: float) -> float:
    """Returns the seconds until the replicas for ``factor`` times the load are ready, if it comes at once.

    The scale-up policy lets the replicas grow by a share each period; the last ones also have to start.
    """
    (policy,) = rules.behavior.scaleUp.policies
    periods = math.ceil(math.log(factor) / math.log(1 + policy.value / 100) - 1e-9)
    return max(0, periods - 1) * policy.periodSeconds + READY_SECONDS if factor > 1 else 0.0


def seconds_to_leave(profiles: Profiles, rules: Rules, factor: float) -> float:
    """Returns the seconds from the end of a load of ``factor`` until only the replicas for ×1 are left."""
    (policy,) = rules.behavior.scaleDown.policies
    surplus = replicas(profiles, rules, factor * base_rate(profiles, rules)) - rules.least
    return rules.behavior.scaleDown.stabilizationWindowSeconds + max(0, surplus) / policy.value * policy.periodSeconds


def usd_per_month(profiles: Profiles, rules: Rules, rate: float) -> float:
    """Returns the cost of a constant load: cores at the target, and egress."""
    core_hours = replicas(profiles, rules, rate) * REPLICA_CORES * HOURS_PER_MONTH
    sent_gb = rate * HOURS_PER_MONTH * 3600 * (profiles.image_bytes(GENERATOR) + header_bytes(profiles)) / 1e9
    return core_hours * assumptions.USD_PER_CORE_HOUR + sent_gb * assumptions.USD_PER_EGRESS_GB
