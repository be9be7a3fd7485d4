"""A folder → the images that a person sees in it, their labels, and what was passed over.

Nothing is guessed from names: a name is never a split or a pattern, and no file of metadata is obeyed.
"""

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from PIL import Image

from training.config.schema import Labels
from training.data.sources.names import printable, sorted_names
from training.errors import TrainingError

_NOT_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}
"""Formats that Pillow registers and cannot decode by itself."""
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


class PassedOver(dict[str, list[str]]):
    """What was passed over → the paths of everything of that kind, below the folder."""

    def note(self, kind: str, path: str) -> None:
        """Counts one more."""
        self.setdefault(kind, []).append(path)

    def counted(self) -> dict[str, int]:
        """What was passed over → how often, with the first paths where an ending does not say enough."""
        return {self._shown(kind, paths): len(paths) for kind, paths in sorted(self.items())}

    @staticmethod
    def _shown(kind: str, paths: list[str]) -> str:
        if kind.startswith("."):
            return kind
        what = kind if len(paths) == 1 else kind.replace(" ", "s ", 1)
        more = ", …" if len(paths) > _EXAMPLES else ""
        return f"{what} ({', '.join(printable(path) for path in sorted(paths)[:_EXAMPLES])}{more})"


@dataclass(frozen=True)
class File:
    """A file below a folder."""

    path: str
    """Below the folder, with slashes."""
    size: int
    modified: int
    """In nanoseconds."""


@dataclass
class Tree:
    """What lies below a folder."""

    images: list[File] = field(default_factory=list)
    tables: list[File] = field(default_factory=list)
    """Parquet files."""
    folders: list[str] = field(default_factory=list)
    """Names of the folders directly below it that were read."""
    passed_over: PassedOver = field(default_factory=PassedOver)


def walk(root: Path) -> Tree:
    """All images and Parquet files below a folder, sorted by path; links are followed, each folder is read once.

    Raises ``TrainingError`` if the folder itself cannot be read.
    """
    tree = Tree()
    real_root = os.path.realpath(root)
    seen = {real_root}
    pending, links = [("", real_root)], list[str]()
    while pending or links:
        if pending:
            folder, real = pending.pop()
        else:  # after the folders that lie here, so that their images count where they lie
            links.sort(reverse=True)
            folder = links.pop()
            real = os.path.realpath(root / folder)
            if real in seen or f"{real_root}/".startswith(f"{real.rstrip('/')}/"):
                tree.passed_over.note("link to a folder that is read already", folder)
                continue
            seen.add(real)
        try:
            with os.scandir(root / folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise TrainingError(f"cannot read the folder {printable(str(root))}: {error.strerror}") from error
            tree.passed_over.note("folder that cannot be read", folder)
            continue
        names = {entry.name for entry in entries}
        if folder and any(own <= names for own in _OWN_FILES):
            tree.passed_over.note(_OWN, folder)
            continue
        if folder and "/" not in folder:
            tree.folders.append(folder)
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            kind = _kind(entry)
            if kind == "link":
                links.append(path)
            elif kind == "folder":
                below = f"{real.rstrip('/')}/{entry.name}"
                if below in seen:  # through a link
                    tree.passed_over.note("link to a folder that is read already", path)
                else:
                    seen.add(below)
                    pending.append((path, below))
            elif kind == "file":
                _take(tree, root, path, entry)
            elif kind:
                tree.passed_over.note(kind, path)
    tree.images.sort(key=lambda file: file.path)
    tree.tables.sort(key=lambda file: file.path)
    return tree


def _kind(entry: os.DirEntry[str]) -> str:
    """``file``, ``folder``, ``link`` to a folder, empty for what is hidden, or why the entry is passed over."""
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


def _take(tree: Tree, root: Path, path: str, entry: os.DirEntry[str]) -> None:
    ending = Path(entry.name).suffix.lower()
    if entry.name.casefold() in _METADATA:
        tree.passed_over.note("file of metadata", path)
        return
    is_image = ending in image_endings() or (ending in {"", "."} and _opens(root / path))
    if not is_image and ending != ".parquet":
        tree.passed_over.note(_ending_shown(ending), path)
        return
    try:
        about = entry.stat()
    except OSError:
        tree.passed_over.note("file that cannot be read", path)
        return
    (tree.images if is_image else tree.tables).append(File(path, about.st_size, about.st_mtime_ns))


def _ending_shown(ending: str) -> str:
    if ending in {"", "."}:
        return "file without an ending"
    return printable(ending) if len(ending) <= _LONGEST_ENDING else "file of another ending"


@cache
def image_endings() -> frozenset[str]:
    """Endings, in lower case, of the image formats that Pillow decodes here."""
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name == "MPO" or (name in Image.OPEN and name not in _NOT_PICTURES)
    )


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in Image.OPEN if name not in _NOT_PICTURES)


def _opens(path: Path) -> bool:
    """Whether a file without an ending is an image."""
    try:
        with Image.open(path, formats=_formats()):
            return True
    except Exception:  # whatever a decoder raises at a file that is not its own
        return False


@dataclass(frozen=True)
class Labelled:
    """The images of a folder that are read, and the label of each."""

    files: tuple[File, ...]
    labels: tuple[int, ...] | None
    """Positions in ``label_names``, or None where the folder makes no labels."""
    label_names: tuple[str, ...] | None


def label(tree: Tree, labels: Labels) -> Labelled:
    """Gives each image its folder as label; fewer than two folders with images are none.

    Images beside the folders are left out and noted, as are folders without images. Raises ``TrainingError`` if they
    are most of all images.
    """
    if labels == "none":
        return Labelled(tuple(tree.images), None, None)
    place = 0 if labels == "first_folder" else -1
    folder_of = {file: folders[place] for file in tree.images if (folders := file.path.split("/")[:-1])}
    used = {file.path.split("/")[0] for file in folder_of}
    own = {path.split("/")[0] for path in tree.passed_over.get(_OWN, ())}
    for name in tree.folders:
        if name not in used | own:
            tree.passed_over.note("folder without images", name)
    names = sorted_names({printable(name) for name in folder_of.values()})
    if len(names) < 2:
        return Labelled(tuple(tree.images), None, None)
    strays = [file for file in tree.images if file not in folder_of]
    if 2 * len(strays) > len(tree.images):
        raise TrainingError(
            f"{len(strays)} of {len(tree.images)} images lie directly in DATA, beside the folders "
            f"{', '.join(names[:_EXAMPLES])}{', …' if len(names) > _EXAMPLES else ''}: move them into a folder that is "
            "their label, or train on all images without labels: --set data.labels=none"
        )
    for file in strays:
        tree.passed_over.note("image beside the folders", file.path)
    position = {name: index for index, name in enumerate(names)}
    return Labelled(tuple(folder_of), tuple(position[printable(name)] for name in folder_of.values()), tuple(names))
