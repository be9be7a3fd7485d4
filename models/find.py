"""Lists the bundles of a folder, without reading them."""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from models.bundle import CARD_FILE, BundleError


@dataclass(frozen=True)
class FoundBundles:
    """The bundles of a source.

    ``folders`` are all ``NAME/VERSION``, sorted by name and version. ``unreadable`` are models, or single bundles as
    ``NAME/VERSION``, that cannot be read. ``ignored`` are entries that look like bundles but lie in a wrong place. Both
    have the reason as value. ``settled`` says that no folder is still being written.
    """

    folders: list[Path]
    unreadable: dict[str, str]
    ignored: dict[str, str]
    settled: bool = False


def find_bundles(root: Path) -> FoundBundles:
    """Lists the bundles below ``root``. Follows links; skips hidden entries and ``lost+found``.

    Raises ``BundleError`` if ``root`` is no folder, ``OSError`` if it cannot be listed completely: a failed
    listing must not look like an empty folder.
    """
    found = FoundBundles([], {}, {})
    try:
        models = _entries(root)
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(f"{root} is not a folder of bundles") from None
    for model in models:
        if _is_folder(model):
            _add_versions(found, root / model.name)
        elif _is_broken_link(model):
            found.ignored[model.name] = "is a broken link"
    found.folders.sort(key=lambda path: (path.parent.name, int(path.name)))
    return found


def _add_versions(found: FoundBundles, model: Path) -> None:
    try:
        versions = _entries(model)
    except PermissionError as error:
        found.unreadable[model.name] = f"{model.name}: the folder cannot be read ({error.strerror})"
        return
    except (FileNotFoundError, NotADirectoryError):
        return  # removed since its parent was listed
    for version in versions:
        name = f"{model.name}/{version.name}"
        if version.name == CARD_FILE:
            found.ignored[model.name] = f"holds {CARD_FILE} itself; a bundle lies in NAME/VERSION"
        elif _is_broken_link(version):
            found.ignored[name] = "is a broken link"
        elif not _is_folder(version):
            continue
        elif version.name.isascii() and version.name.isdecimal():
            found.folders.append(model / version.name)
        else:
            found.ignored[name] = "is not named like a version; versions are whole numbers: 1, 2, …"


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    # Not Path.glob: it returns nothing for a folder that it cannot list.
    with os.scandir(folder) as entries:
        kept = [entry for entry in entries if not entry.name.startswith(".") and entry.name != "lost+found"]
    return sorted(kept, key=lambda entry: entry.name)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except PermissionError:
        return True  # reading the folder raises the same error, with the folder's name
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    if not entry.is_symlink():
        return False
    try:
        entry.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return False
