"""Measures every batch size that the service uses."""

from collections.abc import Iterator

from benchmarks.gpu.engines import (
    batch_runner,
    list_speeds,
    name_of,
    open_on,
    require_provider,
    seconds_per_run,
    shipped_bundles,
)
from benchmarks.gpu.rows import Row
from benchmarks.gpu.target import Target


def check(target: Target) -> Iterator[Row]:
    """Yields for each bundle the images per second of every batch size, without CUDA graphs."""
    require_provider(target)
    for bundle in shipped_bundles():
        engine = open_on(target.device, bundle, target.max_batch)
        speeds = {
            size: size / seconds_per_run(batch_runner(engine, size), target.measured_seconds) for size in engine.buckets
        }
        result = f"images/s by batch size: {list_speeds(speeds)}"
        yield Row(name_of(bundle), result, values={"images_per_second": speeds})
