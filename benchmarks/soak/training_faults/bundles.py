"""Kills ``export``, ``pack`` and ``push`` while a reader looks: it must see whole bundles or none."""

import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import Place
from benchmarks.soak.training_faults.preloaded import ROOT, Preloaded, child_environment
from benchmarks.soak.training_faults.tally import Tally, plan
from models.bundle import CARD_FILE, GENERATOR_FILE, BundleError, read_bundle
from models.find import find_bundles
from models.published import INDEX_FILE, MAX_CARD_BYTES, BundleIndex, list_bundles
from models.store import StoreError, StoreNotFoundError, StoreUrl, open_store

_LARGEST = 2**24


def kill_bundle_commands(
    server: Preloaded, work: Path, each: int, real: int, commands: Sequence[str] = ("export", "pack", "push")
) -> list[Outcome]:
    """Kills each command ``each`` times in every phase, and ``real`` times as a process of its own.

    ``work/whole`` is a run that has ended.
    """
    whole = Place(work / "whole")
    if not (whole.zoo / "digits" / "1").exists() and (ended := server.run(whole.export(), whole.cache)).code:
        raise RuntimeError(ended.output)
    bundle = whole.zoo / "digits" / "1"
    makers: dict[str, Callable[[Place], list[str]]] = {
        "export": lambda place: place.export(whole.run),
        "pack": lambda place: place.pack(bundle / GENERATOR_FILE),
        "push": lambda place: place.push(bundle),
    }
    return [_kill(server, work / f"killed-{name}", whole, makers[name], each, real) for name in commands]


def _kill(
    server: Preloaded, work: Path, whole: Place, command_for: Callable[[Place], list[str]], each: int, real: int
) -> Outcome:
    chance, tally = random.Random(each), Tally()
    undisturbed = Place(work / "undisturbed")
    began = time.monotonic()
    ended = server.run(command_for(undisturbed), whole.cache)
    if ended.code:
        raise RuntimeError(ended.output)
    expected = _graphs(undisturbed)
    name = command_for(undisturbed)[0]
    plans = plan(name, ended.segments, each, chance)
    tally.expect(plans)
    place = Place(work / "place")
    with _reader(place, tally):
        while plans:
            planned = plans.popleft()
            ended = server.run(command_for(place), whole.cache, aim=planned.aim)
            if ended.was_killed:
                tally.strike(f"{name}: {ended.phase}", plans, planned)
            elif ended.code:
                tally.problems.append(f"{name} ended with {ended.code}: {ended.last_line}")
            else:
                tally.miss(plans, planned)
            if ended.was_killed and tally.struck.total() % 3:
                continue  # several kills in a row leave several drafts
            _check(server, place, whole, command_for(place), expected, tally)
        seconds = time.monotonic() - began if real else 0
        while tally.struck[f"{name}: python -m training"] < real:
            process = subprocess.Popen(
                [sys.executable, "-m", "training", *command_for(place)],
                cwd=ROOT,
                env=child_environment(whole.cache),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                process.wait(chance.random() * min(seconds, 6))
            except subprocess.TimeoutExpired:
                process.kill()
                tally.struck[f"{name}: python -m training"] += 1
            process.wait()
        _check(server, place, whole, command_for(place), expected, tally)
    shutil.rmtree(work)
    return tally.outcome(
        f"SIGKILL in every phase of `{name}`, while a reader looks without a break",
        "a reader sees whole bundles or none; the next start succeeds, with the same graph, and leaves no draft",
        "bundles",
    )


def _check(server: Preloaded, place: Place, whole: Place, command: list[str], expected: set[str], tally: Tally) -> None:
    """Runs the command to its end, and compares what it has written."""
    ended = server.run(command, whole.cache)
    if ended.code:
        tally.problems.append(f"{command[0]} after a kill: {ended.last_line}")
    if (found := _graphs(place)) != expected:
        tally.problems.append(f"{command[0]} after a kill: graphs {found} instead of {expected}")
    left = [path for folder in (place.zoo, place.store) for path in folder.rglob(".*")]
    tally.problems += [f"{command[0]} leaves {path.relative_to(place.root)}" for path in left]
    tally.compared += 1


def _graphs(place: Place) -> set[str]:
    """Returns the hashes of all graphs, each of which is read and verified."""
    folders = [folder for root in (place.zoo, place.store) if root.exists() for folder in find_bundles(root).folders]
    return {read_bundle(folder).card.sha256 for folder in folders}


@contextmanager
def _reader(place: Place, tally: Tally) -> Iterator[None]:
    """Reads all bundles again and again in a thread, and notes what is not whole."""
    stop, looks = threading.Event(), [0]

    def look() -> None:
        while not stop.wait(0.001):
            looks[0] += 1
            try:
                _look(place)
            except (BundleError, StoreError, ValueError) as error:
                tally.problems.append(f"a reader saw: {error}")

    thread = threading.Thread(target=look, name="reader")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if looks[0] < 100:
        tally.problems.append(f"the reader looked {looks[0]} times only")


def _look(place: Place) -> None:
    """Reads what is there. Raises an error for anything that is not whole."""
    if place.zoo.exists():
        for folder in find_bundles(place.zoo).folders:
            read_bundle(folder)
    if place.store.exists():
        store = open_store(StoreUrl.parse(f"file://{place.store}"))
        for published in list_bundles(store).bundles:
            try:
                store.read(f"{published}/{CARD_FILE}", MAX_CARD_BYTES)
            except StoreNotFoundError:
                continue  # the card comes last: without it there is no bundle yet
            read_bundle(place.store / published.name / str(published.version))
        if (place.store / INDEX_FILE).exists():
            BundleIndex.model_validate_json(store.read(INDEX_FILE, _LARGEST))
