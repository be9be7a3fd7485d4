"""A cluster on a virtual clock: a load balancer, replicas that start and end, Prometheus, and the autoscaler."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.scaling.autoscaler import SYNC_SECONDS, Autoscaler, Rules
from benchmarks.scaling.loads import Load, arrivals
from benchmarks.scaling.prometheus import KEPT_SECONDS, SCRAPE_SECONDS, Series, scrape
from benchmarks.scaling.replica import Clock, Device, Replica, Request
from serving.config.settings import Settings

READY_SECONDS = 20.0
"""From the decision until a new replica gets requests, on a node that is there and has the image: an assumption.

A start takes 2.3 – 4.1 s (docs/performance.md), and readiness is asked every 5 s; the rest is Kubernetes'."""

DRAINED_SECONDS = 60.0


@dataclass
class Trace:
    """What happened: a row for each request, in the order of their ends, and the number of replicas over time."""

    arrived: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """Until the image; infinity if the request was rejected or its deadline passed."""
    replicas: list[tuple[float, int, int]] = field(default_factory=list)
    """(time, all, ready) at every decision."""

    def quantile(self, share: float) -> float:
        """Returns the seconds within which this share of all requests was answered with an image."""
        ordered = np.sort(self.seconds)
        return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])

    @property
    def failed(self) -> float:
        """Returns the share of requests without an image."""
        return float(np.mean(np.isinf(self.seconds)))

    @property
    def replica_seconds(self) -> float:
        """Returns the seconds of all replicas, starting ones included."""
        times = np.array([time for time, _, _ in self.replicas])
        counts = np.array([count for _, count, _ in self.replicas])
        return float(np.sum(np.diff(times) * counts[:-1]))


@dataclass
class _Pod:
    replica: Replica
    ready_at: float
    series: Series = field(default_factory=deque)


class Cluster:
    """Replicas behind a load balancer that picks one at random, as Kubernetes' Services do."""

    def __init__(
        self, device: Device, rules: Rules, ready_seconds: float = READY_SECONDS, queue_images: int | None = None
    ) -> None:
        self._device, self._rules, self._ready_seconds = device, rules, ready_seconds
        self._queue_images = queue_images or Settings.model_fields["queue_images"].default
        self._deadline_seconds: float = Settings.model_fields["deadline_seconds"].default
        self._clock = Clock()
        self._autoscaler = Autoscaler(rules)
        self._pods: list[_Pod] = []
        self._ready: list[Replica] = []
        self._ended: list[_Pod] = []
        self._trace = Trace()

    def run(self, load: Load, replicas: int, seed: int, images: int = 1) -> Trace:
        """Sends a load to ``replicas`` replicas that are ready, and returns what happened until all have answered.

        Each request asks for this number of images.
        """
        self._end = sum(seconds for seconds, _ in load)
        for _ in range(replicas):
            self._start_pod(ready_at=0.0)
        self._update_ready()
        clock = self._clock
        clock.call_at(0.0, self._scrape)
        clock.call_at(SYNC_SECONDS / 2, self._sync)  # between two scrapes
        times: NDArray[np.float64] = arrivals(load, seed)
        picks = np.random.RandomState(seed + 1).uniform(size=len(times))
        for time, pick in zip(times.tolist(), picks.tolist(), strict=True):
            clock.run_until(time)
            self._ready[int(pick * len(self._ready))].arrive(images)
        clock.run_until(self._end + self._deadline_seconds + DRAINED_SECONDS)
        return self._trace

    def _start_pod(self, ready_at: float) -> None:
        replica = Replica(self._clock, self._device, self._queue_images, self._deadline_seconds, self._count)
        self._pods.append(_Pod(replica, ready_at))

    def _count(self, request: Request, seconds: float) -> None:
        self._trace.arrived.append(request.arrived)
        self._trace.seconds.append(seconds)

    def _update_ready(self, _: None = None) -> None:
        self._ready = [pod.replica for pod in self._pods if pod.ready_at <= self._clock.now]

    def _scrape(self, _: None) -> None:
        now = self._clock.now
        for pod in self._pods:
            if pod.ready_at <= now:
                scrape(pod.replica, now, pod.series)
        self._ended = [pod for pod in self._ended if pod.series and pod.series[-1].time > now - KEPT_SECONDS]
        if now < self._end:
            self._clock.call_at(now + SCRAPE_SECONDS, self._scrape)

    def _sync(self, _: None) -> None:
        now = self._clock.now
        series = [pod.series for pod in (*self._pods, *self._ended) if pod.series]
        decided = self._autoscaler.decide(now, len(self._pods), len(self._ready), series)
        for _pod in range(decided - len(self._pods)):
            self._start_pod(now + self._ready_seconds)
        if decided > len(self._ready):
            self._clock.call_at(now + self._ready_seconds, self._update_ready)
        while len(self._pods) > decided:  # the newest goes, as in Kubernetes; what it has is still answered
            self._ended.append(self._pods.pop())
        self._update_ready()
        self._trace.replicas.append((now, len(self._pods), len(self._ready)))
        if now < self._end:
            self._clock.call_at(now + SYNC_SECONDS, self._sync)
