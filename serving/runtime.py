"""The life of the service: loading, ready, draining; and all that runs meanwhile, from queues to threads."""

import asyncio
import contextlib
import enum
import gc
import logging
import threading
from contextlib import AbstractContextManager
from typing import Any

from serving.catalogue import Catalogue, Loaded, load_bundles
from serving.device import Devices
from serving.device_thread import DeviceThread
from serving.encoder import Encoder
from serving.engine import Engine
from serving.errors import Refusal, retry_later
from serving.metrics import Metrics
from serving.settings import Settings

logger = logging.getLogger("figment.service")

# Loading takes seconds; a client told to come back sooner only adds to the load.
_RETRY_LOADING_SECONDS = 2


class Phase(enum.Enum):
    """Where the service is in its life; only ``READY`` takes requests, ``UNUSABLE`` never gets there."""

    LOADING = "loading"
    READY = "ready"
    UNUSABLE = "unusable"
    DRAINING = "draining"


class _Hand(AbstractContextManager[None]):
    """The requests that are worked on: entered by each, left by each."""

    def __init__(self) -> None:
        self.requests = 0
        self._empty = asyncio.Event()

    def __enter__(self) -> None:
        self.requests += 1

    def __exit__(self, *_: object) -> None:
        self.requests -= 1
        if not self.requests:
            self._empty.set()

    async def emptied(self) -> None:
        """Waits until there are none."""
        self._empty.clear()
        if self.requests:
            await self._empty.wait()


class Runtime:
    """All state of the service in one process; for the event loop's thread only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.phase = Phase.LOADING
        self.catalogue = Catalogue((), None)
        self._loaded = Loaded((), (), None)
        self._threads: dict[Engine, DeviceThread] = {}
        self._hand = _Hand()
        metrics.ready.set(0)

    def start(self, devices: Devices) -> None:
        """Begins to load the bundles, in the background: the service answers meanwhile that it is not ready."""
        loop = asyncio.get_running_loop()
        self.encoder = Encoder(self.settings.encode_threads)

        def load() -> None:
            loaded = load_bundles(self.settings.models, devices, self.settings.max_batch)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self._enter_service, loaded)

        threading.Thread(target=load, name="load", daemon=True).start()

    def _enter_service(self, loaded: Loaded) -> None:
        self._loaded = loaded
        if self.phase is not Phase.LOADING:
            return
        if loaded.failure is not None:
            self.phase = Phase.UNUSABLE
            logger.critical("Never ready: %s", loaded.failure)
            return
        self.catalogue = Catalogue(loaded.engines, self.settings.default_model)
        for engine in loaded.engines:
            self._threads[engine] = DeviceThread(
                engine, self.encoder, self.settings.queue_images, self.settings.deadline_seconds, self.metrics
            )
            card = engine.card
            self.metrics.model_info.labels(card.name, str(card.version), engine.provider, card.sha256).set(1)
        # What has been loaded stays: a collection that looked through all of BentoML again would stop every thread for
        # a fifth of a second.
        gc.collect()
        gc.freeze()
        self.phase = Phase.READY
        self.metrics.ready.set(1)
        names = ", ".join(f"{engine.card.name}/{engine.card.version} ({engine.provider})" for engine in self.catalogue)
        refused = ", ".join(bundle.bundle for bundle in loaded.refused) or "none"
        logger.info("Ready with %s; refused: %s", names, refused)

    def thread_of(self, engine: Engine) -> DeviceThread:
        """The thread that runs a loaded generator."""
        return self._threads[engine]

    def status(self) -> dict[str, Any]:
        """What ``/readyz`` tells."""
        status: dict[str, Any] = {
            "status": self.phase.value,
            "models": [
                {"model": engine.card.name, "version": engine.card.version, "provider": engine.provider}
                for engine in self.catalogue
            ],
            "refused": [{"bundle": bundle.bundle, "reason": bundle.reason} for bundle in self._loaded.refused],
        }
        if self._loaded.failure is not None:
            status["reason"] = self._loaded.failure
        return status

    @property
    def retry_seconds(self) -> int:
        """After how many seconds a client that finds the service not ready should ask again."""
        return max(1, round(self.settings.drain_seconds)) if self.phase is Phase.DRAINING else _RETRY_LOADING_SECONDS

    def request_in_hand(self) -> AbstractContextManager[None]:
        """Around the work for one request, which the drain waits for.

        Raises ``RequestError`` unless the service is ready.
        """
        if self.phase is not Phase.READY:
            raise retry_later(Refusal.UNAVAILABLE, f"The service is {self.phase.value}.", self.retry_seconds)
        return self._hand

    async def drain(self) -> None:
        """Takes no more requests, and finishes those in hand, or gives them up when the time for it is over."""
        self.phase = Phase.DRAINING
        self.metrics.ready.set(0)
        logger.info("Draining: %d requests in hand", self._hand.requests)
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                await self._hand.emptied()
        except TimeoutError:
            logger.warning("Gave up %d requests after %g s", self._hand.requests, self.settings.drain_seconds)
            for thread in self._threads.values():
                thread.drop_all("draining")

    def close(self) -> None:
        """Ends all threads."""
        for thread in self._threads.values():
            thread.close()
        self.encoder.close()
