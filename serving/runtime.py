"""The life of the service: loading, ready, draining; and all that runs meanwhile, from queues to threads."""

import asyncio
import contextlib
import enum
import gc
import logging
import threading
from collections.abc import Coroutine, Iterable
from contextlib import AbstractContextManager
from typing import Any

from models.bundle import BundleError
from serving.catalogue import Catalogue, Loaded, Refused, load_bundles, open_bundle
from serving.device import DeviceError, Devices
from serving.device_threads import DeviceThreads
from serving.encoder import Encoder
from serving.engine import Engine
from serving.errors import Refusal, RequestError, retry_later
from serving.metrics import Metrics
from serving.reload import Watch
from serving.settings import Settings

logger = logging.getLogger("figment.service")

_OBJECTS_BEFORE_COLLECTION = 20_000

# Loading takes seconds; a client told to come back sooner only adds to the load.
_RETRY_LOADING_SECONDS = 2


class Phase(enum.Enum):
    """Where the service is in its life; ``READY`` and ``LINGERING`` take requests, ``UNUSABLE`` never gets there."""

    LOADING = "loading"
    READY = "ready"
    UNUSABLE = "unusable"
    LINGERING = "lingering"
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
        # Whether the process is about to end, so that no connection should be kept for another request.
        self.is_leaving = False
        self.catalogue = Catalogue((), None)
        self._refused: dict[str, Refused] = {}
        self._failure: str | None = None
        self._threads: dict[Engine, DeviceThreads] = {}
        self._hand = _Hand()
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.ready.set(0)

    def start(self, devices: Devices) -> None:
        """Begins to load the bundles, in the background: the service answers meanwhile that it is not ready."""
        loop = asyncio.get_running_loop()
        self.encoder = Encoder(self.settings.encode_threads)

        def load() -> None:
            watch = (
                Watch(self.settings.models) if self.settings.reload_seconds and self.settings.models.is_dir() else None
            )
            loaded = load_bundles(self.settings.models, devices, self.settings.max_batch)
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(self._enter_service, loaded)
                if watch is not None:
                    loop.call_soon_threadsafe(self._begin, self._follow(watch, devices))

        threading.Thread(target=load, name="load", daemon=True).start()

    def _enter_service(self, loaded: Loaded) -> None:
        if self.phase is not Phase.LOADING:
            return
        self._refused = {refused.bundle: refused for refused in loaded.refused}
        self._failure = loaded.failure
        if loaded.failure is not None:
            self.phase = Phase.UNUSABLE
            logger.critical("Never ready: %s", loaded.failure)
            return
        self._serve(loaded.engines)
        # What has been loaded stays: a collection that looked through all of BentoML again would stop every thread for
        # a fifth of a second.
        gc.collect()
        gc.freeze()
        # A request makes hundreds of objects and no cycles: Python's own 700 would look for some at every third.
        gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
        self._become_ready()

    def _become_ready(self) -> None:
        self.phase = Phase.READY
        self._failure = None
        self.metrics.ready.set(1)
        names = ", ".join(f"{_name(engine)} ({engine.provider})" for engine in self.catalogue)
        logger.info("Ready with %s; refused: %s", names, ", ".join(self._refused) or "none")

    def _serve(self, engines: Iterable[Engine]) -> None:
        """Makes these the generators that requests find; those before them finish what they have."""
        before = {*self.catalogue}
        self.catalogue = Catalogue(engines, self.settings.default_model)
        after = {*self.catalogue}
        for engine in before - after:
            self._tell_loaded(engine, False)
            self._begin(self._retire(engine))
        for engine in after - before:
            self._tell_loaded(engine, True)
            self._threads[engine] = DeviceThreads(
                engine, self.encoder, self.settings.queue_images, self.settings.deadline_seconds, self.metrics
            )

    def _tell_loaded(self, engine: Engine, loaded: bool) -> None:
        card = engine.card
        self.metrics.model_info.labels(card.name, str(card.version), engine.provider, card.sha256).set(loaded)

    async def _retire(self, engine: Engine) -> None:
        """Whoever found the generator before it went may ask for its images until his deadline has passed."""
        await asyncio.sleep(self.settings.deadline_seconds)
        thread = self._threads.pop(engine)
        thread.drop_all("draining")
        await asyncio.to_thread(thread.close)
        logger.info("Unloaded %s", _name(engine))

    async def _follow(self, watch: Watch, devices: Devices) -> None:
        """Loads what comes and retires what goes, for as long as the service runs."""
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            try:
                changes = await asyncio.to_thread(watch.look)
                for folder in changes.come:
                    opened = await asyncio.to_thread(open_bundle, folder, devices, self.settings.max_batch)
                    self._take_in(opened)
            except (BundleError, DeviceError) as error:
                logger.error("Looked for new bundles in vain: %s", error)
                continue
            self._let_go(changes.gone)

    def _take_in(self, opened: Engine | Refused) -> None:
        if isinstance(opened, Refused):
            self._refused[opened.bundle] = opened
            return
        name = _name(opened)
        self._refused.pop(name, None)
        self._serve([*(engine for engine in self.catalogue if _name(engine) != name), opened])
        if self.phase is Phase.UNUSABLE:
            self._become_ready()

    def _let_go(self, names: Iterable[str]) -> None:
        gone = {*names}
        for name in gone:
            self._refused.pop(name, None)
        if gone:
            self._serve([engine for engine in self.catalogue if _name(engine) not in gone])

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def thread_of(self, engine: Engine) -> DeviceThreads:
        """The thread that runs a loaded generator.

        Raises ``RequestError`` if it has been unloaded since it was found.
        """
        thread = self._threads.get(engine)
        if thread is None:
            raise retry_later(Refusal.UNAVAILABLE, f"model: {_name(engine)} has just been unloaded.", 1)
        return thread

    @property
    def is_crowded(self) -> bool:
        """Whether the service is ready and has a queue that is full."""
        return self.phase is Phase.READY and any(thread.is_full for thread in self._threads.values())

    def check_alive(self) -> None:
        """Raises ``RequestError`` if a device's thread has died or is stuck: only a new process helps then."""
        for thread in self._threads.values():
            if fault := thread.fault(self.settings.stuck_seconds):
                raise RequestError(Refusal.UNAVAILABLE, fault)

    def status(self) -> dict[str, Any]:
        """What ``/readyz`` tells."""
        status: dict[str, Any] = {
            "status": self.phase.value,
            "models": [
                {"model": engine.card.name, "version": engine.card.version, "provider": engine.provider}
                for engine in self.catalogue
            ],
            "refused": [{"bundle": bundle.bundle, "reason": bundle.reason} for bundle in self._refused.values()],
        }
        if self._failure is not None:
            status["reason"] = self._failure
        return status

    @property
    def retry_seconds(self) -> int:
        """After how many seconds a client that finds the service not ready should ask again."""
        return max(1, round(self.settings.drain_seconds)) if self.is_leaving else _RETRY_LOADING_SECONDS

    def check_ready(self) -> None:
        """Raises ``RequestError`` unless requests should be sent here, which is over before they are refused."""
        if self.phase is not Phase.READY:
            raise self._unavailable()

    def request_in_hand(self) -> AbstractContextManager[None]:
        """Around the work for one request, which the drain waits for.

        Raises ``RequestError`` unless the service takes requests.
        """
        if self.phase is not Phase.READY and self.phase is not Phase.LINGERING:
            raise self._unavailable()
        return self._hand

    def _unavailable(self) -> RequestError:
        return retry_later(Refusal.UNAVAILABLE, f"The service is {self.phase.value}.", self.retry_seconds)

    async def linger(self, is_over: asyncio.Event) -> None:
        """Is ready no more, and answers for a while yet, or until ``is_over``: whoever sends requests here has to learn
        first that they are to go elsewhere.
        """
        if self.phase is not Phase.READY:
            return
        self._leave(Phase.LINGERING)
        logger.info("Lingering for %g s", self.settings.linger_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.linger_seconds):
                await is_over.wait()

    def _leave(self, phase: Phase) -> None:
        self.phase = phase
        self.is_leaving = True
        for task in self._tasks:
            task.cancel()
        self.metrics.ready.set(0)

    async def drain(self) -> None:
        """Takes no more requests, and finishes those in hand, or gives them up when the time for it is over."""
        self._leave(Phase.DRAINING)
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
        for task in self._tasks:
            task.cancel()
        for thread in self._threads.values():
            thread.close()
        self.encoder.close()


def _name(engine: Engine) -> str:
    return f"{engine.card.name}/{engine.card.version}"
