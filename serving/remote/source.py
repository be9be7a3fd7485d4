"""Follows the bundles of a store: fetches what is new, and names the folders where the bundles are now."""

import hashlib
import logging
import time
from pathlib import Path

from models.bundle import CARD_FILE, GENERATOR_FILE, BundleError, parse_card
from models.find import FoundBundles
from models.published import MAX_CARD_BYTES, Listing, PublishedBundle, list_bundles
from models.store import STALL_SECONDS, Store, StoreDeniedError, StoreNotFoundError, StoreUrl, open_store
from serving.remote.cache import BundleCache

logger = logging.getLogger("figment.catalogue")

# A graph that is not its card's is a bundle that is being replaced: soon its card differs, and it is fetched at once.
# With the same card it is broken, and to fetch it at each poll would only cost traffic.
_RETRY_BROKEN_SECONDS = 60.0

_ATTEMPTS = 3


class RemoteBundles:
    """The bundles of a store, as folders of this machine. As text, it is the store's URL without password."""

    def __init__(self, url: StoreUrl, cache: Path, stall_seconds: float = STALL_SECONDS) -> None:
        self._url = url
        self._stall_seconds = stall_seconds
        self._cache = BundleCache(cache)
        self._store: Store | None = None
        self._broken: dict[str, tuple[float, str]] = {}

    def __str__(self) -> str:
        return str(self._url)

    def find(self) -> FoundBundles:
        """Lists the store, and fetches the bundles that the cache does not have.

        A bundle that is broken or may not be read is ``unreadable``, one without a card or graph ``ignored``.

        Raises ``StoreError`` if the store fails or hangs, ``CacheError`` if the cache cannot be written. What has been
        fetched until then stays in the cache.
        """
        self._store = self._store or open_store(self._url, self._stall_seconds)
        listing = list_bundles(self._store)
        with self._cache.locked():
            return self._fetch_all(self._store, listing)

    def _fetch_all(self, store: Store, listing: Listing) -> FoundBundles:
        found = FoundBundles([], {}, dict(listing.ignored), settled=True)
        for bundle in listing.bundles:
            try:
                found.folders.append(self._fetch(store, bundle))
            except StoreNotFoundError as error:
                found.ignored[str(bundle)] = f"is not complete: {error}"
            except (BundleError, StoreDeniedError) as error:
                found.unreadable[str(bundle)] = str(error)
        self._cache.keep(folder.parents[1].name for folder in found.folders)
        return found

    def _fetch(self, store: Store, bundle: PublishedBundle) -> Path:
        """Returns the bundle's folder in the cache. Starts again if its card changes while its graph is read."""
        for attempt in range(_ATTEMPTS):
            key = bundle.card_sha256
            folder = self._cache.find(key, str(bundle)) if key else None
            if folder is not None:
                return folder
            card = store.read(f"{bundle}/{CARD_FILE}", MAX_CARD_BYTES)
            found = hashlib.sha256(card).hexdigest()
            if key and found != key:
                raise BundleError(f"{bundle}: {CARD_FILE} is not the one that the index names; it is being replaced")
            folder = self._cache.find(found, str(bundle))
            if folder is not None:
                return folder
            retry, reason = self._broken.get(found, (0.0, ""))
            if time.monotonic() < retry:
                raise BundleError(reason)
            try:
                return self._download(store, bundle, card)
            except BundleError as error:
                is_last = attempt == _ATTEMPTS - 1
                if is_last or store.read(f"{bundle}/{CARD_FILE}", MAX_CARD_BYTES) == card:
                    self._broken[found] = (time.monotonic() + _RETRY_BROKEN_SECONDS, str(error))
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _download(self, store: Store, bundle: PublishedBundle, card: bytes) -> Path:
        started = time.monotonic()
        parse_card(card, bundle.name, str(bundle.version))
        folder = self._cache.add(str(bundle), card, store.blocks(f"{bundle}/{GENERATOR_FILE}"))
        size = (folder / GENERATOR_FILE).stat().st_size
        logger.info("Fetched %s (%.1f MB) in %.1f s", bundle, size / 1e6, time.monotonic() - started)
        return folder
