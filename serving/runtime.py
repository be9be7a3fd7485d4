"""The life cycle of a worker process: loading, ready, lingering, draining."""

import asyncio
import contextlib
import enum
import logging
import weakref
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from models.store import StoreUrl
from serving.config.settings import Settings
from serving.encoding.pool import EncoderPool
from serving.errors import ApiError, ErrorCode, retry_later
from serving.inference.engine import Engine
from serving.inference.scheduler import Scheduler
from serving.loading.loader import LoadResult
from serving.loading.poll_log import PollLog
from serving.loading.registry import ModelRegistry
from serving.loading.served_engines import ServedEngines
from serving.loading.start import StartedLoad
from serving.metrics import Metrics
from serving.process.worker import exempt_loaded_objects_from_gc, release_free_memory, run_in_daemon_thread

logger = logging.getLogger("figment.service")

# Loading takes seconds. A client that retries sooner only adds to the load.
_RETRY_LOADING_SECONDS = 2

# A start must not depend on the network in one moment. Without anything to serve, a store is asked until it answers.
_RETRY_STORE_SECONDS = 10.0

_LAST_REFERENCE_CHECKS = 100  # for a second


class Phase(enum.Enum):
    """The phases of the service's life. It accepts requests in ``READY`` and ``LINGERING``."""

    LOADING = "loading"
    READY = "ready"
    UNUSABLE = "unusable"
    LINGERING = "lingering"
    DRAINING = "draining"


class InFlight(AbstractContextManager[None]):
    """Counts the requests in flight: each enters it and leaves it."""

    def __init__(self) -> None:
        self.requests = 0
        self._empty = asyncio.Event()

    def __enter__(self) -> None:
        self.requests += 1

    def __exit__(self, *_: object) -> None:
        self.requests -= 1
        if not self.requests:
            self._empty.set()

    async def wait_until_empty(self) -> None:
        """Waits until no request is in flight."""
        self._empty.clear()
        if self.requests:
            await self._empty.wait()


class Runtime:
    """The state of the service in one process; for the event loop's thread only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self.phase = Phase.LOADING
        # Whether the process is about to end. Connections are then closed after their current response.
        self.is_shutting_down = False
        self._served = ServedEngines(settings, metrics)
        self._loaded = LoadResult()
        self._polls = PollLog(metrics)
        self._in_flight = InFlight()
        self._tasks: set[asyncio.Task[None]] = set()
        metrics.ready.set(0)
        metrics.alive.set(1)

    def start(self, load: StartedLoad) -> None:
        """Serves the bundles once they are loaded. Meanwhile the service responds that it is not ready."""
        self.encoder = EncoderPool(self.settings.encode_threads)
        self._devices = load.devices
        self._start_task(self._watch_bundles(load))

    async def _watch_bundles(self, load: StartedLoad) -> None:
        """Applies the first poll. With ``reload_seconds``, keeps polling for added and removed ones until the drain."""
        await self._await_poll(load)
        while self._poll_seconds:
            await asyncio.sleep(self._poll_seconds)
            await self._await_poll(load)

    @property
    def _poll_seconds(self) -> float:
        """Seconds until the next poll; 0: there is none."""
        if isinstance(self.settings.models, StoreUrl) and not self._loaded.engines:
            return min(self.settings.reload_seconds, _RETRY_STORE_SECONDS) or _RETRY_STORE_SECONDS
        return self.settings.reload_seconds

    async def _await_poll(self, load: StartedLoad) -> None:
        """Applies a poll of the source of bundles. Logs and reports any error: the next poll may succeed."""
        try:
            if self._apply(await asyncio.wrap_future(load.next_poll())):
                await _release_free_memory()
        except Exception as error:
            reason = f"cannot load the bundles in {load.loader.source}: {error}"
            self._polls.record_failure(reason, error)
            if not self._loaded.engines:
                self._apply(replace(self._loaded, failure=reason))
        else:
            self._polls.record_success()

    def _apply(self, loaded: LoadResult) -> bool:
        """Serves the loaded engines, and updates the phase. Returns whether there are other engines than before."""
        if self.phase not in (Phase.LOADING, Phase.UNUSABLE, Phase.READY):
            return False  # the process is about to end
        before, phase_before = self._loaded, self.phase
        for engine in self._served.exchange(loaded.engines, self.encoder):
            self._start_task(self._retire(engine))
        self._loaded = loaded
        if not loaded.engines:
            self.phase = Phase.UNUSABLE
        elif self.phase is not Phase.READY:
            self.phase = Phase.READY
            exempt_loaded_objects_from_gc()
        self.metrics.ready.set(self.is_ready)
        self.metrics.rejected_bundles.set(len(loaded.rejected))
        self.metrics.device_fallback.set(self._devices.has_fallen_back)
        if loaded.failure != before.failure or self.phase is not phase_before:
            self._log_readiness(loaded)
        return loaded.engines != before.engines

    async def _retire(self, engine: Engine) -> None:
        """Unloads a removed engine after one deadline, and returns its memory to the system."""
        await self._served.retire(engine)
        reference = weakref.ref(engine)
        del engine
        # A thread that has used it may refer to it for a moment longer than it works.
        for _ in range(_LAST_REFERENCE_CHECKS):
            if reference() is None:
                break
            await asyncio.sleep(0.01)
        await _release_free_memory()

    def _log_readiness(self, loaded: LoadResult) -> None:
        if loaded.failure is None:
            rejected = ", ".join(bundle.bundle for bundle in loaded.rejected) or "none"
            default = self.registry.default
            logger.info("Ready with %s; default model: %s; rejected: %s", self._served, default, rejected)
        elif self._poll_seconds:
            logger.critical("Not ready: %s; bundles are looked for again in %g s", loaded.failure, self._poll_seconds)
        else:
            logger.critical("Never ready: %s", loaded.failure)

    def _start_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def registry(self) -> ModelRegistry:
        """The engines that requests can name."""
        return self._served.registry

    def scheduler_for(self, engine: Engine) -> Scheduler:
        """Returns the scheduler of an engine. Raises ``ApiError`` if the engine has just been unloaded."""
        return self._served.scheduler_for(engine)

    @property
    def is_crowded(self) -> bool:
        """Whether the service is ready and has a full queue."""
        return self.phase is Phase.READY and self._served.has_full_queue

    @property
    def is_ready(self) -> bool:
        """Whether the service accepts requests, and its bundles are still on disk for the next start."""
        return self.phase is Phase.READY and self._loaded.failure is None

    def check_alive(self) -> None:
        """Raises ``ApiError`` if a scheduler's thread has died or is stuck: only a new process helps then."""
        self._served.check_alive()

    def update_alive_gauge(self) -> None:
        """Sets ``figment_alive``. Call it before each scrape: a thread that is stuck cannot report itself."""
        try:
            self.check_alive()
        except ApiError:
            self.metrics.alive.set(0)
        else:
            self.metrics.alive.set(1)

    def status(self) -> dict[str, Any]:
        """Returns the body of ``/readyz``."""
        loaded = self._loaded
        emptied = self.phase is Phase.READY and loaded.failure is not None
        status: dict[str, Any] = {
            "status": "emptied" if emptied else self.phase.value,
            "models": [
                {"model": engine.card.name, "version": engine.card.version, "provider": engine.provider}
                for engine in self.registry
            ],
            "refused": [{"bundle": bundle.bundle, "reason": bundle.reason} for bundle in loaded.rejected],
            "ignored": [{"folder": folder, "reason": reason} for folder, reason in loaded.ignored],
            "retained": [*loaded.retained],
        }
        if loaded.failure is not None:
            status["reason"] = loaded.failure
            if not self._poll_seconds:
                status["reason"] += "; it stays so until a restart, since FIGMENT_RELOAD_SECONDS is 0"
        if self.settings.reload_seconds:
            status["reload"] = self._polls.status()
        return status

    @property
    def retry_seconds(self) -> int:
        """Seconds after which a client that finds the service not ready should retry."""
        return max(1, round(self.settings.drain_seconds)) if self.is_shutting_down else _RETRY_LOADING_SECONDS

    def check_ready(self) -> None:
        """Raises ``ApiError`` unless balancers should send requests here. While lingering, requests still succeed."""
        if not self.is_ready:
            reason = self._loaded.failure or f"the service is {self.phase.value}"
            raise retry_later(ErrorCode.UNAVAILABLE, f"Not ready: {reason}.", self.retry_seconds)

    def track_request(self) -> AbstractContextManager[None]:
        """Returns a context for the work on one request: the drain waits until it ends.

        Raises ``ApiError`` unless the service accepts requests.
        """
        if self.phase is not Phase.READY and self.phase is not Phase.LINGERING:
            raise retry_later(ErrorCode.UNAVAILABLE, f"The service is {self.phase.value}.", self.retry_seconds)
        return self._in_flight

    async def linger(self, cut_short: asyncio.Event) -> None:
        """Reports not ready, and still responds for ``linger_seconds`` or until ``cut_short`` is set.

        Balancers need that time to learn that they must send their requests elsewhere.
        """
        if self.phase is not Phase.READY:
            return
        self._begin_shutdown(Phase.LINGERING)
        logger.info("Lingering for %g s", self.settings.linger_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.settings.linger_seconds):
                await cut_short.wait()

    def _begin_shutdown(self, phase: Phase) -> None:
        self.phase = phase
        self.is_shutting_down = True
        self._cancel_tasks()
        self.metrics.ready.set(0)

    def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def drain(self) -> None:
        """Accepts no more requests, and waits ``drain_seconds`` at most for those in flight; then drops them."""
        self._begin_shutdown(Phase.DRAINING)
        logger.info("Draining: %d requests in flight", self._in_flight.requests)
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                await self._in_flight.wait_until_empty()
        except TimeoutError:
            logger.warning("Dropped %d requests after %g s", self._in_flight.requests, self.settings.drain_seconds)
            self._served.drop_all("draining")

    def close(self) -> None:
        """Ends all threads."""
        self._cancel_tasks()
        self._served.close()
        self.encoder.close()


async def _release_free_memory() -> None:
    await run_in_daemon_thread(release_free_memory, "release-memory")
