"""The cards, and whether their driver is new enough for CUDA 13."""

from collections.abc import Iterator

from benchmarks.gpu.rows import Row, SkippedError, judged
from benchmarks.gpu.target import Target
from serving.inference.driver import describe_driver, driver_version, is_new_enough, query_cards

_FIELDS = ("name", "memory.total", "memory.used", "compute_cap", "mig.mode.current", "ecc.mode.current")


def check(target: Target) -> Iterator[Row]:
    """Yields the driver, and each card that nvidia-smi lists."""
    if target.device == "cpu":
        raise SkippedError("the CPU has no driver")
    version = driver_version()
    yield judged("driver", version is not None and is_new_enough(version), describe_driver(), driver=version)
    cards = query_cards(*_FIELDS)
    if not cards:
        yield Row("cards", "nvidia-smi is not here, or fails", "skipped")
    for number, values in enumerate(cards):
        name, memory, used, capability, mig, ecc = values
        result = f"{name}, {memory}, {used} in use, compute capability {capability}, MIG {mig}, ECC {ecc}"
        yield Row(f"card {number}", result, values=dict(zip(_FIELDS, values, strict=True)))
