"""Keeps fetched bundles on this machine: one folder each, under the hash of its card, whole or not at all."""

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from models.bundle import CARD_FILE, GENERATOR_FILE, BundleError, read_bundle
from models.store import StoreError

# Services that share a cache mark what they use at each poll; without reloading, only at their start.
_UNUSED_SECONDS = 24 * 3600


class CacheError(OSError):
    """The cache cannot be written, for example because the disk is full. The message is one sentence."""


class BundleCache:
    """A folder ``HASH/NAME/VERSION/``. HASH is the SHA-256 of ``card.json``, which names the hash of the graph.

    Several processes may share it. One at a time fetches, so workers of one service fetch each bundle once.
    """

    def __init__(self, folder: Path) -> None:
        # In a folder that all users share, such as /tmp, each user has a cache that nobody else can write.
        self._root = folder / f"figment-{os.getuid()}"
        self._verified: set[str] = set()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Waits until no other process fetches. Raises ``CacheError`` if the cache is not this user's."""
        with self._errors():
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self._root.lstat()
            if status.st_uid != os.getuid() or status.st_mode & 0o022:
                raise CacheError(f"{self._root} belongs to somebody else or can be written by others")
            lock = (self._root / ".lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self, key: str, name: str) -> Path | None:
        """Returns the folder of the bundle ``NAME/VERSION`` with this hash of its card, or None.

        Files are verified once in the life of a process. A damaged bundle is removed.
        """
        folder = self._root / key / name
        if not folder.is_dir():
            return None
        if key not in self._verified:
            try:
                card = (folder / CARD_FILE).read_bytes()
                if hashlib.sha256(card).hexdigest() != key:
                    raise BundleError(f"{name}: {CARD_FILE} has been changed")
                read_bundle(folder)
            except (BundleError, OSError):
                shutil.rmtree(self._root / key, ignore_errors=True)
                return None
            self._verified.add(key)
        return folder

    def add(self, name: str, card: bytes, graph: Iterable[bytes]) -> Path:
        """Writes and verifies the bundle ``NAME/VERSION``, and returns its folder. ``locked`` must be held.

        Raises ``BundleError`` if the graph is not the card's, ``CacheError`` if it cannot be written, and whatever
        ``graph`` raises. Then nothing stays behind.
        """
        key = hashlib.sha256(card).hexdigest()
        draft = self._root / ".draft"  # only the holder of the lock has one: a process that was killed left it
        target = self._root / key
        with self._errors():
            shutil.rmtree(draft, ignore_errors=True)
            try:
                folder = draft / name
                folder.mkdir(parents=True)
                with (folder / GENERATOR_FILE).open("wb") as file:
                    file.writelines(graph)
                    file.flush()
                    os.fsync(file.fileno())  # before the rename, so a power cut leaves no half bundle
                (folder / CARD_FILE).write_bytes(card)
                read_bundle(folder)
                shutil.rmtree(target, ignore_errors=True)
                draft.rename(target)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        self._verified.add(key)
        return target / name

    def keep(self, keys: Iterable[str]) -> None:
        """Marks these bundles as used, and removes those that nobody has used for a day."""
        with self._errors():
            for key in keys:
                os.utime(self._root / key)
            for folder in self._root.iterdir():
                if not folder.name.startswith(".") and folder.stat().st_mtime < time.time() - _UNUSED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (StoreError, CacheError):
            raise
        except OSError as error:
            failure = CacheError(
                f"cannot write to the cache {self._root}: {error.strerror or error}; "
                "FIGMENT_MODELS_CACHE names another folder"
            )
            failure.errno = error.errno  # failures of another kind are logged anew
            raise failure from error
