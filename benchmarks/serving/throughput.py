"""Measures requests for one base64 PNG: requests a second by connections, the limit and Figment in turns."""

import statistics
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from benchmarks.serving.load import Reading, closed_loop
from benchmarks.serving.servers import figment, limit

_CONNECTIONS = (1, 16, 64)


def measure(home: Path, smoke: bool) -> list[dict[str, Any]]:
    """Prints the table and returns its rows: medians, and the median ratio of each pair."""
    rounds, seconds = (1, 1) if smoke else (5, 3)
    rows: list[dict[str, Any]] = []
    print("\nOne image a request: the limit, Figment (ours), and the CPU time of the servers' processes for a request")
    print("model  conn   limit/s    ours/s  ratio   p50 ms   p99 ms  limit µs   ours µs")
    for model in ("tiny",) if smoke else ("tiny", "g32"):
        generator = home / "zoo" / model / "1" / "generator.onnx"
        body = f'{{"model":"{model}","seeds":[%d]}}'
        with limit(generator, home / "limit") as bare, figment(home / "zoo", home / "ours") as ours:
            for connections in _CONNECTIONS[-1:] if smoke else _CONNECTIONS:
                pairs = [
                    (
                        closed_loop(bare, "/", body, connections, seconds),
                        closed_loop(ours, "/generate", body, connections, seconds),
                    )
                    for _ in range(rounds)
                ]
                row = _row(model, connections, pairs)
                rows.append(row)
                theirs, mine = row["limit"], row["ours"]
                print(
                    f"{model:6} {connections:4} "
                    f"{theirs['requests_per_second']:9.0f} {mine['requests_per_second']:9.0f} "
                    f"{row['ratio']:6.2f} {mine['p50_ms']:8.2f} {mine['p99_ms']:8.2f} {theirs['cpu_us']:9.0f} "
                    f"{mine['cpu_us']:9.0f}",
                    flush=True,
                )
                if mine["failed"]:
                    raise SystemExit(f"{mine['failed']} requests failed: the numbers are invalid.")
    return rows


def _row(model: str, connections: int, pairs: list[tuple[Reading, Reading]]) -> dict[str, Any]:
    return {
        "model": model,
        "connections": connections,
        "ratio": statistics.median(ours.requests_per_second / bare.requests_per_second for bare, ours in pairs),
        "limit": _median([bare for bare, _ in pairs]),
        "ours": _median([ours for _, ours in pairs]),
    }


def _median(readings: list[Reading]) -> dict[str, float]:
    rows = [asdict(reading) for reading in readings]
    return {field.name: statistics.median(row[field.name] for row in rows) for field in fields(Reading)}
