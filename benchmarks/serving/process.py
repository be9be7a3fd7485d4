"""Measures the time until the process is ready, and its memory over many mixed requests."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.serving.load import closed_loop
from benchmarks.serving.servers import ROOT, figment

_REQUESTS = (
    ('{"model":"tiny","seeds":[%d]}', "application/json"),
    ('{"model":"tiny","seeds":[%d]}', "image/webp"),
    ('{"model":"tiny","count":16}', "application/zip"),
    ('{"model":"tiny","count":64}', "application/x-npy"),
    ('{"model":"tiny","seeds":[%d],"truncation":2}', "application/json"),
)


def measure(home: Path, smoke: bool) -> dict[str, Any]:
    """Prints the start time and the memory after each round, and returns them."""
    rounds, seconds = (1, 1) if smoke else (10, 4)
    from benchmarks.serving.start import medians  # a program, too: Python warns if its package imports it first

    start = medians([ROOT], 1 if smoke else 5)[ROOT]
    print(f"\nFrom the start of the process to ready, with the bundles that ship: {start.ready:.1f} s")
    readings: list[dict[str, float]] = []
    requests = 0.0
    with figment(home / "zoo", home / "ours") as ours:
        for _ in range(rounds):
            for body, accept in _REQUESTS:
                reading = closed_loop(ours, "/generate", body, 16, seconds, accept)
                requests += reading.requests_per_second * seconds
            readings.append({"requests": round(requests), "resident_mb": ours.resident_bytes / 2**20})
            print(f"  {requests:8.0f} mixed requests: {readings[-1]['resident_mb']:.0f} MB resident", flush=True)
    return {"start": asdict(start), "memory": readings}
