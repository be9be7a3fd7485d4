"""Starts a second process on a run's folder: it is refused while the first trains, and free once that was killed."""

import shutil
import time
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import Place
from benchmarks.soak.training_faults.preloaded import Child, Preloaded
from models.bundle import read_bundle
from models.find import find_bundles

_LONG = ("images=100000", "judge=null", "pace.tick=2000", "pace.samples=100000", "pace.checkpoint=200")
"""Trains until it is killed, and replaces its checkpoints all the time."""


def start_twice(server: Preloaded, work: Path, rounds: int) -> list[Outcome]:
    """Returns a row for a second process, and one for an export during a fit."""
    refusals, exports = list[str](), list[str]()
    exported = 0
    for number in range(rounds):
        place = Place(work / f"twice-{number}")
        child = server.start(place.fit(*_LONG), place.cache)
        _wait(child, lambda place=place: (place.run / "config.yaml").exists())
        refusals += _refused(server, place, place.fit(*_LONG))
        refusals += _refused(server, place, place.resume())
        _wait(child, lambda place=place: list(place.run.glob("checkpoints/*.pt")))
        refusals += _refused(server, place, place.resume())
        refusals += _refused(server, place, place.fit(*_LONG))
        ended = server.run(place.export(), place.cache)
        exports += [f"export during fit: {ended.output[-300:]}"] if ended.code else []
        exported += sum(read_bundle(folder) is not None for folder in find_bundles(place.zoo).folders)
        if child.has_ended:
            refusals.append(f"the first process ended: {child.output[-300:]}")
        child.kill()
        child.wait()
        again = server.start(place.resume(), place.cache)
        _wait(again, lambda again=again: "images/s" in again.output)
        refusals += [f"after the kill: {again.output[-300:]}"] if again.has_ended else []
        again.kill()
        again.wait()
        shutil.rmtree(place.root)
    return [
        Outcome(
            fault="a second `fit` or `resume` on a folder in which a process trains",
            tried=f"{4 * rounds} starts, and {rounds} after a SIGKILL of the first",
            promised="refused with a sentence, and the first goes on; free after a kill",
            happened="; ".join(refusals[:4]) or "as promised",
            kept=not refusals,
        ),
        Outcome(
            fault="`export` while `fit` replaces its checkpoints",
            tried=f"{rounds} times",
            promised="a whole bundle",
            happened="; ".join(exports[:4]) or "as promised",
            kept=not exports and exported == rounds,
        ),
    ]


def _refused(server: Preloaded, place: Place, command: list[str]) -> list[str]:
    ended = server.run(command, place.cache)
    sentences = ("another process is training in", "is there already; choose another --out")
    if ended.code == 1 and any(text in ended.last_line for text in sentences) and "Traceback" not in ended.output:
        return []
    return [f"a second {command[0]} ended with {ended.code}: {ended.output[-300:]}"]


def _wait(child: Child, happened: object) -> None:
    """Waits until something happens. Raises ``RuntimeError`` if the command ends before."""
    assert callable(happened)
    while not happened():
        if child.has_ended:
            raise RuntimeError(child.output)
        time.sleep(0.002)
