"""The life of the service: loading, ready, lingering, draining; and all that runs meanwhile, from queues to threads."""

import asyncio
import contextlib
import enum
import gc
import logging
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from serving.config.settings import Settings
from serving.encoding.pool import EncoderPool
from serving.errors import ApiError, ErrorCode, retry_later
from serving.inference.device import Devices
from serving.inference.engine import Engine
from serving.inference.scheduler import Scheduler
from serving.loading.loader import BundleLoader, LoadResult
from serving.loading.poll_log import PollLog
from serving.loading.registry import ModelRegistry, open_bundle
from serving.metrics import Metrics
from serving.process.daemon_thread import run_in_daemon_thread

logger = logging.getLogger("figment.service")

_OBJECTS_BEFORE_COLLECTION = 20_000

# Loading takes seconds; a client told to come back sooner only adds to the load.
_RETRY_LOADING_SECONDS = 2


class Phase(enum.Enum):
    """Where the service is in its life. ``READY`` and ``LINGERING`` take requests."""

    LOADING = "loading"
    READY = "ready"
    UNUSABLE = "unusable"
    LINGERING = "lingering"
    DRAINING = "draining"


class InFlight(AbstractContextManager[None]):
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
        self.is_shutting_down = False
        self.registry = ModelRegistry()
        self._default = settings.default_model or ""
        self._loaded = LoadResult()
        self._polls = PollLog(metrics)
        self._threads: dict[Engine, Scheduler] = {}
        self._hand = InFlight()
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.ready.set(0)

    def start(self, devices: Devices) -> None:
        """Begins to load the bundles, in the background: the service answers meanwhile that it is not ready."""
        self.encoder = EncoderPool(self.settings.encode_threads)
        opened = partial(open_bundle, devices=devices, max_batch=self.settings.max_batch)
        self._start_task(self._watch_bundles(BundleLoader(self.settings.models, opened)))

    async def _watch_bundles(self, loader: BundleLoader) -> None:
        """Loads the bundles; then, where that is set, loads and unloads what is added and removed, until the drain."""
        await self._poll(loader)
        while self.settings.reload_seconds:
            await asyncio.sleep(self.settings.reload_seconds)
            await self._poll(loader)

    async def _poll(self, loader: BundleLoader) -> None:
        """Looks into the folder of bundles once. Whatever goes wrong is logged and reported: the next call may help."""
        try:
            self._apply(await run_in_daemon_thread(loader.poll))
        except Exception as error:
            reason = f"cannot load the bundles in {self.settings.models}: {error}"
            self._polls.failed(reason, error)
            if not self._loaded.engines:
                self._apply(replace(self._loaded, failure=reason))
        else:
            self._polls.succeeded()

    def _apply(self, loaded: LoadResult) -> None:
        """Makes what is loaded the generators that requests find, and says so where that makes the service ready."""
        if self.phase not in (Phase.LOADING, Phase.UNUSABLE, Phase.READY):
            return  # the process is about to end
        before, was_phase = self._loaded, self.phase
        self._serve(loaded)
        self._loaded = loaded
        if not loaded.engines:
            self.phase = Phase.UNUSABLE
        elif self.phase is not Phase.READY:
            self.phase = Phase.READY
            _keep_from_collection()
        self.metrics.ready.set(self.is_ready)
        if loaded.failure == before.failure and self.phase is was_phase:
            return
        if loaded.failure is None:
            names = ", ".join(f"{_name(engine)} ({engine.provider})" for engine in self.registry)
            refused = ", ".join(bundle.bundle for bundle in loaded.refused) or "none"
            logger.info("Ready with %s; default model: %s; refused: %s", names, self._default, refused)
        elif self.settings.reload_seconds:
            logger.critical(
                "Not ready: %s; the folder is read again in %g s", loaded.failure, self.settings.reload_seconds
            )
        else:
            logger.critical("Never ready: %s", loaded.failure)

    def _serve(self, loaded: LoadResult) -> None:
        before, after = {*self.registry}, {*loaded.engines}
        if before == after:
            return
        # Before any request can find them: a thread that does not start leaves what is served as it is.
        added: dict[Engine, Scheduler] = {}
        try:
            for engine in after - before:
                added[engine] = Scheduler(
                    engine, self.encoder, self.settings.queue_images, self.settings.deadline_seconds, self.metrics
                )
        except BaseException:
            for thread in added.values():
                thread.close()
            raise
        self._threads |= added
        # Chosen once: a model that is added later must not change what a request without a model draws.
        self._default = self._default or min(engine.card.name for engine in after)
        self.registry = ModelRegistry(after, self._default)
        for engine in before - after:
            self.metrics.remove_model(*_labels(engine))
            self._start_task(self._retire(engine))
        for engine in after - before:
            self.metrics.model_info.labels(*_labels(engine)).set(1)

    async def _retire(self, engine: Engine) -> None:
        """Whoever found the generator before it went may ask for its images until his deadline has passed."""
        await asyncio.sleep(self.settings.deadline_seconds)
        thread = self._threads.pop(engine)
        thread.drop_all("draining")
        await asyncio.to_thread(thread.close)
        logger.info("Unloaded %s", _name(engine))

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def scheduler_for(self, engine: Engine) -> Scheduler:
        """The thread that runs a loaded generator.

        Raises ``ApiError`` if it has been unloaded since it was found.
        """
        thread = self._threads.get(engine)
        if thread is None:
            raise retry_later(ErrorCode.UNAVAILABLE, f"model: {_name(engine)} has just been unloaded.", 1)
        return thread

    @property
    def is_crowded(self) -> bool:
        """Whether the service is ready and has a queue that is full."""
        return self.phase is Phase.READY and any(thread.is_full for thread in self._threads.values())

    @property
    def is_ready(self) -> bool:
        """Whether the service takes requests, and its bundles are still on disk for the next one to start with."""
        return self.phase is Phase.READY and self._loaded.failure is None

    def check_alive(self) -> None:
        """Raises ``ApiError`` if a device's thread has died or is stuck: only a new process helps then."""
        for thread in self._threads.values():
            if fault := thread.fault(self.settings.stuck_seconds):
                raise ApiError(ErrorCode.UNAVAILABLE, fault)

    def status(self) -> dict[str, Any]:
        """What ``/readyz`` tells."""
        loaded = self._loaded
        emptied = self.phase is Phase.READY and loaded.failure is not None
        status: dict[str, Any] = {
            "status": "emptied" if emptied else self.phase.value,
            "models": [
                {"model": engine.card.name, "version": engine.card.version, "provider": engine.provider}
                for engine in self.registry
            ],
            "refused": [{"bundle": bundle.bundle, "reason": bundle.reason} for bundle in loaded.refused],
            "ignored": [{"folder": folder, "reason": reason} for folder, reason in loaded.ignored],
            "retained": [*loaded.retained],
        }
        if loaded.failure is not None:
            status["reason"] = loaded.failure
            if not self.settings.reload_seconds:
                status["reason"] += "; it stays so until a restart, since FIGMENT_RELOAD_SECONDS is 0"
        if self.settings.reload_seconds:
            status["reload"] = self._polls.status()
        return status

    @property
    def retry_seconds(self) -> int:
        """After how many seconds a client that finds the service not ready should ask again."""
        return max(1, round(self.settings.drain_seconds)) if self.is_shutting_down else _RETRY_LOADING_SECONDS

    def check_ready(self) -> None:
        """Raises ``ApiError`` unless requests should be sent here, which is over before they are refused."""
        if not self.is_ready:
            reason = self._loaded.failure or f"the service is {self.phase.value}"
            raise retry_later(ErrorCode.UNAVAILABLE, f"Not ready: {reason}.", self.retry_seconds)

    def track_request(self) -> AbstractContextManager[None]:
        """Around the work for one request, which the drain waits for.

        Raises ``ApiError`` unless the service takes requests.
        """
        if self.phase is not Phase.READY and self.phase is not Phase.LINGERING:
            raise self._unavailable()
        return self._hand

    def _unavailable(self) -> ApiError:
        return retry_later(ErrorCode.UNAVAILABLE, f"The service is {self.phase.value}.", self.retry_seconds)

    async def linger(self, is_over: asyncio.Event) -> None:
        """Is ready no more, and answers for a while yet, or until ``is_over``: whoever sends requests here has to learn
        first that they are to go elsewhere.
        """
        if self.phase is not Phase.READY:
            return
        self._begin_shutdown(Phase.LINGERING)
        logger.info("Lingering for %g s", self.settings.linger_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.linger_seconds):
                await is_over.wait()

    def _begin_shutdown(self, phase: Phase) -> None:
        self.phase = phase
        self.is_shutting_down = True
        for task in self._tasks:
            task.cancel()
        self.metrics.ready.set(0)

    async def drain(self) -> None:
        """Takes no more requests, and finishes those in hand, or gives them up when the time for it is over."""
        self._begin_shutdown(Phase.DRAINING)
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


def _labels(engine: Engine) -> tuple[str, str, str, str]:
    return engine.card.name, str(engine.card.version), engine.provider, engine.card.sha256


def _keep_from_collection() -> None:
    # What has been loaded stays: a collection that looked through all of BentoML again would stop every thread for
    # a fifth of a second.
    gc.collect()
    gc.freeze()
    # A request makes hundreds of objects and no cycles: Python's own 700 would look for some at every third.
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION)
