"""Compares the service with the limit on the same machine, in turns. See ``docs/performance.md``."""

import json
import tempfile
from pathlib import Path

from benchmarks.serving import arrivals, many_images, process, throughput
from benchmarks.serving.generators import write_generators


def run(smoke: bool, out: Path) -> None:
    """Prints the tables and writes ``serving.json``."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_generators(home / "zoo")
        for part in (throughput, many_images, arrivals, process):
            results[part.__name__.rpartition(".")[2]] = part.measure(home, smoke)
    (out / "serving.json").write_text(json.dumps(results, indent=2) + "\n")
