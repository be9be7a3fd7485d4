"""The layout of bundles in a store: ``NAME/VERSION/`` as in a folder, and ``index.json`` for stores that list nothing.

``card.json`` is written after the other files of its bundle, and ``index.json`` after all cards. A bundle without its
card, or a graph that does not have the card's hash, is one that is still being uploaded.
"""

import re
from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from models.bundle import CARD_FILE, Name, Sha256
from models.store import Store, StoreError, StoreNotFoundError
from models.strict import StrictModel

INDEX_FILE = "index.json"

MAX_CARD_BYTES = 2**20
_MAX_INDEX_BYTES = 2**22

# Each folder is one request at each poll.
_MAX_FOLDERS = 1000

_MAX_IGNORED = 20

_VERSION = re.compile("[1-9][0-9]{0,8}", re.ASCII)

_NAMES: TypeAdapter[str] = TypeAdapter(Name)


class IndexEntry(StrictModel):
    """A published bundle. ``card_sha256`` is the hash of its ``card.json``, which names that of the graph."""

    name: Name
    version: int = Field(ge=1)
    card_sha256: Sha256


class BundleIndex(StrictModel):
    """The content of ``index.json``: all bundles of a store, for readers that cannot list it."""

    schema_version: Literal[1] = 1
    bundles: tuple[IndexEntry, ...]

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        names = [(entry.name, entry.version) for entry in self.bundles]
        if len(names) > len({*names}):
            raise ValueError("a bundle is listed twice")
        return self


@dataclass(frozen=True)
class PublishedBundle:
    """A bundle in a store. ``card_sha256`` is None if only the card itself can tell."""

    name: str
    version: int
    card_sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Listing:
    """The content of a store. ``ignored`` are folders in places where no bundle can be, each with the reason."""

    bundles: list[PublishedBundle] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)


def list_bundles(store: Store) -> Listing:
    """Lists the bundles of a store, sorted by name and version. Other files and folders do not matter.

    Raises ``StoreError``, also if a web server has no ``index.json`` or an invalid one.
    """
    listing = _read_index(store) if store.url.is_http else list_folders(store)
    listing.bundles.sort(key=lambda bundle: (bundle.name, bundle.version))
    return listing


def _read_index(store: Store) -> Listing:
    try:
        index = BundleIndex.model_validate_json(store.read(INDEX_FILE, _MAX_INDEX_BYTES))
    except StoreNotFoundError:
        raise StoreError(
            f"{store.url}/{INDEX_FILE} does not exist; a web server lists nothing itself, "
            "so publish with `python -m training push`, which writes that file"
        ) from None
    except ValidationError as error:
        fault = error.errors()[0]
        problem = " ".join(filter(None, (".".join(map(str, fault["loc"])), fault["msg"])))
        raise StoreError(f"{store.url}/{INDEX_FILE} is no index of bundles: {problem}") from error
    return Listing([PublishedBundle(entry.name, entry.version, entry.card_sha256) for entry in index.bundles])


def list_folders(store: Store) -> Listing:
    """Lists the bundles of a store by its folders, even where there is an index."""
    try:
        names = [name for name, is_folder in store.list().items() if is_folder and not name.startswith(".")]
    except StoreNotFoundError:
        return Listing()  # an empty folder of a bucket does not exist
    models = [name for name in names if is_model_name(name)]
    if len(models) > _MAX_FOLDERS:
        raise StoreError(f"{store.url} holds {len(models)} folders; give the URL of a folder that holds bundles only")
    listing, ignored = Listing(), {name: "is not the name of a model" for name in names if not is_model_name(name)}
    for model in models:
        versions = list_versions(store, model, ignored)
        listing.bundles.extend(PublishedBundle(model, version) for version in versions)
    listing.ignored.update(list(ignored.items())[:_MAX_IGNORED])
    if (more := len(ignored) - _MAX_IGNORED) > 0:
        listing.ignored["…"] = f"and {more} more"
    return listing


def list_versions(store: Store, model: str, ignored: dict[str, str] | None = None) -> list[int]:
    """Returns the versions of a model in a store that lists its folders. Adds to ``ignored``, see ``Listing``."""
    ignored = {} if ignored is None else ignored
    try:
        entries = store.list(model)
    except StoreNotFoundError:
        return []  # removed since its parent was listed
    if entries.get(CARD_FILE) is False:
        ignored[model] = f"holds {CARD_FILE} itself; a bundle lies in NAME/VERSION"
    folders = [name for name, is_folder in entries.items() if is_folder and not name.startswith(".")]
    versions = [int(name) for name in folders if _VERSION.fullmatch(name)]
    if versions:  # a folder without any is somebody else's
        others = (name for name in folders if name not in map(str, versions))
        ignored |= {f"{model}/{name}": "is not named like a version; versions are 1, 2, …" for name in others}
    return versions


def is_model_name(name: str) -> bool:
    """Returns whether a model may have this name."""
    try:
        _NAMES.validate_python(name)
    except ValidationError:
        return False
    return True
