"""Keeps the loaded engines in step with the source of bundles: opens added bundles, then unloads removed ones."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.inference.engine import Engine
from serving.loading.opening import RejectedBundle
from serving.loading.source import BundleSource
from serving.loading.watcher import BundleWatcher, Poll, bundle_name, removable
from serving.process.worker import map_in_daemon_threads

logger = logging.getLogger("figment.catalogue")

# Opens a bundle's folder. Gets the engine that is loaded under the bundle's name, and may return it.
OpenBundle = Callable[[Path, Engine | None], Engine | RejectedBundle]


@dataclass(frozen=True)
class LoadResult:
    """The loaded engines, and the bundles that are not loaded.

    ``failure`` is the reason if the service is not ready: nothing is loaded, or nothing is on disk any more.
    ``retained`` are the bundles, as ``NAME/VERSION``, that are served though they are gone from disk. ``ignored`` are
    folders in places where no bundle can be, each with the reason.
    """

    engines: tuple[Engine, ...] = ()
    rejected: tuple[RejectedBundle, ...] = ()
    ignored: tuple[tuple[str, str], ...] = ()
    retained: tuple[str, ...] = ()
    failure: str | None = None


class BundleLoader:
    """Loads and unloads the bundles of a source. Its methods block; one thread at a time may call them."""

    def __init__(self, source: BundleSource, open_bundle: OpenBundle, threads: int = 1) -> None:
        """Opens this number of bundles at once: ``open_bundle`` is then called by several threads."""
        self._threads = threads
        self.source = source
        self._open = open_bundle
        self._watcher = BundleWatcher(source)
        self._engines: dict[str, Engine] = {}
        self._rejected: dict[str, RejectedBundle] = {}
        self._logged: Mapping[str, str] = {}

    def poll(self) -> LoadResult:
        """Polls the source once, and loads and unloads accordingly.

        All added bundles are opened before any bundle is unloaded; the result holds both as one change. The first call
        opens all bundles.

        Raises ``OSError`` if the source cannot be listed; the loaded engines then stay as they are.
        """
        poll = self._watcher.poll()
        self._log_skipped(poll)
        rejected = {name: bundle for name, bundle in self._rejected.items() if name in poll.present}
        engines = dict(self._engines)
        results = map_in_daemon_threads(
            lambda folder: self._open(folder, self._engines.get(bundle_name(folder))),
            poll.added,
            self._threads,
            "open-bundle",
        )
        for folder, opened in zip(poll.added, results, strict=True):
            name = bundle_name(folder)
            if not isinstance(opened, RejectedBundle):
                engines[name] = opened
                rejected.pop(name, None)
                continue
            if self._rejected.get(name) != opened:
                logger.error("Rejected %s: %s", name, opened.reason)
            rejected[name] = opened
            if opened.is_temporary:
                self._watcher.forget(folder)
        absent = engines.keys() - poll.present
        # A bundle that is still being copied may be the replacement of an absent one.
        leaving = (
            removable(engines, absent, rejected.keys() | poll.unreadable.keys()) if not poll.copying else frozenset()
        )
        self._engines = {name: engine for name, engine in engines.items() if name not in leaving}
        self._rejected = rejected
        unreadable = [RejectedBundle(name, reason) for name, reason in poll.unreadable.items()]
        return LoadResult(
            tuple(self._engines.values()),
            (*rejected.values(), *unreadable),
            tuple(poll.ignored.items()),
            tuple(sorted(absent - leaving)),
            self._failure(poll),
        )

    def _failure(self, poll: Poll) -> str | None:
        if self._engines:
            if poll.present:
                return None
            return f"{poll.missing or f'{self.source} holds no bundles any more'}; what was loaded is still served"
        if poll.missing:
            return poll.missing
        device_failures = [bundle.reason for bundle in self._rejected.values() if bundle.device_failed]
        return device_failures[0] if device_failures else f"there is no usable bundle in {self.source}"

    def _log_skipped(self, poll: Poll) -> None:
        """Logs each skipped folder with its reason, once until the reason changes."""
        skipped = {**poll.ignored, **poll.unreadable}
        for name, reason in skipped.items():
            if self._logged.get(name) == reason:
                continue
            if name in poll.ignored:
                logger.warning("Ignored %s: it %s", f"{self.source}/{name}", reason)
            else:
                logger.error("Rejected %s", reason)
        self._logged = skipped
