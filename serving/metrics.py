"""Every metric of the service: names, labels, buckets and help, and nothing else decides them.

Each answers a question of an operator: how much and how fast (requests, images), why it is slow (queue wait,
inference, encoding), whether the device is used well (batch, padding), what was turned away and why (dropped),
and what runs where (model_info, ready).
"""

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ENCODE_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The metrics of one process. Of several, they are kept in files, which ``exposition`` adds up."""

    def __init__(self) -> None:
        # Each would have another time series, for what only OpenMetrics knows.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        _forget_dead_processes()
        self.requests = Counter(
            "figment_requests", "HTTP requests answered, by route template.", ["route", "code"], registry=registry
        )
        self.request_duration = Histogram(
            "figment_request_duration_seconds",
            "Time from a request's arrival to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "figment_images", "Images sent to clients.", ["model", "version", "format"], registry=registry
        )
        self.queued_images = Gauge(
            "figment_queued_images",
            "Images that wait for a batch.",
            ["model"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.queue_wait = Histogram(
            "figment_queue_wait_seconds",
            "Time from a request's arrival in the queue until a batch takes its first image.",
            ["model"],
            buckets=_SECONDS,
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
            "Images computed only to fill a batch up to its bucket.",
            ["model"],
            registry=registry,
        )
        self.inference = Histogram(
            "figment_inference_seconds",
            "Time that the device takes for a batch.",
            ["model", "provider"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.encode = Histogram(
            "figment_encode_seconds",
            "Time to encode one image; in a file of several, its share.",
            ["format"],
            buckets=_ENCODE_SECONDS,
            registry=registry,
        )
        self.dropped_images = Counter(
            "figment_dropped_images",
            "Images asked for and never made: queue_full, deadline, disconnected, draining.",
            ["model", "reason"],
            registry=registry,
        )
        self.model_info = Gauge(
            "figment_model_info",
            "A loaded model: always 1; what matters is in the labels.",
            ["model", "version", "provider", "sha256"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.ready = Gauge(
            "figment_ready",
            "1 if /readyz says that the service is ready, else 0.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.reload_failures = Counter(
            "figment_reload_failures", "Looks into the folder of bundles that failed.", registry=registry
        )
        self.reload_success = Gauge(
            "figment_reload_last_success_timestamp_seconds",
            "When the folder of bundles was last read completely, in seconds since 1970; 0: not yet.",
            multiprocess_mode="livemin",
            registry=registry,
        )

        # Looking a child up costs as much as counting does; there are few, since all labels are from fixed sets.
        self.requests_of = functools.cache(self.requests.labels)
        self.request_duration_of = functools.cache(self.request_duration.labels)
        self.images_of = functools.cache(self.images.labels)
        self.encode_of = functools.cache(self.encode.labels)

    def remove_model(self, *labels: str) -> None:
        """Removes a model from ``figment_model_info``; ``labels`` are its model, version, provider and SHA-256."""
        if _of_several_processes():
            # Nothing can be removed from the files; ``exposition`` leaves out what is 0 in all of them.
            self.model_info.labels(*labels).set(0)
        else:
            self.model_info.remove(*labels)

    def observe_encode(self, image_format: str, seconds: float, images: int) -> None:
        """Observes the encoding of a file that holds several images, as an even share for each image."""
        observe = self.encode_of(image_format).observe
        for _ in range(images):
            observe(seconds / images)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if not _of_several_processes():
            return generate_latest(self._registry)
        merged = CollectorRegistry()
        merged.register(_LoadedModels())
        return generate_latest(merged)


class _LoadedModels(Collector):
    """The metrics of all processes, without the models that every process has unloaded."""

    def collect(self) -> Iterator[Metric]:
        for metric in MultiProcessCollector(None).collect():  # type: ignore[no-untyped-call]
            if metric.name == "figment_model_info":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


def _of_several_processes() -> bool:
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def _forget_dead_processes() -> None:
    """Removes the gauges of processes that crashed: nobody else does, and they would be summed up for ever."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        pid = file.stem.rpartition("_")[2]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            mark_process_dead(int(pid))  # type: ignore[no-untyped-call]
