"""Finds the images in a folder, labels them by their folders, and lists what it skips.

Guesses nothing from names: no name means a split or a pattern, and files of metadata are ignored.
"""

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from training.config.schema import Labels
from training.data.pictures import decodable_formats
from training.data.sources.names import printable, sorted_names
from training.errors import TrainingError

_SERVICE_FOLDERS = {
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "@eadir",
    "@recycle",
    "@recently-snapshot",
    "__macosx",
    "lost+found",
    "system volume information",
}
_METADATA = {"metadata.csv", "metadata.jsonl", "metadata.parquet"}
_OWN_FILES = (
    {"config.yaml", "data.json"},  # a run
    {"card.json", "generator.onnx"},  # a bundle
    {"space.yaml", "judge.pt"},  # a study
    {"scores.json", "evaluation.png"},  # an evaluation
)
_OWN = "folder of a run, study or bundle"
_LONGEST_ENDING = 12
_EXAMPLES = 3


class SkippedFiles(dict[str, list[str]]):
    """Reason → the paths, below the folder, of all files and folders skipped for it."""

    def add(self, reason: str, path: str) -> None:
        """Records one skipped path."""
        self.setdefault(reason, []).append(path)

    def counts(self) -> dict[str, int]:
        """Returns reason → count. Unless the reason is a file name's ending, it includes the first three paths."""
        return {self._with_examples(reason, paths): len(paths) for reason, paths in sorted(self.items())}

    @staticmethod
    def _with_examples(reason: str, paths: list[str]) -> str:
        if reason.startswith("."):
            return reason
        counted = reason if len(paths) == 1 else reason.replace(" ", "s ", 1)
        more = ", …" if len(paths) > _EXAMPLES else ""
        return f"{counted} ({', '.join(printable(path) for path in sorted(paths)[:_EXAMPLES])}{more})"


@dataclass(frozen=True)
class FoundFile:
    """A file below a folder."""

    path: str
    """Relative to the folder, with slashes."""
    size: int
    """In bytes."""
    modified: int
    """In nanoseconds since 1970."""


@dataclass
class FolderScan:
    """The content of a folder and all folders below it."""

    images: list[FoundFile] = field(default_factory=list)
    tables: list[FoundFile] = field(default_factory=list)
    """Parquet files."""
    folders: list[str] = field(default_factory=list)
    """The names of the folders directly below it that were read."""
    skipped: SkippedFiles = field(default_factory=SkippedFiles)


def scan_folder(root: Path) -> FolderScan:
    """Finds all images and Parquet files below a folder, sorted by path. Follows links, and reads each folder once.

    Raises ``TrainingError`` if the folder itself cannot be read.
    """
    scan = FolderScan()
    real_root = os.path.realpath(root)
    seen = {real_root}
    pending, links = [("", real_root)], list[str]()
    while pending or links:
        if pending:
            folder, real = pending.pop()
        else:  # links come last, so an image is labelled by the folder that it really lies in
            links.sort(reverse=True)
            folder = links.pop()
            real = os.path.realpath(root / folder)
            if real in seen or f"{real_root}/".startswith(f"{real.rstrip('/')}/"):
                scan.skipped.add("link to a folder that is read already", folder)
                continue
            seen.add(real)
        try:
            with os.scandir(root / folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise TrainingError(f"cannot read the folder {printable(str(root))}: {error.strerror}") from error
            scan.skipped.add("folder that cannot be read", folder)
            continue
        names = {entry.name for entry in entries}
        if folder and any(own <= names for own in _OWN_FILES):
            scan.skipped.add(_OWN, folder)
            continue
        if folder and "/" not in folder:
            scan.folders.append(folder)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry)
            if kind == "link":
                links.append(path)
            elif kind == "folder":
                below = f"{real.rstrip('/')}/{entry.name}"
                if below in seen:  # through a link
                    scan.skipped.add("link to a folder that is read already", path)
                else:
                    seen.add(below)
                    pending.append((path, below))
            elif kind == "file":
                _add_file(scan, root, path, entry)
            elif kind:
                scan.skipped.add(kind, path)
    scan.images.sort(key=lambda file: file.path)
    scan.tables.sort(key=lambda file: file.path)
    return scan


def _kind(entry: os.DirEntry[str]) -> str:
    """Returns ``file``, ``folder``, ``link`` to a folder, why to skip the entry, or an empty text if it is hidden."""
    if entry.name.startswith("."):
        return ""
    try:
        if entry.is_dir():
            if entry.name.casefold() in _SERVICE_FOLDERS:
                return "folder of a file server"
            return "link" if entry.is_symlink() else "folder"
        if entry.is_file():
            return "file"
        return "link to nothing" if entry.is_symlink() else "file of no regular kind"
    except OSError:
        return "file that cannot be read"


def _add_file(scan: FolderScan, root: Path, path: str, entry: os.DirEntry[str]) -> None:
    ending = Path(entry.name).suffix.lower()
    if entry.name.casefold() in _METADATA:
        scan.skipped.add("file of metadata", path)
        return
    is_image = ending in image_endings() or (ending in {"", "."} and _is_image(root / path))
    if not is_image and ending != ".parquet":
        scan.skipped.add(_name_ending(ending), path)
        return
    try:
        status = entry.stat()
    except OSError:
        scan.skipped.add("file that cannot be read", path)
        return
    (scan.images if is_image else scan.tables).append(FoundFile(path, status.st_size, status.st_mtime_ns))


def _name_ending(ending: str) -> str:
    if ending in {"", "."}:
        return "file without an ending"
    return printable(ending) if len(ending) <= _LONGEST_ENDING else "file of another ending"


@cache
def image_endings() -> frozenset[str]:
    """Returns the endings, in lower case, of the image formats that Pillow can decode here."""
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name == "MPO" or name in decodable_formats()
    )


def _is_image(path: Path) -> bool:
    """Returns whether Pillow recognises a file without an ending as an image."""
    try:
        with Image.open(path, formats=decodable_formats()):
            return True
    except Exception:  # decoders raise anything for files of other formats
        return False


@dataclass(frozen=True)
class LabelledFiles:
    """The images of a folder, each with its label."""

    files: tuple[FoundFile, ...]
    labels: tuple[int, ...] | None
    """Positions in ``label_names``; None without labels."""
    label_names: tuple[str, ...] | None


def label_by_folder(scan: FolderScan, labels: Labels) -> LabelledFiles:
    """Labels each image by its folder; with fewer than two folders of images there are no labels.

    Skips images beside the folders. Raises ``TrainingError`` if more than half of all images lie there.
    """
    if labels == "none":
        return LabelledFiles(tuple(scan.images), None, None)
    level = 0 if labels == "first_folder" else -1
    folder_of = {file: folders[level] for file in scan.images if (folders := file.path.split("/")[:-1])}
    used = {file.path.split("/")[0] for file in folder_of}
    own = {path.split("/")[0] for path in scan.skipped.get(_OWN, ())}
    for name in scan.folders:
        if name not in used | own:
            scan.skipped.add("folder without images", name)
    names = sorted_names({printable(name) for name in folder_of.values()})
    if len(names) < 2:
        return LabelledFiles(tuple(scan.images), None, None)
    strays = [file for file in scan.images if file not in folder_of]
    if 2 * len(strays) > len(scan.images):
        raise TrainingError(
            f"{len(strays)} of {len(scan.images)} images lie directly in DATA, beside the folders "
            f"{', '.join(names[:_EXAMPLES])}{', …' if len(names) > _EXAMPLES else ''}: move them into a folder that is "
            "their label, or train on all images without labels: --set data.labels=none"
        )
    for file in strays:
        scan.skipped.add("image beside the folders", file.path)
    position = {name: index for index, name in enumerate(names)}
    return LabelledFiles(
        tuple(folder_of), tuple(position[printable(name)] for name in folder_of.values()), tuple(names)
    )
