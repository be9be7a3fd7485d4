"""Runs soak programs, prints one table and writes one JSON file."""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.soak.outcome import Outcome
from training.files import write_atomic

PROGRAMS: dict[str, str] = {
    "fuzz": "the running service, with random and hostile requests",
    "restarts": "rolling restarts of two instances behind nginx and HAProxy",
    "long_serving": "a million mixed requests, and 500 reloads of a bundle",
    "serving_faults": "the service: its engines, bundles, clients, disks, clock, files, memory and ends",
    "training_faults": "kills, full disks, damaged checkpoints and changing images in fit, export, pack and push",
    "long_training": "a training of a million images: memory and files",
    "tuning_faults": "tune: kills, a database that is away, a full disk, two at once, a moved folder",
}
"""Name of a module in this folder → what it attacks, in one line."""


def run_programs(names: Sequence[str], smoke: bool, file: Path) -> bool:
    """Runs programs one after the other and returns whether every promise was kept."""
    file.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"smoke": smoke, "programs": {}}
    outcomes: list[Outcome] = []
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"soak-{name}-") as work:
            found: list[Outcome] = importlib.import_module(f"benchmarks.soak.{name}").run(smoke, Path(work))
        outcomes += found
        seconds = time.monotonic() - began
        kept = sum(outcome.kept for outcome in found)
        print(f"{name}: {kept} of {len(found)} promises kept, {seconds:.0f} s", file=sys.stderr, flush=True)
        document["programs"][name] = {"seconds": seconds, "outcomes": [asdict(outcome) for outcome in found]}
        # After each program: what has been measured survives the next one's end.
        write_atomic(file, (json.dumps(document, indent=2) + "\n").encode())
    _print(outcomes)
    return all(outcome.kept for outcome in outcomes)


def _print(outcomes: list[Outcome]) -> None:
    table = Table("fault", "tried", "promised", "happened", "kept", title="Faults, and what happened")
    for outcome in outcomes:
        style = "green" if outcome.kept else "bold red"
        cells = (outcome.fault, outcome.tried, outcome.promised, outcome.happened)
        table.add_row(*(Text(cell) for cell in cells), Text("yes" if outcome.kept else "NO", style))
    console = Console()
    console.width = max(console.width, 160)  # a log has no width, and 80 columns would break every line
    console.print(table)
