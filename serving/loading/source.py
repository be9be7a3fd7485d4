"""Where bundles come from: a folder, or a store behind a URL."""

from pathlib import Path
from typing import Protocol

from models.find import FoundBundles, find_bundles
from models.store import StoreUrl


class BundleSource(Protocol):
    """Where bundles come from. As text, it is the place that users know."""

    def find(self) -> FoundBundles:
        """Lists all bundles, each as a folder of this machine. Blocks.

        Raises ``BundleError`` if the place does not exist, ``OSError`` if it cannot be listed completely.
        """


class BundleFolder:
    """The bundles in a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def find(self) -> FoundBundles:
        """Lists the folder, see ``find_bundles``."""
        return find_bundles(self._root)


def open_source(models: Path | StoreUrl, cache: Path) -> BundleSource:
    """Returns the source that ``FIGMENT_MODELS`` names. ``cache`` is the folder for what is fetched from a URL."""
    if not isinstance(models, StoreUrl):
        return BundleFolder(models)
    from serving.remote.source import RemoteBundles  # only now: a start with a folder need not wait for it

    return RemoteBundles(models, cache)
