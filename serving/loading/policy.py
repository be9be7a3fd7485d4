"""Which bundles are opened and which are retired while the service runs. Pure but for the folder that it reads."""

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.bundle import CARD_FILE, GENERATOR_FILE, BundleError, FoundBundles, find_bundles

# Of each file that counts: modification and change time in nanoseconds, size, inode. A file can be swapped for one of
# the same time and size, and become readable without any other change. One negative number where a file is missing
# or hidden.
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Poll:
    """What one look into the folder of bundles has found.

    ``added`` are the folders to open; ``present`` are the bundles, as ``NAME/VERSION``, that this look or the one
    before has found, so that a gap between two steps of a swap is no removal; ``copying`` says that some still change;
    ``missing`` is the reason if the folder itself is gone.
    """

    added: list[Path]
    present: frozenset[str]
    copying: bool
    missing: str | None = None
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)


class BundleWatcher:
    """Polls a folder of bundles for changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: dict[Path, Stamp] | None = None
        self._handled: dict[Path, Stamp] = {}

    def poll(self) -> Poll:
        """Lists what has changed since the last call. In the first call, everything has.

        A bundle that is being copied changes from call to call: it is added once two calls find the same.

        Raises ``OSError`` if the folder cannot be listed; the next call then sees the same changes.
        """
        found, missing = FoundBundles([], {}, {}), None
        try:
            found = find_bundles(self._root)
        except BundleError as error:
            missing = str(error)
        stamps = {folder: _stamp(folder) for folder in found.folders}
        # A model's folder that cannot be read now is no reason to unload what was read from it.
        stamps |= {folder: stamp for folder, stamp in self._handled.items() if folder.parent.name in found.unreadable}
        last = stamps if self._last is None else self._last
        added, copying = settled(stamps, last, self._handled)
        present = stamps.keys() | last.keys()
        self._last = stamps
        self._handled = {folder: stamp for folder, stamp in self._handled.items() if folder in present}
        self._handled |= {folder: stamps[folder] for folder in added}
        names = frozenset(map(bundle_name, present))
        return Poll(added, names, copying, missing, found.unreadable, found.ignored)

    def forget(self, folder: Path) -> None:
        """Has the next ``poll`` add this bundle again."""
        self._handled.pop(folder, None)


def settled(
    found: Mapping[Path, Stamp], last: Mapping[Path, Stamp], handled: Mapping[Path, Stamp]
) -> tuple[list[Path], bool]:
    """Returns the bundles that have changed and kept still since the last look, and whether others still change."""
    changed = [folder for folder, stamp in found.items() if stamp != handled.get(folder)]
    added = [folder for folder in changed if found[folder] == last.get(folder)]
    return added, len(added) < len(changed)


def removable(served: Iterable[str], absent: Iterable[str], refused: Iterable[str]) -> frozenset[str]:
    """Returns those of the ``absent`` bundles (loaded, but no longer on disk) that may be unloaded.

    ``served`` are all that can be served, the absent ones with them; ``refused`` are those on disk that cannot. All are
    ``NAME/VERSION``. The last bundle is never unloaded, nor is the last one of a model as long as another version of it
    is on disk and refused: a broken replacement changes nothing.
    """
    gone = frozenset(absent)
    staying = {_model(name) for name in served if name not in gone}
    if not staying:
        return frozenset()
    broken = {_model(name) for name in refused}
    return frozenset(name for name in gone if _model(name) in staying or _model(name) not in broken)


def bundle_name(folder: Path) -> str:
    """``NAME/VERSION`` of a bundle's folder."""
    return f"{folder.parent.name}/{folder.name}"


def _model(name: str) -> str:
    return name.partition("/")[0]


def _stamp(folder: Path) -> Stamp:
    try:
        files = [(folder / name).stat() for name in (CARD_FILE, GENERATOR_FILE)]
    except OSError as error:
        return (-(error.errno or errno.EIO),)
    return tuple(number for file in files for number in (file.st_mtime_ns, file.st_ctime_ns, file.st_size, file.st_ino))
