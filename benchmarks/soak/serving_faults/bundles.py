"""Bundles that are deleted, changed in place, copied slowly, or swapped by a link, while they are served."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.graphs import SEEDS, reference, write_zoo
from benchmarks.soak.serving_faults.service import Service
from benchmarks.soak.serving_faults.traffic import References, Traffic
from models.bundle import GENERATOR_FILE

MODEL = "moving"

_RELOADED_SECONDS = 20


class Zoo:
    """The folder that ``FIGMENT_MODELS`` names: a link to the newest of several releases."""

    def __init__(self, work: Path, base: Path) -> None:
        """``base`` is the folder of bundles that every release holds; the first release adds ``moving/1``."""
        self.link = work / "current"
        self._work = work
        self._base = base
        self.version = 1
        self.references: References = {}
        self._release = self._write(1)
        self.link.symlink_to(self._release.name)

    def write_next(self, folder: Path) -> Path:
        """Writes the next version of the model below a folder, and returns its own folder."""
        self.version += 1
        write_zoo(folder, MODEL, version=self.version)
        bundle = folder / MODEL / str(self.version)
        self.references[f"{MODEL}/{self.version}"] = reference(bundle, SEEDS)
        return bundle

    def swap(self) -> None:
        """Writes a release with the next version alone, and points the link at it in one step."""
        release = self._write(self.version + 1)
        self.version += 1
        following = self._work / "following"
        following.symlink_to(release.name)
        following.replace(self.link)
        shutil.rmtree(self._release)
        self._release = release

    def _write(self, version: int) -> Path:
        release = self._work / f"release-{version}"
        shutil.copytree(self._base, release)
        write_zoo(release, MODEL, version=version)
        self.references[f"{MODEL}/{version}"] = reference(release / MODEL / str(version), SEEDS)
        return release


def bundles_that_change(service: Service, zoo: Zoo, times: int) -> list[Outcome]:
    """Changes the bundles of ``zoo``, which the service polls, each way ``times``, while its model is used."""
    ways: list[tuple[str, str, Callable[[Service, Zoo], bool]]] = [
        ("a bundle is copied in two halves", "the old version is served until the copy is whole", _copy_slowly),
        ("a bundle is deleted", "the version before it is served", _delete),
        ("a bundle's graph is changed in place", "it is refused, and what was loaded is served", _change),
        ("the folder of bundles is swapped by a link", "the new version takes over, no request fails", _swap),
    ]
    return [_outcome(service, zoo, fault, promised, change, times) for fault, promised, change in ways]


def _outcome(
    service: Service, zoo: Zoo, fault: str, promised: str, change: Callable[[Service, Zoo], bool], times: int
) -> Outcome:
    known = range(1, zoo.version + times + 1)
    with Traffic(service.port, zoo.references, clients=2, versions=known) as traffic:
        traffic.wait_for(5)
        struck = 0
        for _ in range(times):
            struck += change(service, zoo)
            traffic.wait_for(5)
    return Outcome(
        fault,
        f"{times} times",
        promised,
        f"{struck} as promised; {traffic.account}",
        struck == times and traffic.account.all_ended(),
    )


def _on_disk(zoo: Zoo) -> set[int]:
    return {int(folder.name) for folder in (zoo.link / MODEL).iterdir()}


def _serves(service: Service, *versions: int) -> bool:
    models = service.readiness().get("models", [])
    return {model["version"] for model in models if model["model"] == MODEL} == {*versions}


def _polls(service: Service, number: int) -> None:
    """Waits until the service has polled the folder this often."""

    def last_poll() -> float:
        return service.metric("figment_reload_last_success_timestamp_seconds")

    last, polls = last_poll(), 0

    def enough() -> bool:
        nonlocal last, polls
        now = last_poll()
        polls += now != last
        last = now
        return polls >= number

    service.wait_for(enough, 10 * number)


def _copy_slowly(service: Service, zoo: Zoo) -> bool:
    before = _on_disk(zoo)
    source = zoo.write_next(zoo.link.parent / "copied")
    content = (source / GENERATOR_FILE).read_bytes()
    target = zoo.link / MODEL / source.name
    target.mkdir()
    for file in source.iterdir():
        if file.name != GENERATOR_FILE:
            shutil.copy(file, target)
    with (target / GENERATOR_FILE).open("wb", buffering=0) as graph:
        graph.write(content[: len(content) // 2])
        _polls(service, 3)
        waited = _serves(service, *before)
        graph.write(content[len(content) // 2 :])
    taken = service.wait_for(lambda: _serves(service, *before, zoo.version), _RELOADED_SECONDS)
    return waited and taken


def _delete(service: Service, zoo: Zoo) -> bool:
    """Adds a version, and deletes it again."""
    before = _on_disk(zoo)
    added = zoo.write_next(zoo.link.parent / "added")
    shutil.copytree(added, zoo.link / MODEL / f".{added.name}")
    (zoo.link / MODEL / f".{added.name}").rename(zoo.link / MODEL / added.name)
    taken = service.wait_for(lambda: _serves(service, *before, zoo.version), _RELOADED_SECONDS)
    shutil.rmtree(zoo.link / MODEL / added.name)
    return taken and service.wait_for(lambda: _serves(service, *before), _RELOADED_SECONDS)


def _change(service: Service, zoo: Zoo) -> bool:
    """Changes one byte of each loaded version's graph, and changes it back."""
    versions = _on_disk(zoo)
    for version in versions:
        _flip_byte(zoo.link / MODEL / str(version) / GENERATOR_FILE)
    names = {f"{MODEL}/{version}" for version in versions}

    def refused() -> set[str]:
        return {bundle["bundle"] for bundle in service.readiness().get("refused", [])}

    reported = service.wait_for(lambda: names <= refused(), _RELOADED_SECONDS)
    still = _serves(service, *versions)
    for version in versions:
        _flip_byte(zoo.link / MODEL / str(version) / GENERATOR_FILE)
    return reported and still and service.wait_for(lambda: not names & refused(), _RELOADED_SECONDS)


def _flip_byte(file: Path) -> None:
    with file.open("r+b") as graph:
        graph.seek(-100, os.SEEK_END)
        byte = graph.read(1)
        graph.seek(-1, os.SEEK_CUR)
        graph.write(bytes([byte[0] ^ 1]))


def _swap(service: Service, zoo: Zoo) -> bool:
    zoo.swap()
    return service.wait_for(lambda: _serves(service, zoo.version), _RELOADED_SECONDS)
