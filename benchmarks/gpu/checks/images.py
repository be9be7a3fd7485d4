"""Compares the images of the GPU with those of the CPU, and of batches with those of single runs."""

from collections.abc import Iterator

import numpy as np

from benchmarks.gpu.engines import (
    MAX_DIFFERENCE,
    difference,
    generate,
    inputs_for,
    name_of,
    open_on,
    require_provider,
    shipped_bundles,
)
from benchmarks.gpu.rows import Row, judged
from benchmarks.gpu.target import Target

IMAGES = 256


def check(target: Target) -> Iterator[Row]:
    """Yields two rows for each bundle: CPU against GPU, and alone against every batch size."""
    require_provider(target)
    size = target.max_batch
    for bundle in shipped_bundles():
        name, allowed = name_of(bundle), MAX_DIFFERENCE[bundle.card.precision]
        engine, inputs = open_on(target.device, bundle, size), inputs_for(bundle.card, range(IMAGES))
        expected = generate(open_on("cpu", bundle, size), inputs, size)
        images = generate(engine, inputs, size)
        largest, share = difference(images, expected), float(np.mean(images != expected))
        yield judged(
            f"{name}, CPU against {target.device}",
            largest <= allowed,
            f"differ by {largest} of 255 at most; {share:.2%} of the values do ({IMAGES} images)",
            largest_difference=largest,
            differing_share=share,
        )
        some = inputs.part(0, size)
        alone = generate(engine, some, 1)
        by_size = {bucket: difference(generate(engine, some, bucket), alone) for bucket in engine.buckets}
        largest = max(by_size.values())
        yield judged(
            f"{name}, alone against batches",
            largest <= 1,
            f"differ by {largest} of 255 at most, in batches of {', '.join(map(str, by_size))}",
            largest_difference=largest,
            by_batch_size=by_size,
        )
