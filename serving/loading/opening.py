"""Opens a bundle's folder as a running engine, or rejects it with a reason."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from models.bundle import BundleError, BundleUnreadableError, read_bundle
from serving.inference.device import DeviceError, Devices
from serving.inference.engine import Engine, open_engine
from serving.loading.watcher import bundle_name

logger = logging.getLogger("figment.catalogue")


@dataclass(frozen=True)
class RejectedBundle:
    """A bundle that is not served.

    ``is_temporary``: another attempt may succeed although no file changes. ``device_failed``: the CPU can run it, and
    the requested device cannot.
    """

    bundle: str
    reason: str
    is_temporary: bool = False
    device_failed: bool = False


def open_bundle(folder: Path, loaded: Engine | None, devices: Devices, max_batch: int) -> Engine | RejectedBundle:
    """Loads, verifies and warms one bundle. Returns ``loaded`` if it is the same bundle. Raises nothing."""
    name, started = bundle_name(folder), time.monotonic()
    try:
        bundle = read_bundle(folder)
        if loaded is not None and loaded.card == bundle.card:
            return loaded
        engine = open_engine(bundle, devices, max_batch)
    except BundleError as error:
        return RejectedBundle(name, str(error), is_temporary=isinstance(error, BundleUnreadableError))
    except DeviceError as error:
        return RejectedBundle(name, str(error), device_failed=True)
    except Exception as error:
        # ONNX Runtime raises many kinds of exceptions for a faulty graph.
        return RejectedBundle(name, f"{name}: cannot be run: {error}")
    logger.info("Loaded %s on %s in %.1f s", name, engine.provider, time.monotonic() - started)
    return engine
