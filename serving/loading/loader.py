"""The loaded bundles: opens those that are added to the folder, then unloads those that are gone from it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.inference.engine import Engine
from serving.loading.policy import BundleWatcher, Poll, bundle_name, removable
from serving.loading.registry import RejectedBundle

logger = logging.getLogger("figment.catalogue")

# Opens a bundle's folder; gets the engine that is loaded under its name, and may return it.
Open = Callable[[Path, Engine | None], Engine | RejectedBundle]


@dataclass(frozen=True)
class LoadResult:
    """What is loaded and what is not.

    ``failure`` is the reason if the service is not ready: nothing is loaded, or nothing is on disk any more.
    ``retained`` are the bundles, as ``NAME/VERSION``, that are served though they are gone from disk. ``ignored`` are
    folders below the folder of bundles that are in no place for a bundle, each with the reason.
    """

    engines: tuple[Engine, ...] = ()
    refused: tuple[RejectedBundle, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    retained: tuple[str, ...] = ()
    failure: str | None = None


class BundleLoader:
    """Keeps what is loaded in step with a folder of bundles. Its methods block; one thread at a time may call them."""

    def __init__(self, root: Path, open_bundle: Open) -> None:
        self._root = root
        self._open = open_bundle
        self._watcher = BundleWatcher(root)
        self._engines: dict[str, Engine] = {}
        self._refused: dict[str, RejectedBundle] = {}
        self._told: Mapping[str, str] = {}

    def poll(self) -> LoadResult:
        """Looks into the folder once, and loads and unloads what that calls for.

        Everything that was added is opened before anything is unloaded, and the caller gets both as one change. The
        first call opens all bundles.

        Raises ``OSError`` if the folder cannot be listed; all stays as it is then.
        """
        poll = self._watcher.poll()
        self._log_passed_over(poll)
        refused = {name: bundle for name, bundle in self._refused.items() if name in poll.present}
        engines = dict(self._engines)
        for folder in poll.added:
            name = bundle_name(folder)
            opened = self._open(folder, engines.get(name))
            if not isinstance(opened, RejectedBundle):
                engines[name] = opened
                refused.pop(name, None)
                continue
            if self._refused.get(name) != opened:
                logger.error("Refused %s: %s", name, opened.reason)
            refused[name] = opened
            if opened.passes:
                self._watcher.forget(folder)
        absent = engines.keys() - poll.present
        # While something is still being copied, it may be what replaces the absent ones.
        leaving = removable(engines, absent, refused) if not poll.copying else frozenset()
        self._engines = {name: engine for name, engine in engines.items() if name not in leaving}
        self._refused = refused
        unreadable = [RejectedBundle(name, reason) for name, reason in poll.unreadable.items()]
        return LoadResult(
            tuple(self._engines.values()),
            (*refused.values(), *unreadable),
            tuple(poll.ignored.items()),
            tuple(sorted(absent - leaving)),
            self._failure(poll),
        )

    def _failure(self, poll: Poll) -> str | None:
        if self._engines:
            if poll.present:
                return None
            return f"{poll.missing or f'{self._root} holds no bundles any more'}; what was loaded is still served"
        if poll.missing:
            return poll.missing
        blamed = [bundle.reason for bundle in self._refused.values() if bundle.blames_device]
        return blamed[0] if blamed else f"there is no usable bundle in {self._root}"

    def _log_passed_over(self, poll: Poll) -> None:
        """Logs what is left out and why, each once for as long as it stays so."""
        told = {**poll.ignored, **poll.unreadable}
        for name, reason in told.items():
            if self._told.get(name) == reason:
                continue
            if name in poll.ignored:
                logger.warning("Ignored %s: it %s", self._root / name, reason)
            else:
                logger.error("Refused %s", reason)
        self._told = told
