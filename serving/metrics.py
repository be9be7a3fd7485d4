"""Defines every metric of the service: names, labels, buckets and help.

Each metric answers an operator's question: how much and how fast (requests, images), why it is slow (queue wait,
inference, encoding), whether the device is used well (batch, padding), what was dropped and why (dropped), what runs
where (model_info, device_fallback, rejected_bundles), and whether it runs at all (ready, alive, the process's own).

prometheus_client chooses where metrics are kept (memory or files) when it is imported: ``PROMETHEUS_MULTIPROC_DIR``
must be set or unset before anything imports this module. Only this module and ``metric_files`` use it.
"""

import functools
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from serving.metric_files import keep_metrics_in_reserved_files

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

DropReason = Literal["queue_full", "deadline", "disconnected", "draining"]
"""Why images that a client asked for were never generated."""

DROP_REASONS: tuple[DropReason, ...] = get_args(DropReason)

_MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

_MODEL_INFO = "figment_model_info"

# How several workers become one process: by name, the function of their values. CPU seconds are missing: their sum
# falls when a worker ends, which Prometheus would take for a restart, and would count the rest twice.
_PROCESS_GAUGES: dict[str, Callable[[float, float], float]] = {
    "process_resident_memory_bytes": operator.add,
    "process_open_fds": operator.add,
    "process_max_fds": operator.add,
    "process_start_time_seconds": max,
}

DURATION_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ENCODE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one process. Several processes keep theirs in files, which ``exposition`` merges."""

    def __init__(self) -> None:
        # They would double the time series, and only the OpenMetrics format has them.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        keep_metrics_in_reserved_files()
        self._registry = registry = CollectorRegistry()
        _remove_gauges_of_dead_processes()
        self.requests = Counter(
            "figment_requests",
            "HTTP requests, by route template and status code.",
            ["route", "code"],
            registry=registry,
        )
        self.request_duration = Histogram(
            "figment_request_duration_seconds",
            "Time from a request's arrival to the end of its response.",
            ["route"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "figment_images", "Images sent to clients.", ["model", "version", "format"], registry=registry
        )
        self.queued_images = Gauge(
            "figment_queued_images",
            "Images waiting for a batch.",
            ["model"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.queue_wait = Histogram(
            "figment_queue_wait_seconds",
            "Time from a request's arrival in the queue until its first image is in a running batch.",
            ["model"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self.batch_images = Histogram(
            "figment_batch_images",
            "Images in a batch, without padding.",
            ["model"],
            buckets=_IMAGES,
            registry=registry,
        )
        self.batch_padding = Counter(
            "figment_batch_padding_images",
            "Images computed only to pad a batch to its bucket.",
            ["model"],
            registry=registry,
        )
        self.inference = Histogram(
            "figment_inference_seconds",
            "Time of a batch on the device.",
            ["model", "provider"],
            buckets=DURATION_SECONDS,
            registry=registry,
        )
        self.encode = Histogram(
            "figment_encode_seconds",
            "Time to encode one image; in a file of several images, its even share.",
            ["format"],
            buckets=_ENCODE_SECONDS,
            registry=registry,
        )
        self.dropped_images = Counter(
            "figment_dropped_images",
            f"Images requested and never generated: {', '.join(DROP_REASONS)}.",
            ["model", "reason"],
            registry=registry,
        )
        self.model_info = Gauge(
            _MODEL_INFO,
            "A loaded model: always 1; the information is in the labels.",
            ["model", "version", "provider", "sha256"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.ready = Gauge(
            "figment_ready",
            "1 if /readyz reports that the service is ready, else 0.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.alive = Gauge(
            "figment_alive",
            "1 if /livez reports that the process is alive, else 0.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.device_fallback = Gauge(
            "figment_device_fallback",
            "1 if a build for GPUs runs on the CPU because no GPU works, else 0.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.rejected_bundles = Gauge(
            "figment_rejected_bundles",
            "Bundles on disk that cannot be served; /readyz lists each with its reason.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.reload_failures = Counter(
            "figment_reload_failures", "Failed polls of the folder of bundles.", registry=registry
        )
        self.reload_success = Gauge(
            "figment_reload_last_success_timestamp_seconds",
            "Time of the last successful poll of the folder of bundles, in seconds since 1970; 0: none yet.",
            multiprocess_mode="livemin",
            registry=registry,
        )

        registry.register(_ProcessCollector())

        # Looking up a child costs as much as counting. The caches stay small: all labels come from fixed sets, or from
        # bundles that are served.
        self.requests_of = functools.cache(self.requests.labels)
        self.request_duration_of = functools.cache(self.request_duration.labels)
        self.images_of = functools.cache(self.images.labels)
        self.encode_of = functools.cache(self.encode.labels)

    def remove_model(self, *labels: str) -> None:
        """Removes a model from ``figment_model_info``; ``labels`` are its model, version, provider and SHA-256."""
        if _is_multiprocess():
            # Samples cannot be removed from the files. ``exposition`` omits those that are 0 in all of them.
            self.model_info.labels(*labels).set(0)
        else:
            self.model_info.remove(*labels)

    def remove_unserved(self, model: str, version: str | None) -> None:
        """Removes the series of a version that is not served any more; with ``None``, of a model without any version.

        Otherwise a process that reloads bundles would collect series without end. Files keep theirs.
        """
        if _is_multiprocess():
            return
        if version is not None:
            self.images.remove_by_labels({"model": model, "version": version})
            self.images_of.cache_clear()
            return
        by_model = (self.queue_wait, self.batch_images, self.batch_padding, self.inference, self.dropped_images)
        for metric in (self.queued_images, *by_model):
            metric.remove_by_labels({"model": model})

    def observe_encode(self, image_format: str, seconds: float, images: int) -> None:
        """Observes the encoding time of a file with several images: an even share for each image."""
        observe = self.encode_of(image_format).observe
        for _ in range(images):
            observe(seconds / images)

    def exposition(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        if not _is_multiprocess():
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        merged.register(_MergedCollector())
        merged.register(_ProcessCollector())
        return generate_latest(merged)


class _MergedCollector(Collector):
    """Collects the metrics of all processes, without the models that every process has unloaded."""

    def collect(self) -> Iterator[Metric]:
        for metric in MultiProcessCollector(None).collect():  # type: ignore[no-untyped-call]
            if metric.name == _MODEL_INFO:
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


class _ProcessCollector(Collector):
    """Collects memory, open files and the last start of all workers as if they were one process; on Linux only."""

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        for pid in _worker_pids():
            for metric in _process_metrics(pid):
                if metric.name not in _PROCESS_GAUGES:
                    continue
                if metric.name in merged:
                    (others,), (own,) = merged[metric.name].samples, metric.samples
                    value = _PROCESS_GAUGES[metric.name](others.value, own.value)
                    metric.samples = [own._replace(value=value)]
                merged[metric.name] = metric
        yield from merged.values()


def _process_metrics(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _worker_pids() -> list[int]:
    """Returns this process, or all live processes that keep their metrics in the same files."""
    if not _is_multiprocess():
        return [os.getpid()]
    return sorted(pid for pid in _pids_with_gauges() if _is_running(pid))


def _pids_with_gauges() -> set[int]:
    files = Path(os.environ[_MULTIPROCESS_FOLDER]).glob("gauge_live*_*.db")
    pids = {file.stem.rpartition("_")[2] for file in files}
    return {int(pid) for pid in pids if pid.isdecimal()}


def _is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _is_multiprocess() -> bool:
    return _MULTIPROCESS_FOLDER in os.environ


def _remove_gauges_of_dead_processes() -> None:
    """Removes the gauges of crashed processes: nothing else does, and they would stay in the sums forever."""
    for pid in _pids_with_gauges() if _is_multiprocess() else ():
        if not _is_running(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
