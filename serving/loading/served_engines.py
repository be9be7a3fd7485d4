"""The engines that requests can use, each with its scheduler: exchanged as a set, retired one by one."""

import asyncio
import logging
from collections.abc import Iterable

from models.bundle import Card
from serving.config.settings import Settings
from serving.errors import ApiError, ErrorCode, retry_later
from serving.inference.engine import Engine
from serving.inference.scheduler import JobPool, Scheduler
from serving.loading.registry import ModelRegistry
from serving.metrics import DropReason, Metrics
from serving.process.worker import end_if_it_hangs, has_not_hung

logger = logging.getLogger("figment.service")

_START_SECONDS = 60.0  # for the threads of all schedulers, which takes milliseconds


class ServedEngines:
    """The served engines and their schedulers; for the event loop's thread only."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._default_model = settings.default_model or ""
        self._schedulers: dict[Engine, Scheduler] = {}
        self.registry = ModelRegistry()

    def exchange(self, engines: Iterable[Engine], encoder: JobPool) -> set[Engine]:
        """Serves these engines and no others. Returns the removed ones: ``retire`` each of them.

        Whatever it raises, the served engines then stay as they were.
        """
        before, after = {*self.registry}, {*engines}
        if before == after:
            return set()
        # Schedulers start before requests can find their engines: a thread may fail to start.
        self._schedulers |= self._start_schedulers(after - before, encoder)
        # Chosen once: a model that is added later must not change the images of a request without a model.
        self._default_model = self._default_model or min(engine.card.name for engine in after)
        self.registry = ModelRegistry(after, self._default_model)
        for engine in before - after:
            self._metrics.remove_model(*_metric_labels(engine))
        for engine in after - before:
            self._metrics.model_info.labels(*_metric_labels(engine)).set(1)
        return before - after

    def _start_schedulers(self, engines: Iterable[Engine], encoder: JobPool) -> dict[Engine, Scheduler]:
        started: dict[Engine, Scheduler] = {}
        end_if_it_hangs(_START_SECONDS)  # on the event loop: no probe would be answered
        queue_images, deadline_seconds = self._settings.queue_images, self._settings.deadline_seconds
        try:
            for engine in engines:
                started[engine] = Scheduler(engine, encoder, queue_images, deadline_seconds, self._metrics)
        except BaseException:
            for scheduler in started.values():
                scheduler.close()
            raise
        finally:
            has_not_hung()
        return started

    async def retire(self, engine: Engine) -> None:
        """Ends a removed engine's scheduler after one deadline: earlier requests may still use it until then."""
        await asyncio.sleep(self._settings.deadline_seconds)
        scheduler = self._schedulers.pop(engine)
        scheduler.drop_all("draining")
        await asyncio.to_thread(scheduler.close)
        self._remove_series(engine.card)
        logger.info("Unloaded %s", _bundle_name(engine))

    def _remove_series(self, card: Card) -> None:
        """Removes the series of an unloaded bundle, unless another engine has the same version, or the same model."""
        others = [other.card for other in self._schedulers]
        if not any((other.name, other.version) == (card.name, card.version) for other in others):
            self._metrics.remove_unserved(card.name, str(card.version))
        if not any(other.name == card.name for other in others):
            self._metrics.remove_unserved(card.name, None)

    def scheduler_for(self, engine: Engine) -> Scheduler:
        """Returns the scheduler of an engine. Raises ``ApiError`` if the engine has just been unloaded."""
        scheduler = self._schedulers.get(engine)
        if scheduler is None:
            raise retry_later(ErrorCode.UNAVAILABLE, f"model: {_bundle_name(engine)} has just been unloaded.", 1)
        return scheduler

    @property
    def has_full_queue(self) -> bool:
        """Whether any queue is full."""
        return any(scheduler.is_full for scheduler in self._schedulers.values())

    def check_alive(self) -> None:
        """Raises ``ApiError`` if a scheduler's thread has died or is stuck: only a new process helps then."""
        for scheduler in self._schedulers.values():
            if fault := scheduler.fault(self._settings.stuck_seconds):
                raise ApiError(ErrorCode.UNAVAILABLE, fault)

    def drop_all(self, reason: DropReason) -> None:
        """Drops all waiting requests of all schedulers."""
        for scheduler in self._schedulers.values():
            scheduler.drop_all(reason)

    def close(self) -> None:
        """Ends the threads of all schedulers."""
        for scheduler in self._schedulers.values():
            scheduler.close()

    def __str__(self) -> str:
        return ", ".join(f"{_bundle_name(engine)} ({engine.provider})" for engine in self.registry)


def _bundle_name(engine: Engine) -> str:
    return f"{engine.card.name}/{engine.card.version}"


def _metric_labels(engine: Engine) -> tuple[str, str, str, str]:
    return engine.card.name, str(engine.card.version), engine.provider, engine.card.sha256
