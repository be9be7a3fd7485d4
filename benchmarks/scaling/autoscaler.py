"""The algorithm of Kubernetes' HorizontalPodAutoscaler, with the rules that ``deploy/kubernetes`` ships.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details. KEDA hands its triggers to
such an autoscaler as external metrics. Of their answers, the highest counts.
"""

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.scaling.prometheus import CPU, Series, cpu_shares, measure_of
from models.strict import StrictModel

MANIFEST = Path(__file__).parents[2] / "deploy" / "kubernetes" / "components" / "keda" / "scaled-object.yaml"

SYNC_SECONDS = 15.0  # Kubernetes' default, as is the tolerance
TOLERANCE = 0.1


class Trigger(StrictModel):
    """A measure, and its target: of each replica (``AverageValue``, ``Utilization``) or of all together (``Value``)."""

    query: str
    metric_type: Literal["AverageValue", "Value", "Utilization"]
    threshold: float

    def desired(self, value: float, replicas: int, counted: int) -> int:
        """Returns the replicas that this trigger wants. Within the tolerance it keeps ``replicas``.

        ``counted`` of them are ready or, for ``Utilization``, have told of their processor.
        """
        ratio = value / self.threshold
        if self.metric_type == "AverageValue":
            return replicas if abs(ratio / replicas - 1) <= TOLERANCE else math.ceil(ratio)
        if self.metric_type == "Value":
            return replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(ratio * counted)
        # Where nothing is known of a replica, it counts as idle if that keeps the number lower, and else as on target.
        assumed = 0.0 if ratio > 1 else 1.0
        careful = (ratio * counted + assumed * (replicas - counted)) / replicas
        if abs(careful - 1) <= TOLERANCE or (careful > 1) != (ratio > 1):
            return replicas
        return math.ceil(careful * replicas)


class ScalingPolicy(StrictModel):
    """The largest change within a period."""

    type: Literal["Percent", "Pods"]
    value: int
    periodSeconds: float  # noqa: N815, Kubernetes' names


class ScalingRules(StrictModel):
    """How fast the number of replicas may change in one direction. Of several policies, the fastest counts."""

    stabilizationWindowSeconds: float  # noqa: N815
    policies: list[ScalingPolicy]


class Behavior(StrictModel):
    """The rules of both directions."""

    scaleUp: ScalingRules  # noqa: N815
    scaleDown: ScalingRules  # noqa: N815


class Rules(StrictModel):
    """All that decides how many replicas run."""

    least: int
    most: int
    triggers: list[Trigger]
    behavior: Behavior


def shipped_rules(manifest: Path = MANIFEST) -> Rules:
    """Returns the rules of the ScaledObject. Raises ``ValueError`` for a query that cannot be simulated."""
    spec = yaml.safe_load(manifest.read_text())["spec"]
    triggers = [_trigger(entry) for entry in spec["triggers"]]
    for trigger in triggers:
        measure_of(trigger.query)
    behavior = Behavior.model_validate(spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"])
    return Rules(least=spec["minReplicaCount"], most=spec["maxReplicaCount"], triggers=triggers, behavior=behavior)


def _trigger(entry: dict[str, Any]) -> Trigger:
    metadata = entry["metadata"]
    query, threshold = (
        (CPU, metadata["value"]) if entry["type"] == "cpu" else (metadata["query"], metadata["threshold"])
    )
    return Trigger(query=query, metric_type=entry["metricType"], threshold=float(threshold))


class Autoscaler:
    """Decides the number of replicas every ``SYNC_SECONDS``."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._measures = [(trigger, measure_of(trigger.query)) for trigger in rules.triggers]
        self._wanted: list[tuple[float, int]] = []  # (time, replicas) of earlier answers of the triggers
        self._changes: list[tuple[float, int]] = []  # (time, difference)

    def decide(self, now: float, replicas: int, ready: int, series: Collection[Series]) -> int:
        """Returns the new number of replicas. ``ready`` of the ``replicas`` take requests."""
        counted = {"Utilization": len(cpu_shares(series, now))}
        wanted = max(
            trigger.desired(measure(series, now), replicas, counted.get(trigger.metric_type, ready))
            for trigger, measure in self._measures
        )
        if not self._wanted:
            self._wanted.append((now, replicas))  # so that a new autoscaler removes nothing before it knows the load
        self._wanted.append((now, wanted))
        decided = self._limited(now, replicas, self._stabilized(now, replicas, wanted))
        if decided != replicas:
            self._changes.append((now, decided - replicas))
        return decided

    def _stabilized(self, now: float, replicas: int, wanted: int) -> int:
        """Returns the mildest answer of the stabilisation window."""
        up, down = (
            [answer for time, answer in self._wanted if time > now - rules.stabilizationWindowSeconds] or [wanted]
            for rules in (self._rules.behavior.scaleUp, self._rules.behavior.scaleDown)
        )
        return min(max(replicas, min(up)), max(down))

    def _limited(self, now: float, replicas: int, wanted: int) -> int:
        """Returns ``wanted``, within the policies and the least and most replicas."""
        rules = self._rules
        if wanted > replicas:
            wanted = min(wanted, max(self._limits(now, replicas, rules.behavior.scaleUp, 1)))
        elif wanted < replicas:
            wanted = max(wanted, min(self._limits(now, replicas, rules.behavior.scaleDown, -1)))
        return min(max(wanted, rules.least), rules.most)

    def _limits(self, now: float, replicas: int, rules: ScalingRules, sign: int) -> Iterable[int]:
        for policy in rules.policies:
            before = replicas - sum(change for time, change in self._changes if time > now - policy.periodSeconds)
            if policy.type == "Pods":
                yield before + sign * policy.value
            else:
                share = before * (1 + sign * policy.value / 100)
                yield math.ceil(share) if sign > 0 else math.floor(share)
