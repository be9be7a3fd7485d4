"""Which bundles come, change and go while the service runs. Pure but for the folder that it looks into."""

from dataclasses import dataclass
from pathlib import Path

from models.bundle import CARD_FILE, GENERATOR_FILE, bundle_folders

# Modification time in nanoseconds and size, of each file that counts; empty where one is missing.
Stamp = tuple[int, ...]


@dataclass(frozen=True)
class Changes:
    """The bundles that are to be opened, as folders, and those that are there no more, as ``NAME/VERSION``."""

    come: list[Path]
    gone: list[str]


class Watch:
    """Looks for changes below a folder of bundles."""

    def __init__(self, root: Path) -> None:
        """What is below ``root`` now is no change. Raises ``BundleError`` if it is no folder."""
        self._root = root
        self._last = self._stamps()
        self._settled = dict(self._last)

    def look(self) -> Changes:
        """What has changed since the look before.

        A bundle that is being copied changes from look to look: it has come once it keeps still. Raises ``BundleError``
        if the folder itself is gone, which is rather a lost mount than a wish to serve nothing.
        """
        found = self._stamps()
        come = [
            folder
            for folder, stamp in found.items()
            if stamp != self._settled.get(folder) and stamp == self._last.get(folder)
        ]
        gone = [folder for folder in self._settled if folder not in found]
        self._last = found
        for folder in gone:
            del self._settled[folder]
        self._settled |= {folder: found[folder] for folder in come}
        return Changes(come, [f"{folder.parent.name}/{folder.name}" for folder in gone])

    def _stamps(self) -> dict[Path, Stamp]:
        return {folder: _stamp(folder) for folder in bundle_folders(self._root)}


def _stamp(folder: Path) -> Stamp:
    try:
        files = [(folder / name).stat() for name in (CARD_FILE, GENERATOR_FILE)]
    except OSError:
        return ()
    return tuple(number for file in files for number in (file.st_mtime_ns, file.st_size))
