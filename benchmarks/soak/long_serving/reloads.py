"""Five hundred reloads: a new version of a bundle appears and is served, and the old one goes. Memory stays flat."""

import http.client
import json
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.generators import g32, tiny, write_generator
from benchmarks.serving.servers import Server, figment
from benchmarks.soak.long_serving.usage import MEGABYTE
from benchmarks.soak.outcome import Outcome

_RELOADS, _SMOKE_RELOADS = 500, 2
_POLL_SECONDS = 0.05
# A removed version stays for one deadline, since earlier requests may still use it.
_DEADLINE_SECONDS = 2.0
_PATIENCE_SECONDS = 60

# Of resident memory. The allocator's pools hold what cannot be returned to the system, between blocks in use.
_GROWTH, _GROWTH_MEGABYTES, _SMOKE_MEGABYTES = 0.1, 10.0, 100.0


@dataclass(frozen=True)
class _Checkpoint:
    """The state of the service when all removed versions are unloaded."""

    megabytes: float
    files: int
    series: int


def reload_bundle(smoke: bool, work: Path) -> list[Outcome]:
    """Replaces a bundle again and again, by turns with one of two generators, and asks for images after each."""
    reloads = _SMOKE_RELOADS if smoke else _RELOADS
    every = 2 * max(1, reloads // 50)  # an even number: the same generator is loaded at each checkpoint
    zoo, generators = work / "zoo", [g32(), tiny()]
    expected: dict[int, bytes] = {}
    checkpoints: list[_Checkpoint] = []
    right = 0
    write_generator(zoo, "switch", 1, *generators[1])
    began = time.monotonic()
    with figment(zoo, work / "home", reload_seconds=_POLL_SECONDS, deadline_seconds=_DEADLINE_SECONDS) as server:
        _, expected[1] = _images(server)
        checkpoints.append(_checkpoint(server))
        for version in range(2, reloads + 2):
            write_generator(work / "new", "switch", version, *generators[version % 2])
            (work / "new" / "switch" / str(version)).rename(zoo / "switch" / str(version))
            shutil.rmtree(zoo / "switch" / str(version - 1))
            served, images = _await_version(server, version)
            right += served == version and images == expected.setdefault(version % 2, images)
            if (version - 1) % every == 0:
                checkpoints.append(_checkpoint(server))
    if len(set(expected.values())) != 2:
        raise RuntimeError("both generators have the same images: the wrong one would not be noticed")
    return _outcomes(reloads, right, checkpoints, time.monotonic() - began, smoke)


def _outcomes(reloads: int, right: int, checkpoints: list[_Checkpoint], seconds: float, smoke: bool) -> list[Outcome]:
    # The third of 26 checkpoints is after 40 reloads. Single ones differ by 30 MB, in either direction.
    start, width = (0, 1) if smoke else (2, 4)
    first, last = checkpoints[start], checkpoints[-1]
    before = statistics.median(checkpoint.megabytes for checkpoint in checkpoints[start : start + width])
    after = statistics.median(checkpoint.megabytes for checkpoint in checkpoints[-width:])
    allowed = _SMOKE_MEGABYTES if smoke else _GROWTH * before + _GROWTH_MEGABYTES
    most = max(checkpoint.megabytes for checkpoint in checkpoints)
    return [
        Outcome(
            fault="a bundle is replaced by its next version, with another generator",
            tried=f"{reloads} times in {seconds:.0f} s",
            promised="the new version is served, with the images of its generator",
            happened=f"{right} times",
            kept=right == reloads,
        ),
        Outcome(
            fault="the same: resident memory of all processes, when removed versions are unloaded",
            tried=f"{reloads} times",
            promised=f"it grows by at most {allowed:.0f} MB after the first 40",
            happened=f"{before:.0f} MB, then {after:.0f} MB (medians of {width}); most {most:.0f} MB",
            kept=after - before <= allowed,
        ),
        Outcome(
            fault="the same: open files, and series of metrics",
            tried=f"{reloads} times",
            promised="no more at the end than after the first 40",
            happened=f"{first.files} files and {first.series} series, then {last.files} and {last.series}",
            kept=last.files <= first.files and last.series <= first.series,
        ),
    ]


def _checkpoint(server: Server) -> _Checkpoint:
    """Waits until the removed versions are unloaded, and returns what the service holds then."""
    time.sleep(_DEADLINE_SECONDS + 0.5)
    _ask(server, "GET", "/metrics")  # has series of its own, after the first time
    lines = _ask(server, "GET", "/metrics")[1].splitlines()
    series = sum(not line.startswith(b"#") for line in lines)
    checkpoint = _Checkpoint(server.resident_bytes / MEGABYTE, _files_held(server), series)
    print(f"  {checkpoint}", file=sys.stderr, flush=True)
    return checkpoint


def _files_held(server: Server) -> int:
    """Returns the fewest open files of half a second: others are folders that are listed, and closing connections."""
    counts = []
    for _ in range(20):
        counts.append(server.open_files)
        time.sleep(_POLL_SECONDS / 2)
    return min(counts)


def _await_version(server: Server, version: int) -> tuple[int, bytes]:
    """Returns the version that is served and its images, as soon as it is the one that is awaited, or in the end."""
    until = time.monotonic() + _PATIENCE_SECONDS
    served, images = _images(server)
    while served < version and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
        served, images = _images(server)
    return served, images


def _images(server: Server) -> tuple[int, bytes]:
    """Returns the version that is served and pixels: files would have the version in their metadata."""
    headers, body = _ask(server, "POST", "/generate", json.dumps({"model": "switch", "seeds": [7]}))
    return int(headers["X-Figment-Version"]), body


def _ask(server: Server, method: str, path: str, body: str | None = None) -> tuple[http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_PATIENCE_SECONDS)
    connection.request(method, path, body, {"Content-Type": "application/json", "Accept": "application/x-npy"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{method} {path} got status {response.status}: {content[:300]!r}")
    return response.headers, content
