"""A million mixed requests: every answer is right, memory and open files stay flat, and answers stay as fast."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.generators import write_generators
from benchmarks.serving.servers import Server, figment
from benchmarks.soak.long_serving.mixture import mixture
from benchmarks.soak.long_serving.replay import Reading, Replay
from benchmarks.soak.long_serving.usage import median_megabytes, sampled
from benchmarks.soak.outcome import Outcome

_REQUESTS, _SMOKE_REQUESTS = 1_000_000, 1_200

# Of resident memory, from the second twentieth to the last tenth. A smoke run is too short for the allocator to settle.
_GROWTH, _GROWTH_MEGABYTES, _SMOKE_MEGABYTES = 0.02, 2.0, 30.0
_LATENCY_RATIO = 1.2


@dataclass(frozen=True)
class _Part:
    """One twentieth, or one tenth, of the run."""

    reading: Reading
    megabytes: float
    files: int
    """Open after it, without connections."""


def serve_mixture(smoke: bool, work: Path) -> list[Outcome]:
    """Sends the mixture in two twentieths and nine tenths, or for a smoke run in thirds, and compares them."""
    sizes = [_SMOKE_REQUESTS // 3] * 3 if smoke else [_REQUESTS // 20] * 2 + [_REQUESTS // 10] * 9
    write_generators(work / "zoo")
    with figment(work / "zoo", work / "home") as server:
        replay = Replay(mixture(), server, work / "requests")
        parts = [_measure(server, replay, size) for size in sizes]
    outcomes = [_right(parts, sum(sizes)), _memory(parts, smoke), _files(parts)]
    # A tenth of a smoke run takes less than a second: its slowest hundredth is a few requests.
    return outcomes if smoke else [*outcomes, _latency(parts)]


def _measure(server: Server, replay: Replay, size: int) -> _Part:
    with sampled(server) as samples:
        reading = replay.send(size)
    part = _Part(reading, median_megabytes(samples), _idle_files(server))
    rate = reading.answers / reading.seconds
    print(
        f"  {reading.answers} answers, {rate:.0f}/s, p50 {reading.p50_ms:.1f} ms, p99 {reading.p99_ms:.1f} ms, "
        f"{part.megabytes:.1f} MB, {part.files} files",
        file=sys.stderr,
        flush=True,
    )
    return part


def _idle_files(server: Server) -> int:
    """Returns the number of open files once the connections of wrk are closed: the least of half a second."""
    counts = []
    for _ in range(10):
        time.sleep(0.05)
        counts.append(server.open_files)
    return min(counts)


def _right(parts: list[_Part], least: int) -> Outcome:
    readings = [part.reading for part in parts]
    answers, right = sum(reading.answers for reading in readings), sum(reading.right for reading in readings)
    broken = sum(reading.broken for reading in readings)
    reasons = [reading.reason for reading in readings if reading.reason]
    return Outcome(
        fault="mixed requests on 16 connections, one in ten of which closes its connection",
        tried=f"{answers} requests",
        promised="each gets its own answer: the right status, and the right bytes where the request determines them",
        happened=f"{right} were right, {broken} had no answer" + (f"; first fault: {reasons[0]}" if reasons else ""),
        kept=right == answers >= least and broken == 0,
    )


def _memory(parts: list[_Part], smoke: bool) -> Outcome:
    before, after = parts[1].megabytes, parts[-1].megabytes
    allowed = _SMOKE_MEGABYTES if smoke else _GROWTH * before + _GROWTH_MEGABYTES
    return Outcome(
        fault="the same: resident memory of all processes",
        tried=f"{sum(part.reading.answers for part in parts)} requests",
        promised=f"it grows by at most {allowed:.1f} MB after the first of {len(parts)} parts",
        happened=f"{before:.1f} MB in the second part, {after:.1f} MB in the last; "
        f"most {max(part.megabytes for part in parts):.1f} MB",
        kept=after - before <= allowed,
    )


def _files(parts: list[_Part]) -> Outcome:
    before, after = parts[0].files, parts[-1].files
    return Outcome(
        fault="the same: open files of all processes, without connections",
        tried=f"{len(parts)} counts",
        promised="no more at the end than after the first part",
        happened=f"{before}, then {after}",
        kept=after <= before,
    )


def _latency(parts: list[_Part]) -> Outcome:
    second, last = parts[2].reading.p99_ms, parts[-1].reading.p99_ms
    return Outcome(
        fault="the same: the slowest hundredth of the requests",
        tried=f"{sum(part.reading.answers for part in parts)} requests",
        promised=f"p99 of the last tenth is at most {_LATENCY_RATIO} times that of the second tenth",
        happened=f"{second:.1f} ms, then {last:.1f} ms: {last / second:.2f} times; "
        f"{_rate(parts[2].reading):.0f} and {_rate(parts[-1].reading):.0f} requests/s",
        kept=last <= _LATENCY_RATIO * second,
    )


def _rate(reading: Reading) -> float:
    return reading.answers / reading.seconds
