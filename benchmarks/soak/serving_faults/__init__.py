"""Faults in serving, each with traffic, and with an account of how every request ended."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults import disks, ends, memory, ordinary

_PARTS: dict[str, Callable[[bool, Path], list[Outcome]]] = {
    "ordinary": ordinary.run,
    "ends": ends.run,
    "disks": disks.run,
    "memory": memory.run,
}


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Runs all parts, each with services of its own: one after the other, or with ``smoke`` two at a time."""

    def part(name: str) -> list[Outcome]:
        folder = work / name
        folder.mkdir()
        return _PARTS[name](smoke, folder)

    with ThreadPoolExecutor(2 if smoke else 1) as pool:
        return [outcome for outcomes in pool.map(part, _PARTS) for outcome in outcomes]
