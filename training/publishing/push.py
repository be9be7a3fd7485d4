"""Publishes a bundle in the order that keeps readers from ever seeing half of it: the card last, then the index."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from models.bundle import (
    CARD_FILE,
    GENERATOR_FILE,
    SAMPLES_FILE,
    Bundle,
    BundleError,
    Card,
    read_bundle,
)
from models.published import (
    INDEX_FILE,
    MAX_CARD_BYTES,
    BundleIndex,
    IndexEntry,
    list_folders,
    list_versions,
)
from models.store import Store, StoreError, StoreNotFoundError, StoreUrl, StoreUrlError, open_store
from training.console import stage
from training.errors import TrainingError
from training.publishing.hub import Repository, commit


def push(folder: Path, url: str, version: int | None = None) -> str:
    """Publishes the bundle in ``folder``, as ``version`` or its own, and returns its URL.

    A version that is already there is replaced only if its graph is the same: caches keep its images permanently.

    Raises ``TrainingError`` if the bundle is broken, the version is taken, or the store refuses.
    """
    try:
        # Absolute, since NAME and VERSION are the names of two folders: inside them, "." has none.
        bundle = read_bundle(folder.absolute().resolve())
        store = open_store(_parse(url))
        card = bundle.card.model_copy(update={"version": version or bundle.card.version})
        _check_free(store, card)
        _upload(store, _files(folder, bundle, card))
    except (BundleError, StoreUrlError, StoreError) as error:
        raise TrainingError(f"not published: {error}") from error
    return f"{store.url}/{card.name}/{card.version}"


def _parse(text: str) -> StoreUrl:
    url = StoreUrl.parse(text)
    if url.is_http:
        raise StoreUrlError(f"{url} is a web server, which takes no files; push to the bucket or the folder behind it")
    if url.scheme == "hf":
        Repository.of(url)
    return url


def _check_free(store: Store, card: Card) -> None:
    place = f"{card.name}/{card.version}/{CARD_FILE}"
    try:
        published = Card.model_validate_json(store.read(place, MAX_CARD_BYTES))
    except StoreNotFoundError:
        return
    except ValidationError:
        raise StoreError(f"{store.url}/{place} exists, and is not the card of a bundle") from None
    if published.sha256 != card.sha256:
        free = max(list_versions(store, card.name), default=0) + 1
        raise StoreError(
            f"{store.url} has another generator as {card.name}/{card.version}, and caches keep its images; "
            f"--version {free} is free"
        )


def _files(folder: Path, bundle: Bundle, card: Card) -> dict[str, bytes]:
    """Returns the files of a bundle by their paths in a store, in the order of writing."""
    files = {GENERATOR_FILE: bundle.onnx}
    if (samples := folder / SAMPLES_FILE).is_file():
        files[SAMPLES_FILE] = samples.read_bytes()
    # The very bytes of the bundle where nothing has changed: a second push of it then changes nothing.
    text = (folder / CARD_FILE).read_bytes()
    files[CARD_FILE] = text if card == bundle.card else (card.model_dump_json(indent=2) + "\n").encode()
    return {f"{card.name}/{card.version}/{name}": content for name, content in files.items()}


def _upload(store: Store, files: dict[str, bytes]) -> None:
    if store.url.scheme == "hf":
        commit(store, files, build_index(store, files))
        return
    size = sum(map(len, files.values())) / 1e6
    with stage(f"Writing {len(files)} files, {size:.1f} MB, to {store.url}"):
        for path, content in files.items():
            store.write(path, content)
        store.write(INDEX_FILE, build_index(store, {}))


def build_index(store: Store, added: dict[str, bytes]) -> bytes:
    """Returns ``index.json`` of a store, with the cards that are about to be ``added``, by their paths.

    It is built from the cards that are there, so it heals what an interrupted push left.
    """
    cards: dict[tuple[str, int], bytes] = {}
    for bundle in list_folders(store).bundles:
        try:
            cards[bundle.name, bundle.version] = store.read(f"{bundle}/{CARD_FILE}", MAX_CARD_BYTES)
        except StoreNotFoundError:
            continue  # incomplete
    for path, content in added.items():
        name, version, file = path.split("/")
        if file == CARD_FILE:
            cards[name, int(version)] = content
    entries = (
        IndexEntry(name=name, version=version, card_sha256=hashlib.sha256(card).hexdigest())
        for (name, version), card in sorted(cards.items())
    )
    return (BundleIndex(bundles=tuple(entries)).model_dump_json(indent=2) + "\n").encode()
