"""Cuts checkpoints and flips their bits: they are skipped with a warning, or still hold the same."""

import contextlib
import io
import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import Place
from benchmarks.soak.training_faults.compare import value_differences
from benchmarks.soak.training_faults.preloaded import Preloaded
from training.errors import TrainingError
from training.runs.checkpoints import checkpoints, read_newest

_STEP = 2**16


def damage_checkpoints(server: Preloaded, work: Path, width: int | None, flips: int) -> list[Outcome]:
    """Returns a row for cuts and one for flipped bits, on the checkpoints of a network of some width.

    Without ``width``, they are those of the run in ``work/whole``.
    """
    place = Place(work / "damaged")
    if width is None:
        shutil.copytree(work / "whole", place.root, dirs_exist_ok=True)
    elif (ended := server.run(place.fit(f"network.width={width}", "judge=null", "images=128"), place.cache)).code:
        raise RuntimeError(ended.output)
    folder = place.run / "checkpoints"
    older, newer = checkpoints(folder)
    good, before = newer.read_bytes(), older.read_bytes()
    contents = {path.stem: read_newest(_only(work / "one", path)) for path in (older, newer)}

    cuts = range(0, len(good), _STEP)
    problems: list[str] = []
    for length in cuts:
        newer.write_bytes(good[:length])
        problems += [f"cut to {length}: {problem}" for problem in _skips(folder, newer, contents[older.stem])]
    older.write_bytes(before[: len(before) // 2])
    newer.write_bytes(good[: len(good) // 2])
    refused = server.run(place.resume(), place.cache)
    if refused.code != 1 or "no checkpoint in" not in refused.last_line or "Traceback" in refused.output:
        problems.append(f"with both cut, resume ended with {refused.code}: {refused.output[-300:]}")
    older.write_bytes(before)
    resumed = server.run(place.resume(), place.cache)
    if resumed.code or f"skipping the unreadable checkpoint {newer.name}" not in resumed.output:
        problems.append(f"with one cut, resume ended with {resumed.code}: {resumed.output[-300:]}")
    problems += [f"resumed from the one before{detail}" for detail in _differ(folder, contents[newer.stem])]

    flip_problems, same = _flip(folder, newer, good, contents, flips)
    size = f"{len(good) / 1e6:.1f} MB"
    return [
        Outcome(
            fault=f"a checkpoint of {size}, cut at every 64 KiB",
            tried=f"{len(cuts)} cuts, one resume, and one with both checkpoints cut",
            promised="a warning, and the checkpoint before is taken, bit-equal in the end; one sentence without any",
            happened="; ".join(problems[:4]) or "as promised",
            kept=not problems,
        ),
        Outcome(
            fault=f"a flipped bit in a checkpoint of {size}",
            tried=f"{flips} bits",
            promised="a warning, and the checkpoint before is taken; or the content is the same",
            happened="; ".join(flip_problems[:4]) or f"{flips - same} skipped, {same} in bytes that mean nothing",
            kept=not flip_problems and same < flips,
        ),
    ]


def _flip(
    folder: Path, newer: Path, good: bytes, contents: dict[str, dict[str, Any]], flips: int
) -> tuple[list[str], int]:
    """Returns what went wrong, and how many flips changed nothing."""
    chance, problems, same = random.Random(flips), [], 0
    for _ in range(flips):
        position = chance.randrange(8 * len(good))
        flipped = bytearray(good)
        flipped[position // 8] ^= 1 << (position % 8)
        newer.write_bytes(flipped)
        found, _ = _read(folder)
        expected = contents[f"{found['images_seen']:012d}"]
        same += found["images_seen"] == int(newer.stem)
        problems += [f"bit {position}: the checkpoint differs{detail}" for detail in value_differences(expected, found)]
    newer.write_bytes(good)
    return problems, same


def _skips(folder: Path, newer: Path, expected: dict[str, Any]) -> list[str]:
    try:
        found, told = _read(folder)
    except TrainingError as error:
        return [str(error)]
    if f"skipping the unreadable checkpoint {newer.name}" not in told:
        return [f"no warning, but {told!r}"]
    return list(value_differences(expected, found))


def _read(folder: Path) -> tuple[dict[str, Any], str]:
    """Returns the newest readable checkpoint, and what was said."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told):
        return read_newest(folder), told.getvalue()


def _differ(folder: Path, expected: dict[str, Any]) -> list[str]:
    return list(value_differences(expected, _read(folder)[0]))


def _only(folder: Path, checkpoint: Path) -> Path:
    """Returns a folder with a copy of one checkpoint alone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(checkpoint, folder)
    return folder
