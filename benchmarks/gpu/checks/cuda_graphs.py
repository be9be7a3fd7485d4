"""CUDA graphs (``FIGMENT_CUDA_GRAPHS``): whether images stay the same, and what is gained."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.gpu.engines import (
    batch_runner,
    difference,
    generate,
    inputs_for,
    list_speeds,
    name_of,
    open_on,
    require_provider,
    seconds_per_run,
    shipped_bundles,
)
from benchmarks.gpu.rows import Row, judged
from benchmarks.gpu.target import Target
from models.bundle import Bundle

ROUNDS = 3


def check(target: Target) -> Iterator[Row]:
    """Yields for each bundle whether its images stay the same, the first run in another thread, and each speed-up."""
    require_provider(target)
    for bundle in shipped_bundles():
        yield from _rows(bundle, target)


def _rows(bundle: Bundle, target: Target) -> Iterator[Row]:
    name, plain = name_of(bundle), open_on(target.device, bundle, target.max_batch)
    graphs = open_on(target.device, bundle, target.max_batch, cuda_graphs=True)
    inputs = inputs_for(bundle.card, range(2 * plain.max_batch))
    largest = max(difference(generate(graphs, inputs, size), generate(plain, inputs, size)) for size in plain.buckets)
    result = f"differ by {largest} of 255 at most from those without CUDA graphs, in every batch size"
    yield judged(f"{name}, images", largest <= 1, result, largest_difference=largest)

    # The service warms up in one thread and runs in another one. A graph that only its own thread can replay would
    # be recorded again there, while a client waits.
    run = batch_runner(graphs, graphs.max_batch)
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()
        first = time.perf_counter() - began
        inside = thread.submit(seconds_per_run, run, target.measured_seconds).result()
        images = thread.submit(generate, graphs, inputs, graphs.max_batch).result()
    same = difference(images, generate(plain, inputs, plain.max_batch))
    yield judged(
        f"{name}, another thread",
        same <= 1,
        f"first run of {graphs.max_batch} takes {first * 1000:.2f} ms, later ones {inside * 1000:.2f}; "
        f"images differ by {same} of 255 at most",
        first_seconds=first,
        later_seconds=inside,
        largest_difference=same,
    )
    with_graphs: dict[int, float] = {}
    without: dict[int, float] = {}
    for size in plain.buckets:
        pairs = [
            [
                seconds_per_run(batch_runner(engine, size), target.measured_seconds / ROUNDS)
                for engine in (graphs, plain)
            ]
            for _ in range(ROUNDS)
        ]
        with_graphs[size], without[size] = (size / statistics.median(side) for side in zip(*pairs, strict=True))
    gains = ", ".join(f"{size}: × {with_graphs[size] / without[size]:.2f}" for size in with_graphs)
    yield Row(
        f"{name}, speed",
        f"images/s by batch size: {list_speeds(with_graphs)}; of the speed without CUDA graphs, in turns: {gains}",
        values={"images_per_second": with_graphs, "without_graphs": without},
    )
