"""The user's cache: decoded images, what judges see in them, and judges.

Decoded images and features can be made again, so they are bounded: what was used longest ago is removed first. What a
running process uses is never removed; a lock says so, which the system lets go of when the process ends. Judges stay,
since scores compare only under the very same judge.
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

from training.errors import TrainingError

IMAGES_FILE = "images.npy"
LABELS_FILE = "labels.npy"
META_FILE = "meta.json"
FEATURES_ENDING = "-features.npy"

BOUND_VARIABLE = "TRAINING_CACHE_BYTES"
"""Not FIGMENT_…: the service refuses variables of that name that are no settings of its own."""
DEFAULT_BOUND = 20_000_000_000

_LOCK_FILE = "lock"
_DRAFT = ".draft-"
_ABANDONED_AFTER = 60
"""Seconds after which a draft that no process holds was left behind by a kill."""

_held: dict[Path, int] = {}
"""Path of an entry → the open file that carries this process's lock."""


@dataclass(frozen=True)
class Entry:
    """What is kept or removed as one."""

    kind: Literal["images", "features", "judge"]
    path: Path
    files: tuple[Path, ...]
    about: str
    used: float
    """When it was used last, in seconds since 1970."""

    @property
    def key(self) -> str:
        """The name by which a person chooses it."""
        return self.path.name.removesuffix(FEATURES_ENDING).removesuffix(".pt")

    @property
    def bytes(self) -> int:
        """Its size; files that it shares with other entries count."""
        return size_of([self])

    @property
    def in_use(self) -> bool:
        """Whether a running process, this one included, uses it."""
        file = _try_lock(self.path)
        if file is not None:
            os.close(file)
        return file is None


def cache_folder() -> Path:
    """Where everything lies."""
    return Path(platformdirs.user_cache_dir("figment"))


def datasets_folder() -> Path:
    """Where decoded images lie."""
    return cache_folder() / "datasets"


def judges_folder() -> Path:
    """Where judges lie, and what they see in real images."""
    return cache_folder() / "judges"


def hold(path: Path, name: str | None = None) -> bool:
    """Marks an entry as used now and, until this process ends, as in use; says whether it is there.

    ``name`` is what ``cache list`` calls it.
    """
    if not path.exists():
        return False
    if path not in _held:
        lock = path / _LOCK_FILE if path.is_dir() else path
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            return path.exists()  # what may not be written may not be removed either
        try:
            fcntl.flock(file, fcntl.LOCK_SH)
        except OSError:  # a file system without locks, where nothing is ever removed
            os.close(file)
            return True
        if not os.fstat(file).st_nlink:  # removed while this process waited for the lock
            os.close(file)
            return False
        _held[path] = file
    os.utime(_held[path])
    if name and path.is_dir():
        content = name.encode(errors="replace")
        os.pwrite(_held[path], content, 0)
        os.ftruncate(_held[path], len(content))
    return True


@contextmanager
def new_entry(path: Path) -> Iterator[Path]:
    """Gives a folder to write into, which becomes the entry if the block succeeds, and is removed if it does not.

    An entry with the same images shares their file. Afterwards the bound is kept. Raises ``TrainingError`` if the
    bound cannot be read.
    """
    bound()
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=path.parent))
    hold(draft)
    try:
        yield draft
        _share_images(draft)
        try:
            draft.rename(path)
        except OSError:
            if not path.is_dir():  # else another process was faster, with the same result
                raise
        else:
            if draft in _held:
                _held[path] = _held.pop(draft)
    finally:
        if draft in _held:
            os.close(_held.pop(draft))
        shutil.rmtree(draft, ignore_errors=True)
    keep_bound()


def bound() -> int:
    """Bytes that decoded images and features may take together. Raises ``TrainingError``."""
    text = os.environ.get(BOUND_VARIABLE, "").strip()
    if text and not (text.isascii() and text.isdigit()):
        raise TrainingError(f"{BOUND_VARIABLE} is a number of bytes such as {DEFAULT_BOUND}, not {text!r}")
    return int(text) if text else DEFAULT_BOUND


def keep_bound() -> None:
    """Removes what was used longest ago until the bound is kept, and says so on standard error."""
    _remove_abandoned_drafts()
    most = bound()
    kept = sorted((entry for entry in entries() if entry.kind != "judge"), key=lambda entry: entry.used)
    before = size_of(kept)
    removed = 0
    for entry in list(kept):
        if size_of(kept) <= most:
            break
        if remove(entry):
            kept.remove(entry)
            removed += 1
    if removed:
        print(
            f"removed {removed} of the cache's entries, {human(before - size_of(kept))}, to keep it below "
            f"{human(most)} ({BOUND_VARIABLE})",
            file=sys.stderr,
        )


def remove(entry: Entry) -> bool:
    """Removes an entry that no process uses, and says whether it did."""
    file = _try_lock(entry.path)
    if file is None:
        return False
    try:
        if entry.path.is_dir():
            # Renamed first: nobody finds half an entry.
            grave = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=entry.path.parent))
            entry.path.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
        else:
            for path in entry.files:
                path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def entries() -> list[Entry]:
    """Everything in the cache that can be listed and cleared."""
    return [*_images(), *_features(), *_judges()]


def size_of(several: Iterable[Entry]) -> int:
    """The bytes of several entries together; a file that they share counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for entry in several:
        for path in entry.files:
            with suppress(OSError):  # removed by another process meanwhile
                stat = path.stat()
                sizes[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(sizes.values())


def human(size: int) -> str:
    """A number of bytes as people write it."""
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
            used = (lock if lock.exists() else folder).stat().st_mtime
            yield Entry("images", folder, tuple(folder.iterdir()), _about(folder), used)


def _about(folder: Path) -> str:
    try:
        labels = json.loads((folder / META_FILE).read_text())["label_names"] or ()
        shape = np.load(folder / IMAGES_FILE, mmap_mode="r").shape
        lock = folder / _LOCK_FILE
        name = "".join(each if each.isprintable() else "?" for each in lock.read_text()) if lock.exists() else ""
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
            beside = [each for each in path.parent.glob(f"{path.stem}-*") if not each.name.endswith(FEATURES_ENDING)]
            yield Entry("judge", path, (path, *beside), "a judge, and its bounds", path.stat().st_mtime)


def _share_images(draft: Path) -> None:
    """Puts the images of an entry with the same content in the place of the draft's own."""
    fingerprint = json.loads((draft / META_FILE).read_text())["fingerprint"]
    own = draft / IMAGES_FILE
    for folder in draft.parent.glob("[!.]*"):
        # A file system without hard links keeps a copy.
        with suppress(OSError, ValueError, KeyError):
            other = folder / IMAGES_FILE
            if json.loads((folder / META_FILE).read_text())["fingerprint"] != fingerprint:
                continue
            # The fingerprint says nothing of the shape.
            if np.load(other, mmap_mode="r").shape != np.load(own, mmap_mode="r").shape:
                continue
            link = draft / "link"
            os.link(other, link)
            link.replace(own)
            return


def _remove_abandoned_drafts() -> None:
    drafts = [*datasets_folder().glob(f"{_DRAFT}*"), *datasets_folder().glob("tmp*")]  # tmp: of earlier versions
    for draft in drafts:
        with suppress(OSError):
            if time.time() - draft.stat().st_mtime > _ABANDONED_AFTER and (file := _try_lock(draft)) is not None:
                shutil.rmtree(draft, ignore_errors=True)
                os.close(file)


def _try_lock(path: Path) -> int | None:
    """An open file with the exclusive lock of an entry, or None if a process uses it or it may not be locked."""
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
