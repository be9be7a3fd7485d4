"""Commits a bundle to a repository of the Hugging Face Hub, together with the repository's model card."""

import re
from dataclasses import dataclass

from models.bundle import CARD_FILE, SAMPLES_FILE, Card
from models.published import INDEX_FILE
from models.store import Store, StoreUrl, StoreUrlError
from training.console import stage
from training.publishing.model_card import render_model_card

_PLACE = re.compile(r"(?:models/)?(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/]+))?(?:/(?P<folder>.+))?")


@dataclass(frozen=True)
class Repository:
    """A place in a repository. ``folder`` is empty or ends in ``/``; without ``revision``, the main branch is meant."""

    name: str
    revision: str | None
    folder: str

    @classmethod
    def of(cls, url: StoreUrl) -> "Repository":
        """Returns the place that a URL ``hf://user/repository[@revision][/folder]`` names. Raises ``StoreUrlError``."""
        if url.place.startswith(("datasets/", "spaces/", "buckets/")):
            raise StoreUrlError(f"{url}: bundles belong into a repository for models, hf://user/repository")
        match = _PLACE.fullmatch(url.place)
        if match is None:
            raise StoreUrlError(f"{url} names no repository; it needs hf://user/repository")
        return cls(match["name"], match["revision"], f"{match['folder']}/" if match["folder"] else "")


def commit(store: Store, files: dict[str, bytes], index: bytes) -> None:
    """Adds the files of a bundle, by their paths, as one commit: readers see all of it or nothing.

    A repository that does not exist is created, and is private. Its README describes the bundle.

    Raises ``StoreError`` if the Hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    place = Repository.of(store.url)
    content = {f"{place.folder}{path}": data for path, data in (files | {INDEX_FILE: index}).items()}
    (card,) = [Card.model_validate_json(data) for path, data in files.items() if path.endswith(f"/{CARD_FILE}")]
    samples = f"{card.name}/{card.version}/{SAMPLES_FILE}"
    shown = f"{place.folder}{samples}" if samples in files else None
    content["README.md"] = render_model_card(card, str(store.url), shown).encode()
    api = HfApi()
    with store.errors("write"), stage(f"Writing {len(content)} files to {place.name}"):
        api.create_repo(place.name, exist_ok=True, private=True)
        api.create_commit(
            place.name,
            [CommitOperationAdd(path, data) for path, data in content.items()],
            commit_message=f"{card.name} {card.version}",
            revision=place.revision,
        )
