"""Whether ONNX Runtime's provider loads and runs, opened as the service opens it."""

import time
from collections.abc import Iterator

from benchmarks.gpu.engines import name_of, open_on, require_provider, shipped_bundles
from benchmarks.gpu.rows import Row, judged
from benchmarks.gpu.target import Target


def check(target: Target) -> Iterator[Row]:
    """Opens every shipped bundle on the target. Raises ``DeviceError`` if the provider does not really load."""
    import onnxruntime

    require_provider(target)
    for bundle in shipped_bundles():
        began = time.perf_counter()
        engine = open_on(target.device, bundle, target.max_batch)
        seconds = time.perf_counter() - began
        result = f"onnxruntime {onnxruntime.__version__} opened and warmed it on {engine.provider} in {seconds:.1f} s"
        yield judged(name_of(bundle), engine.provider == target.device, result, open_seconds=seconds)
