"""Changes, shortens and removes the images of a run while it reads them, while it trains, and before it resumes."""

import io
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import DIGITS, Place
from benchmarks.soak.training_faults.compare import differences
from benchmarks.soak.training_faults.preloaded import Child, Preloaded

_SHORT = ("judge=null", "images=128", "pace.checkpoint=64")
_READING = 3
"""Copies of the 512 digits, so that there is time while they are decoded."""

_TRIES = 10
"""Starts until one is caught while it decodes, which takes a tenth of a second."""

_PROMISE = "one sentence, or the same images to the end; never other images in silence"


def change_data(server: Preloaded, work: Path, kinds: tuple[str, ...], ways: tuple[str, ...]) -> list[Outcome]:
    """Returns a row for each kind: ``parquet``, ``folder``. ``ways`` are of ``changed``, ``shortened``, ``removed``."""
    return [_change(server, work / kind, kind, ways) for kind in kinds]


def _change(server: Preloaded, work: Path, kind: str, ways: tuple[str, ...]) -> Outcome:
    problems: list[str] = []
    whole = Place(work / "whole", _make(work / "whole" / "images", kind))
    if (ended := server.run(whole.fit(*_SHORT), whole.cache)).code:
        raise RuntimeError(ended.output)
    tried = 0
    for way in ways:
        for moment in ("decoding", "training", "stopped"):
            tried += 1
            place = Place(work / f"{way}-{moment}", _make(work / f"{way}-{moment}" / "images", kind))
            problems += [f"{way} while {moment}: {text}" for text in _try(server, whole, place, way, moment)]
    return Outcome(
        fault=f"images in {'a Parquet file' if kind == 'parquet' else 'a folder'} that are {', '.join(ways)}",
        tried=f"{tried} times: while they are decoded, while the run trains, and before it resumes",
        promised=_PROMISE,
        happened="; ".join(problem[:300] for problem in problems[:4]) or "as promised",
        kept=not problems,
    )


def _try(server: Preloaded, whole: Place, place: Place, way: str, moment: str) -> list[str]:
    """Disturbs one run at one moment, and returns what is wrong."""
    if moment == "decoding":
        return _try_while_decoding(server, place, way)
    child = server.start(place.fit(*_SHORT), place.cache)
    if moment == "training":
        if not _wait(child, lambda: (place.run / "metrics.jsonl").exists()):
            return ["ended before it trained"]
        _DISTURB[way](place.data)
        ended = child.wait()
        return [f"ended with {ended.code}: {ended.last_line}"] if ended.code else differences(whole.run, place.run)
    if (ended := child.wait()).code:
        return [ended.last_line]
    _DISTURB[way](place.data)
    resumed = server.run(place.resume(), place.cache)
    if resumed.code != 1 or not resumed.last_line.startswith("error: ") or "Traceback" in resumed.output:
        return [f"resume ended with {resumed.code}: {resumed.output[-300:]}"]
    return differences(whole.run, place.run)


def _try_while_decoding(server: Preloaded, place: Place, way: str) -> list[str]:
    for _ in range(_TRIES):
        child = server.start(place.fit(*_SHORT), place.cache)
        _wait(child, lambda: any(place.cache.rglob("images.npy")))
        os.kill(child.pid, signal.SIGSTOP)  # holds it while the images are disturbed
        if not any(place.cache.rglob("meta.json")):
            break
        child.kill()
        child.wait()
        shutil.rmtree(place.cache)
        shutil.rmtree(place.run, ignore_errors=True)
    else:
        return [f"all images were decoded before, {_TRIES} times"]
    _DISTURB[way](place.data)
    os.kill(child.pid, signal.SIGCONT)
    ended = child.wait()
    if ended.code != 1 or not ended.last_line.startswith("error: ") or "Traceback" in ended.output:
        return [f"ended with {ended.code}: {ended.output[-300:]}"]
    left = [*(["a run"] if place.run.exists() else []), *(path.name for path in place.cache.rglob("meta.json"))]
    return [f"leaves {name}" for name in left]


def _wait(child: Child, happened: Callable[[], bool]) -> bool:
    """Waits until something happens. Returns False if the command has ended before."""
    while not happened():
        if child.has_ended:
            return False
        time.sleep(0.002)
    return True


def _make(path: Path, kind: str) -> Path:
    """Writes images as a Parquet file or as a folder with two labels."""
    table = pq.read_table(DIGITS)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        file = path.with_suffix(".parquet")
        pq.write_table(pa.concat_tables([table] * _READING), file)
        return file
    for index, row in enumerate(table.column("image").to_pylist()):
        folder = path / ("even" if index % 2 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{index:04d}.png").write_bytes(row["bytes"])
    return path


def _changed(data: Path) -> None:
    """Replaces the last image by another one of the same size."""
    if data.is_file():
        table = pq.read_table(data)
        pq.write_table(pa.concat_tables([table.slice(1), table.slice(0, 1)]), data)
        return
    image = Image.new("L", (28, 28), 255)
    content = io.BytesIO()
    image.save(content, "PNG")
    sorted(data.rglob("*.png"))[-1].write_bytes(content.getvalue())


def _shortened(data: Path) -> None:
    """Takes the last images away: of a file, its second half in bytes."""
    if data.is_file():
        with data.open("r+b") as file:
            file.truncate(data.stat().st_size // 2)
        return
    for path in sorted(data.rglob("*.png"))[-100:]:
        path.unlink()


def _removed(data: Path) -> None:
    data.unlink() if data.is_file() else shutil.rmtree(data)


_DISTURB: dict[str, Callable[[Path], None]] = {"changed": _changed, "shortened": _shortened, "removed": _removed}
