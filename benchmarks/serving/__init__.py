"""The service against the limit on the same machine, in turns: see ``docs/performance.md``."""

import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.serving.generators import write_generators
from benchmarks.serving.load import Reading, closed_loop
from benchmarks.serving.servers import figment, limit

_CONNECTIONS = (1, 16, 64)


def run(smoke: bool, out: Path) -> None:
    """Prints the tables and writes ``serving.json``."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_generators(home / "zoo")
        results = {"throughput": _throughput(home, smoke)}
    (out / "serving.json").write_text(json.dumps(results, indent=2) + "\n")


def _throughput(home: Path, smoke: bool) -> list[dict[str, object]]:
    """One seed in, one base64 PNG out: requests a second, ours and the limit's, in turns; medians."""
    rounds, seconds = (1, 1) if smoke else (5, 3)
    rows: list[dict[str, object]] = []
    print(
        f"{'model':6} {'conn':>4} {'limit/s':>8} {'ours/s':>8} {'ratio':>6} {'p50 ms':>7} {'p99 ms':>7} "
        f"{'limit µs':>8} {'ours µs':>8}"
    )
    for model in ("tiny", "g32"):
        path = home / "zoo" / model / "1" / "generator.onnx"
        with limit(path, home / "limit") as bare, figment(home / "zoo", home / "ours") as ours:
            body = f'{{"model":"{model}","seeds":[%d]}}'
            for connections in _CONNECTIONS:
                pairs = []
                for _ in range(rounds):
                    theirs = closed_loop(bare, "/", body, connections, seconds)
                    pairs.append((theirs, closed_loop(ours, "/generate", body, connections, seconds)))
                theirs, mine = (_median([pair[side] for pair in pairs]) for side in (0, 1))
                ratio = statistics.median(m.requests_per_second / t.requests_per_second for t, m in pairs)
                rows.append(
                    {
                        "model": model,
                        "connections": connections,
                        "ratio": ratio,
                        "limit": asdict(theirs),
                        "ours": asdict(mine),
                    }
                )
                print(
                    f"{model:6} {connections:4} {theirs.requests_per_second:8.0f} {mine.requests_per_second:8.0f} "
                    f"{ratio:6.2f} {mine.p50_ms:7.2f} {mine.p99_ms:7.2f} {theirs.cpu_us:8.0f} {mine.cpu_us:8.0f}",
                    flush=True,
                )
    return rows


def _median(readings: list[Reading]) -> Reading:
    return Reading(*(statistics.median(getattr(r, name) for r in readings) for name in Reading.__dataclass_fields__))
