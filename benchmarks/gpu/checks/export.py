"""Export of a run that trained on the device, in both precisions: parity with PyTorch, the device's images, speed."""

from collections.abc import Iterator
from typing import get_args

from benchmarks.gpu.engines import (
    MAX_DIFFERENCE,
    batch_runner,
    difference,
    generate,
    inputs_for,
    open_on,
    require_provider,
    seconds_per_run,
)
from benchmarks.gpu.rows import Row, SkippedError, judged
from benchmarks.gpu.target import Target
from benchmarks.gpu.trainings import require_torch, settings_for, workplace, write_noise
from models.bundle import read_bundle
from training.export import export
from training.packing.checks import Precision
from training.runs.folder import RunFolder
from training.train import train_new_run

PRESETS = {"digits", "cifar10", "sprites"}


def check(target: Target) -> Iterator[Row]:
    """Yields the parity of each export, and its images on the device. ``export`` raises if the parity is too poor."""
    require_torch(target)
    with workplace() as folder:
        source = str(write_noise(folder))
        for preset in (preset for preset in target.presets if preset in PRESETS):
            run = folder / preset
            train_new_run(preset, source, settings_for(preset, "float32", target), None, run)
            speeds: dict[str, float] = {}
            for precision in get_args(Precision):
                bundle = read_bundle(export(RunFolder.open(run), folder / "zoo", f"{preset}-{precision}", precision))
                name, allowed = f"{preset}, {precision}", MAX_DIFFERENCE[precision]
                assert bundle.card.parity is not None  # only bundles from elsewhere may lack it
                parity = bundle.card.parity.max_difference
                yield Row(
                    f"{name}, exported",
                    f"ONNX Runtime on the CPU differs from PyTorch by {parity} of 255 at most",
                    values={"parity": parity, "bytes": len(bundle.onnx)},
                )
                try:
                    require_provider(target)
                except SkippedError as reason:
                    yield Row(f"{name}, served", str(reason), "skipped")
                    continue
                engine, cpu = (open_on(device, bundle, target.max_batch) for device in (target.device, "cpu"))
                inputs, size = inputs_for(bundle.card, range(engine.max_batch)), engine.max_batch
                largest = difference(generate(engine, inputs, size), generate(cpu, inputs, size))
                speeds[precision] = size / seconds_per_run(batch_runner(engine, size), target.measured_seconds)
                gain = f", × {speeds['fp16'] / speeds['fp32']:.2f} of fp32" if len(speeds) == 2 else ""
                yield judged(
                    f"{name}, served",
                    largest <= allowed,
                    f"CPU and {target.device} differ by {largest} of 255 at most; "
                    f"{speeds[precision]:,.0f} images/s in batches of {size}{gain}",
                    largest_difference=largest,
                    images_per_second=speeds[precision],
                )
