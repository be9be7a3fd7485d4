"""Detects changes among the bundles of a source, and decides which bundles may be unloaded. Only ``poll`` does I/O."""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.bundle import CARD_FILE, GENERATOR_FILE, BundleError
from models.find import FoundBundles
from serving.loading.source import BundleSource

# Per relevant file: modification and change time in nanoseconds, size, inode. A swapped file may have the same time and
# size, and a file may become readable without any other change. One negative number: a file is missing or unreadable.
Fingerprint = tuple[int, ...]


@dataclass(frozen=True)
class Poll:
    """The result of one poll of the source of bundles.

    ``added`` are the folders to open. ``present`` are the bundles, as ``NAME/VERSION``, that this poll or the one
    before found, unreadable ones included: a gap between two steps of a swap is no removal. ``copying`` says that some
    bundles still change. ``missing`` is the reason if the folder itself is gone.
    """

    added: list[Path]
    present: frozenset[str]
    copying: bool
    missing: str | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)


class BundleWatcher:
    """Polls a source of bundles for changes."""

    def __init__(self, source: BundleSource) -> None:
        self._source = source
        self._last: dict[Path, Fingerprint] | None = None
        self._handled: dict[Path, Fingerprint] = {}

    def poll(self) -> Poll:
        """Lists what has changed since the last call. The first call reports everything as added.

        A bundle that is being copied changes from call to call: it is added once two calls find the same, unless the
        source says that its folders are settled.

        Raises ``OSError`` if the source cannot be listed; the next call then sees the same changes.
        """
        found, missing = FoundBundles([], {}, {}), None
        try:
            found = self._source.find()
        except BundleError as error:
            missing = str(error)
        current = {folder: _fingerprint(folder) for folder in found.folders}
        # A model's folder that cannot be read now is no reason to unload its bundles.
        current |= {folder: known for folder, known in self._handled.items() if folder.parent.name in found.unreadable}
        last = current if self._last is None else self._last
        added, copying = settled_changes(current, current if found.settled else last, self._handled)
        present = current.keys() | last.keys()
        self._last = current
        self._handled = {folder: known for folder, known in self._handled.items() if folder in present}
        self._handled |= {folder: current[folder] for folder in added}
        names = frozenset(map(bundle_name, present)) | {name for name in found.unreadable if "/" in name}
        return Poll(added, names, copying, missing, found.unreadable, found.ignored)

    def forget(self, folder: Path) -> None:
        """Makes the next ``poll`` add this bundle again."""
        self._handled.pop(folder, None)


def settled_changes(
    current: Mapping[Path, Fingerprint], last: Mapping[Path, Fingerprint], handled: Mapping[Path, Fingerprint]
) -> tuple[list[Path], bool]:
    """Returns the changed bundles that are the same as in the last poll, and whether others still change."""
    changed = [folder for folder, found in current.items() if found != handled.get(folder)]
    added = [folder for folder in changed if current[folder] == last.get(folder)]
    return added, len(added) < len(changed)


def removable(served: Iterable[str], absent: Iterable[str], rejected: Iterable[str]) -> frozenset[str]:
    """Returns those of the ``absent`` bundles (loaded, but no longer on disk) that may be unloaded.

    ``served`` are all loaded bundles, the absent ones included. ``rejected`` are those on disk that cannot be served.
    All are ``NAME/VERSION``. The last bundle is never unloaded. The last bundle of a model stays while another version
    of the model is on disk and rejected: a broken replacement changes nothing.
    """
    gone = frozenset(absent)
    staying = {_model(name) for name in served if name not in gone}
    if not staying:
        return frozenset()
    broken = {_model(name) for name in rejected}
    return frozenset(name for name in gone if _model(name) in staying or _model(name) not in broken)


def bundle_name(folder: Path) -> str:
    """Returns ``NAME/VERSION`` of a bundle's folder."""
    return f"{folder.parent.name}/{folder.name}"


def _model(name: str) -> str:
    return name.partition("/")[0]


def _fingerprint(folder: Path) -> Fingerprint:
    try:
        files = [(folder / name).stat() for name in (CARD_FILE, GENERATOR_FILE)]
    except OSError as error:
        return (-(error.errno or errno.EIO),)
    return tuple(number for file in files for number in (file.st_mtime_ns, file.st_ctime_ns, file.st_size, file.st_ino))
