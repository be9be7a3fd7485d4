"""Lets every change of the file system fail in turn: a full disk, and single errors of a disk."""

import errno
import shutil
import subprocess
from collections import Counter
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import Place
from benchmarks.soak.training_faults.compare import damage, differences
from benchmarks.soak.training_faults.preloaded import DiskFault, Ended, Preloaded

_SOURCE = Path(__file__).with_name("faults.c")

_SMALL = (
    "network.family=mlp",
    "network.width=16",
    "network.depth=1",
    "images=96",
    "judge.every=64",
    "pace.checkpoint=48",
    "pace.samples=64",
    "pace.tick=48",
)
"""Every kind of write, few of each."""

_KINDS = {"full": (errno.ENOSPC, True), "broken": (errno.EIO, False)}


def compile_shim(folder: Path) -> Path:
    """Returns the library that makes changes fail. Raises ``CalledProcessError`` without a C compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def fail_each_write(server: Preloaded, work: Path, every: dict[str, int]) -> list[Outcome]:
    """Returns a row for each kind of failure: ``full``, a disk that stays full, and ``broken``, one EIO.

    ``every`` is how many changes lie between two that fail; 1 tries all of them.
    """
    whole = Place(work / "whole-small")
    counted = server.run(whole.fit(*_SMALL), whole.cache, fault=DiskFault(str(whole.root)))
    if counted.code:
        raise RuntimeError(counted.output)
    return [_fail(server, work, whole, counted.changes, kind, step) for kind, step in every.items()]


def _fail(server: Preloaded, work: Path, whole: Place, changes: int, kind: str, step: int) -> Outcome:
    error, lasting = _KINDS[kind]
    struck: Counter[str] = Counter()
    problems: list[str] = []
    tried = range(1 + (step > 1) * step // 2, changes + 1, step)
    for number in tried:
        place = Place(work / f"{kind}-{number}")
        fault = DiskFault(str(place.root), number, error, lasting)
        ended = server.run(place.fit(*_SMALL), place.cache, fault=fault)
        if ended.struck:
            struck[ended.struck.split()[0]] += 1
        found = [*_not_one_sentence(ended), *damage(place.run), *_go_on(server, whole, place, ended, lasting)]
        problems += [f"{ended.struck}: {problem}" for problem in found]
        shutil.rmtree(place.root)
    if struck.total() < 0.9 * len(tried):
        problems.append(f"only {struck.total()} of {len(tried)} failures struck")
    title = "a disk that is full from the N-th change on" if lasting else "one EIO, at the N-th change"
    where = ", ".join(f"{what} {count}" for what, count in sorted(struck.items()))
    return Outcome(
        fault=f"{title}, in a run's folder and the cache",
        tried=f"{struck.total()} of {changes} changes",
        promised="one sentence; checkpoints whole; once there is room, the run goes on and ends bit-equal",
        happened=f"{'; '.join(problem[:300] for problem in problems[:4]) or 'as promised'}. Struck: {where}",
        kept=not problems,
    )


def _not_one_sentence(ended: Ended) -> list[str]:
    """Returns what is wrong with what a failed command has said. It may do without what it does not need."""
    errors = [line for line in ended.output.splitlines() if line.startswith("error: ")]
    if ended.code not in (0, 1):
        return [f"ended with {ended.code}: {ended.output[-300:]}"]
    if "Traceback" in ended.output or "Exception" in ended.output or len(errors) != ended.code:
        return [f"said {ended.output[-300:]}"]
    return []


def _go_on(server: Preloaded, whole: Place, place: Place, ended: Ended, lasting: bool) -> list[str]:
    """Lets a run that has failed go on with room, and returns what is wrong with it."""
    if ended.code:
        command = place.resume() if (place.run / "config.yaml").is_file() else place.fit(*_SMALL)
        ended = server.run(command, place.cache)
    if ended.code:
        return [f"cannot go on: {ended.last_line}"]
    # A score that fails saves a checkpoint of its own, so the older of the two may be of another step. On a full
    # disk it cannot.
    return differences(whole.run, place.run, all_checkpoints=lasting)
