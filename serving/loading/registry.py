"""How a bundle becomes a running generator or is refused, and which generator a request means."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.bundle import BundleError, BundleUnreadableError, read_bundle
from serving.errors import ApiError, ErrorCode
from serving.inference.device import DeviceError, Devices
from serving.inference.engine import Engine, open_engine
from serving.loading.policy import bundle_name

logger = logging.getLogger("figment.catalogue")


@dataclass(frozen=True)
class RejectedBundle:
    """A bundle that is not served.

    ``passes`` where trying again may help though no file changes; ``blames_device`` where the CPU can run it, and the
    device that was asked for cannot.
    """

    bundle: str
    reason: str
    passes: bool = False
    blames_device: bool = False


def open_bundle(folder: Path, loaded: Engine | None, devices: Devices, max_batch: int) -> Engine | RejectedBundle:
    """Loads, verifies and warms one bundle. Returns ``loaded`` if that is this very bundle. Raises nothing."""
    name, started = bundle_name(folder), time.monotonic()
    try:
        bundle = read_bundle(folder)
        if loaded is not None and loaded.card == bundle.card:
            return loaded
        engine = open_engine(bundle, devices, max_batch)
    except BundleError as error:
        return RejectedBundle(name, str(error), passes=isinstance(error, BundleUnreadableError))
    except DeviceError as error:
        return RejectedBundle(name, str(error), blames_device=True)
    except Exception as error:
        # A graph that is not what it should be fails in as many ways as ONNX Runtime has exceptions.
        return RejectedBundle(name, f"{name}: cannot be run: {error}")
    logger.info("Loaded %s on %s in %.1f s", name, engine.provider, time.monotonic() - started)
    return engine


class ModelRegistry:
    """The loaded generators by name and version."""

    def __init__(self, engines: Iterable[Engine] = (), default: str = "") -> None:
        """``default`` is the model of requests that name none; it need not be loaded."""
        self._models: dict[str, dict[int, Engine]] = {}
        for engine in engines:
            self._models.setdefault(engine.card.name, {})[engine.card.version] = engine
        self.default = default
        if self._models and default not in self._models:
            logger.error("The default model, %s, is not loaded: requests must name their model", default)
        self.longest_noise = max((engine.card.noise_dim for engine in self), default=0)

    def __iter__(self) -> Iterator[Engine]:
        return (self._models[name][version] for name in sorted(self._models) for version in sorted(self._models[name]))

    def find(self, model: str | None, version: int | None) -> Engine:
        """The generator of a name (or the default) and a version (or the newest).

        Raises ``ApiError`` if there is none.
        """
        name = self.default if model is None else model
        versions = self._models.get(name)
        if not versions:
            problem = (
                f"there is no model {_shown(name)}"
                if model is not None
                else f"the default, {_shown(name)}, is not loaded"
            )
            raise ApiError(ErrorCode.NOT_FOUND, f"model: {problem}; see GET /models.")
        if version is None:
            return versions[max(versions)]
        if version not in versions:
            known = ", ".join(map(str, sorted(versions)))
            raise ApiError(ErrorCode.NOT_FOUND, f"version: {_shown(name)} has no version {version}, but {known}.")
        return versions[version]


def _shown(name: str) -> str:
    return repr(name[:64])
