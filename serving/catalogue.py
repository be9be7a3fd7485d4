"""Which bundles are loaded, which were refused and why, and which of them a request means."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.bundle import BundleError, bundle_folders, read_bundle
from serving.device import DeviceError, Devices
from serving.engine import Engine, open_engine
from serving.errors import Refusal, RequestError

logger = logging.getLogger("figment.catalogue")


@dataclass(frozen=True)
class Refused:
    """A bundle that is not served."""

    bundle: str
    reason: str


@dataclass(frozen=True)
class Loaded:
    """What was found below a folder of bundles; ``failure`` says why none of it can be served."""

    engines: tuple[Engine, ...]
    refused: tuple[Refused, ...]
    failure: str | None


def load_bundles(root: Path, devices: Devices, max_batch: int) -> Loaded:
    """Loads, verifies and warms every bundle below ``root``. Raises nothing: what is wrong is in the answer."""
    engines: list[Engine] = []
    refused: list[Refused] = []
    try:
        for folder in bundle_folders(root):
            opened = open_bundle(folder, devices, max_batch)
            if isinstance(opened, Refused):
                refused.append(opened)
            else:
                engines.append(opened)
    except (BundleError, DeviceError) as error:
        return Loaded((), tuple(refused), str(error))
    failure = None if engines else f"there is no usable bundle in {root}"
    return Loaded(tuple(engines), tuple(refused), failure)


def open_bundle(folder: Path, devices: Devices, max_batch: int) -> Engine | Refused:
    """Loads, verifies and warms one bundle. Raises ``DeviceError`` if the device cannot be used at all."""
    name, started = f"{folder.parent.name}/{folder.name}", time.monotonic()
    try:
        engine = open_engine(read_bundle(folder), devices, max_batch)
    except DeviceError:
        raise
    except Exception as error:
        # A graph that is not what it should be fails in as many ways as ONNX Runtime has exceptions.
        reason = str(error) if isinstance(error, BundleError) else f"{name}: cannot be run: {error}"
        logger.error("Refused %s: %s", name, reason)
        return Refused(name, reason)
    logger.info("Loaded %s on %s in %.1f s", name, engine.provider, time.monotonic() - started)
    return engine


class Catalogue:
    """The loaded generators by name and version."""

    def __init__(self, engines: Iterable[Engine], default: str | None) -> None:
        """``default`` is the model of requests that name none; ``None`` is the first by name."""
        self._models: dict[str, dict[int, Engine]] = {}
        for engine in engines:
            self._models.setdefault(engine.card.name, {})[engine.card.version] = engine
        self.default = default or min(self._models, default="")
        if self._models and self.default not in self._models:
            logger.error("FIGMENT_DEFAULT_MODEL=%s is not loaded: requests must name their model", self.default)
        self.longest_noise = max((engine.card.noise_dim for engine in self), default=0)

    def __iter__(self) -> Iterator[Engine]:
        return (self._models[name][version] for name in sorted(self._models) for version in sorted(self._models[name]))

    def find(self, model: str | None, version: int | None) -> Engine:
        """The generator of a name (or the default) and a version (or the newest).

        Raises ``RequestError`` if there is none.
        """
        name = self.default if model is None else model
        versions = self._models.get(name)
        if not versions:
            raise RequestError(Refusal.NOT_FOUND, f"model: there is no model {_shown(name)}; see GET /models.")
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise RequestError(Refusal.NOT_FOUND, f"version: {_shown(name)} has no version {version}, but {known}.")
        return versions[version]


def _shown(name: str) -> str:
    return repr(name[:64])
