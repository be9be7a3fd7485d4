"""The user's cache: decoded images, the features that judges compute from them, and judges.

Decoded images and features can be computed again, so their total size is limited: the least recently used are evicted
first. An entry in use is never removed: its process holds a lock, which the system releases when the process ends.
Judges stay, since scores compare only under the same judge.
"""

import fcntl
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import platformdirs

from models.drafts import remove_abandoned
from training.errors import TrainingError

IMAGES_FILE = "images.npy"
LABELS_FILE = "labels.npy"
META_FILE = "meta.json"
FEATURES_ENDING = "-features.npy"

MAX_BYTES_VARIABLE = "TRAINING_CACHE_BYTES"
"""Without the prefix FIGMENT_, since the service rejects variables of that prefix that are not its settings."""
DEFAULT_MAX_BYTES = 20_000_000_000

_LOCK_FILE = "lock"
_DRAFT = ".draft-"
_DRAFT_MAX_AGE = 60
"""Age in seconds from which a draft without a lock counts as left behind by a kill."""

_locks: dict[Path, int] = {}
"""Entry's path → the open file that holds this process's lock."""


@dataclass(frozen=True)
class Entry:
    """Files of the cache that are kept or removed together."""

    kind: Literal["images", "features", "judge"]
    path: Path
    files: tuple[Path, ...]
    description: str
    last_used: float
    """In seconds since 1970."""

    @property
    def key(self) -> str:
        """The name that ``cache list`` shows and ``cache clear`` takes."""
        return self.path.name.removesuffix(FEATURES_ENDING).removesuffix(".pt")

    @property
    def bytes(self) -> int:
        """Its size, including files that it shares with other entries."""
        return total_bytes([self])

    @property
    def in_use(self) -> bool:
        """Whether a running process uses it; this process counts too."""
        file = _try_lock(self.path)
        if file is not None:
            os.close(file)
        return file is None


def cache_folder() -> Path:
    """Returns the folder of the whole cache."""
    return Path(platformdirs.user_cache_dir("figment"))


def datasets_folder() -> Path:
    """Returns the folder of decoded images."""
    return cache_folder() / "datasets"


def judges_folder() -> Path:
    """Returns the folder of judges and of their features of real images."""
    return cache_folder() / "judges"


def mark_in_use(path: Path, name: str | None = None) -> bool:
    """Updates an entry's last use, and locks it until this process ends. Returns whether the entry exists.

    ``name`` is how ``cache list`` describes it.
    """
    if not path.exists():
        return False
    if path not in _locks:
        lock = path / _LOCK_FILE if path.is_dir() else path
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return path.exists()  # needs no lock: an entry that is read-only here cannot be removed either
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:  # a file system without locks, where `remove` cannot lock and so removes nothing
            os.close(file)
            return True
        if not os.fstat(file).st_nlink:  # removed while this process waited for the lock
            os.close(file)
            return False
        _locks[path] = file
    os.utime(_locks[path])
    if name and path.is_dir():
        content = name.encode(errors="replace")
        os.pwrite(_locks[path], content, 0)
        os.ftruncate(_locks[path], len(content))
    return True


@contextmanager
def new_entry(path: Path) -> Iterator[Path]:
    """Yields a draft folder that becomes the entry if the block succeeds, and is removed if it raises.

    Shares the file of equal images with another entry, and evicts old entries afterwards. Raises ``TrainingError`` if
    the limit in the environment is no number.
    """
    max_bytes()  # raises before the slow work, not after it
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=path.parent))
    mark_in_use(draft)
    try:
        yield draft
        _share_images(draft)
        try:
            draft.rename(path)
        except OSError:
            if not path.is_dir():  # otherwise another process has written the same entry first
                raise
        else:
            if draft in _locks:
                _locks[path] = _locks.pop(draft)
    finally:
        if draft in _locks:
            os.close(_locks.pop(draft))
        shutil.rmtree(draft, ignore_errors=True)
    evict()


def max_bytes() -> int:
    """Returns the limit on decoded images and features together, in bytes. Raises ``TrainingError``."""
    text = os.environ.get(MAX_BYTES_VARIABLE, "").strip()
    if text and not (text.isascii() and text.isdigit()):
        raise TrainingError(f"{MAX_BYTES_VARIABLE} is a number of bytes such as {DEFAULT_MAX_BYTES}, not {text!r}")
    return int(text) if text else DEFAULT_MAX_BYTES


def evict() -> None:
    """Removes the least recently used entries until the rest keep the limit. Reports that on standard error."""
    _remove_abandoned_drafts()
    limit = max_bytes()
    kept = sorted((entry for entry in entries() if entry.kind != "judge"), key=lambda entry: entry.last_used)
    before = total_bytes(kept)
    removed = 0
    for entry in list(kept):
        if total_bytes(kept) <= limit:
            break
        if remove(entry):
            kept.remove(entry)
            removed += 1
    if removed:
        print(
            f"removed {removed} of the cache's entries, {format_bytes(before - total_bytes(kept))}, to keep it below "
            f"{format_bytes(limit)} ({MAX_BYTES_VARIABLE})",
            file=sys.stderr,
        )


def remove(entry: Entry) -> bool:
    """Removes an entry unless a process uses it. Returns whether it was removed."""
    file = _try_lock(entry.path)
    if file is None:
        return False
    try:
        if entry.path.is_dir():
            # Renames first, so no process finds half an entry.
            discarded = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=entry.path.parent))
            entry.path.rename(discarded)
            shutil.rmtree(discarded, ignore_errors=True)
        else:
            for path in entry.files:
                path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def entries() -> list[Entry]:
    """Returns every entry of the cache."""
    return [*_images(), *_features(), *_judges()]


def total_bytes(listed: Iterable[Entry]) -> int:
    """Returns the size of entries together, in bytes; a file that they share counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for entry in listed:
        for path in entry.files:
            with suppress(OSError):  # removed by another process meanwhile
                stat = path.stat()
                sizes[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(sizes.values())


def format_bytes(size: int) -> str:
    """Returns a number of bytes with a decimal unit, such as ``100.2 kB``."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def _images() -> Iterator[Entry]:
    for folder in sorted(datasets_folder().glob("[!.]*")):
        with suppress(OSError):  # removed by another process meanwhile
            lock = folder / _LOCK_FILE
            last_used = (lock if lock.exists() else folder).stat().st_mtime
            yield Entry("images", folder, tuple(folder.iterdir()), _describe(folder), last_used)


def _describe(folder: Path) -> str:
    try:
        labels = json.loads((folder / META_FILE).read_text())["label_names"] or ()
        shape = np.load(folder / IMAGES_FILE, mmap_mode="r").shape
        lock = folder / _LOCK_FILE
        name = "".join(letter if letter.isprintable() else "?" for letter in lock.read_text()) if lock.exists() else ""
    except (OSError, ValueError, KeyError, EOFError):
        return "damaged"
    return f"{name + ': ' if name else ''}{' × '.join(map(str, shape))}, {len(labels)} labels"


def _features() -> Iterator[Entry]:
    for path in sorted(judges_folder().glob(f"*{FEATURES_ENDING}")):
        with suppress(OSError):
            yield Entry("features", path, (path,), "what a judge sees in real images", path.stat().st_mtime)


def _judges() -> Iterator[Entry]:
    for path in sorted(judges_folder().glob("*.pt")):
        with suppress(OSError):
            records = [file for file in path.parent.glob(f"{path.stem}-*") if not file.name.endswith(FEATURES_ENDING)]
            yield Entry("judge", path, (path, *records), "a judge, and its bounds", path.stat().st_mtime)


def _share_images(draft: Path) -> None:
    """Replaces the draft's images by a hard link to those of an entry with the same content."""
    fingerprint = json.loads((draft / META_FILE).read_text())["fingerprint"]
    own = draft / IMAGES_FILE
    for folder in draft.parent.glob("[!.]*"):
        # On a file system without hard links, each entry keeps its own copy.
        with suppress(OSError, ValueError, KeyError):
            other = folder / IMAGES_FILE
            if json.loads((folder / META_FILE).read_text())["fingerprint"] != fingerprint:
                continue
            # The fingerprint covers the bytes and not the shape.
            if np.load(other, mmap_mode="r").shape != np.load(own, mmap_mode="r").shape:
                continue
            link = draft / "link"
            os.link(other, link)
            link.replace(own)
            return


def _remove_abandoned_drafts() -> None:
    remove_abandoned(judges_folder())
    drafts = [*datasets_folder().glob(f"{_DRAFT}*"), *datasets_folder().glob("tmp*")]  # tmp: of earlier versions
    for draft in drafts:
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > _DRAFT_MAX_AGE and (file := _try_lock(draft)) is not None:
                shutil.rmtree(draft, ignore_errors=True)
                os.close(file)


def _try_lock(path: Path) -> int | None:
    """Returns an open file that locks an entry exclusively, or None if a process uses it or locking fails."""
    try:
        lock = path / _LOCK_FILE if path.is_dir() else path
        file = os.open(lock, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if path.is_dir() else 0), 0o644)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file
