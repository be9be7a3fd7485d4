"""Keeps one generator busy: the event loop submits and drops requests, threads form batches and run them.

When the device has room for a batch, a thread takes the waiting images and runs them. One call then sends all finished
requests to the encoder. A GPU has room for one batch, a CPU for one batch on each core. If the waiting images fill a
batch, another thread forms the next batch while the GPU works. Fewer images stay in the queue until the device is free,
since more may arrive. Threads wait on conditions: there is no timer and no polling.
"""

import asyncio
import contextlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from serving.errors import ApiError, ErrorCode, retry_later
from serving.inference.batching import (
    BatchQueue,
    QueueFullError,
    RequestSlice,
    Selection,
    Throughput,
    can_take,
    halves,
    next_batch,
    thread_count,
)
from serving.inference.engine import Engine, Images, Inputs, PaddedBatch
from serving.inference.fifo_semaphore import FifoSemaphore
from serving.inference.pending import InferenceResult, Outcome, PendingRequest, drop_error, resolve_futures
from serving.metrics import DROP_REASONS, Metrics

logger = logging.getLogger("figment.device")

Job = tuple[Callable[[], Any], asyncio.Future[Any]]


class JobPool(Protocol):
    """Threads that postprocess the device's images."""

    def submit(self, jobs: list[Job], queue: str = "") -> None:
        """Runs each job in a thread and sets the job's future. ``queue`` names the queue of the jobs."""


@dataclass(slots=True)
class FormedBatch:
    """A batch that is ready for the device, and the slices of requests in it."""

    slices: list[RequestSlice[PendingRequest]]
    padded: PaddedBatch


_JOIN_SECONDS = 10

# On Linux. A thread that computes for milliseconds leaves its core at once to a thread that answers or rejects.
_NICENESS = 10


class Scheduler:
    """One engine, its queue and its threads. Call the public methods on the event loop."""

    def __init__(
        self, engine: Engine, encoder: JobPool, queue_images: int, deadline_seconds: float, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._throughput = Throughput(engine.max_batch)
        self._queue = BatchQueue[PendingRequest](queue_images, self._throughput)
        self._lock = threading.Lock()
        self._device_free = threading.Condition(self._lock)  # awaited by one thread for each batch on the device
        self._batch_full = threading.Condition(self._lock)  # awaited by the thread that forms a batch ahead
        self._in_flight = 0  # batches that are taken and whose outcomes are not delivered yet
        self._running_images = 0  # in these batches
        self._was_idle = True  # no image waited when the last batch had finished
        self._device = FifoSemaphore(engine.parallel_batches)
        self._closed = False
        self._wake_scheduled = False
        self._unresolved: dict[PendingRequest, None] = {}
        self._deadline_timer: asyncio.TimerHandle | None = None
        model = engine.card.name
        self._queued = metrics.queued_images.labels(model)
        self._queue_wait = metrics.queue_wait.labels(model)
        self._batch_images = metrics.batch_images.labels(model)
        self._padding = metrics.batch_padding.labels(model)
        self._inference = metrics.inference.labels(model, engine.provider)
        self._count_dropped: dict[str, Callable[[float], None]] = {
            reason: metrics.dropped_images.labels(model, reason).inc for reason in DROP_REASONS
        }
        self._reported_queued = 0
        self._working_since: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._work, args=[index], name=f"device-{model}-{index}", daemon=True)
            for index in range(thread_count(engine))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_full(self) -> bool:
        """Returns whether the queue has no room for a single image."""
        return not self._has_room(1)

    def ensure_capacity(self, images: int) -> None:
        """Raises ``ApiError`` if the queue has no room for this number of images, or no time for them.

        Call it early: a rejected request then needs no noise.
        """
        if not self._has_room(images):
            raise self._queue_full(images)

    def _has_room(self, images: int) -> bool:
        """Returns whether the queue would take a request now. ``submit`` decides: threads may take images meanwhile."""
        now = time.monotonic()
        return self._queue.has_capacity(images) and self._queue.keeps_deadlines(
            images, now, now + self._deadline_seconds, self._running_images
        )

    def submit(self, inputs: Inputs, postprocess: Callable[[InferenceResult], Any] | None = None) -> PendingRequest:
        """Queues a request. Its ``future`` gets the ``InferenceResult`` or an ``ApiError``.

        With ``postprocess``, the future gets what that returns for the result, in an encoder thread. The result goes
        there straight from the device, which saves a turn of the event loop. Raises ``ApiError`` if the queue is full,
        or if the request, or one that waits, would not be finished within the deadline.
        """
        now = time.monotonic()
        request = PendingRequest(
            len(inputs), now + self._deadline_seconds, inputs, postprocess, self._loop.create_future(), now
        )
        with self._lock:
            try:
                self._queue.add(request, now, self._running_images)
            except QueueFullError:
                raise self._queue_full(len(inputs)) from None
        if not self._wake_scheduled:
            # All requests of one turn of the loop share a batch, even if the device is idle.
            self._wake_scheduled = True
            self._loop.call_soon(self._wake)
        self._unresolved[request] = None
        request.future.add_done_callback(lambda _: self._unresolved.pop(request))
        if self._deadline_timer is None:
            self._deadline_timer = self._loop.call_later(self._deadline_seconds, self._drop_expired)
        return request

    def _queue_full(self, images: int) -> ApiError:
        self._count_dropped["queue_full"](images)
        waiting = self._queue.images + self._running_images
        # Whatever waits now has ended when its deadline has passed.
        seconds = min(self._throughput.seconds_for(waiting) or 0.0, self._deadline_seconds)
        wait = max(1, math.ceil(seconds))
        return retry_later(ErrorCode.QUEUE_FULL, f"{waiting} images wait already; try again in {wait} s.", wait)

    def _drop_expired(self) -> None:
        """Drops expired requests, since the device may be busy or stuck beyond their deadlines.

        One timer serves all requests: they arrive in the order of their deadlines.
        """
        now = time.monotonic()
        remaining = 0.0
        for request in [*self._unresolved]:
            remaining = request.deadline - now
            if remaining > 0:
                break
            self.drop(request, "deadline")
        self._deadline_timer = self._loop.call_later(remaining, self._drop_expired) if remaining > 0 else None

    def _wake(self) -> None:
        self._wake_scheduled = False
        with self._lock:
            self._notify_thread()
            self._update_queue_gauge()

    def drop(self, request: PendingRequest, reason: str) -> None:
        """Drops a request: its waiting images are not generated."""
        with self._lock:
            request.dropped, request.drop_reason = True, reason
            waiting = self._queue.cancel(request)
            self._update_queue_gauge()
        self._count_dropped[reason](waiting)
        if not request.future.done():
            request.future.set_exception(drop_error(reason))

    def drop_all(self, reason: str) -> None:
        """Drops all waiting requests."""
        with self._lock:
            dropped = [(request, request.waiting) for request in self._queue.cancel_all()]
            self._update_queue_gauge()
        for request, waiting in dropped:
            self._count_dropped[reason](waiting)
            if not request.future.done():
                request.future.set_exception(drop_error(reason))

    def fault(self, stuck_seconds: float) -> str | None:
        """Returns why the device is unhealthy, or None. A thread has died, or runs a batch for ``stuck_seconds``."""
        model = f"{self._engine.card.name}/{self._engine.card.version}"
        with self._lock:
            since = min(self._working_since.values(), default=None)
        if since is not None and time.monotonic() - since > stuck_seconds:
            return f"The device has worked on one batch of {model} for more than {stuck_seconds:g} s."
        alive = all(thread.is_alive() for thread in self._threads)
        return None if alive or self._closed else f"A thread that runs {model} has died."

    def close(self) -> None:
        """Ends the threads after their current batches. Requests that still wait get no answer: drop them before.

        Does not wait for a stuck device for more than ``_JOIN_SECONDS``, so that the process can end.
        """
        with self._lock:
            self._closed = True
            self._queue.cancel_all()
            self._update_queue_gauge()
            self._device_free.notify_all()
            self._batch_full.notify_all()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _update_queue_gauge(self) -> None:
        """Adds the change to the gauge, which several versions of a model share. The caller holds the lock."""
        self._queued.inc(self._queue.images - self._reported_queued)
        self._reported_queued = self._queue.images

    def _work(self, index: int) -> None:
        if sys.platform == "linux":  # niceness is per thread there; a thread may raise it, and may not lower it
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
        ready = self._device_free if index < self._engine.parallel_batches else self._batch_full
        while True:
            with self._lock:
                while not self._closed and not self._can_take():
                    ready.wait()
                if self._closed:
                    return
                selection, device_idle = self._take()
                self._notify_thread()
            formed = self._form(selection)
            with self._device:
                outcomes = self._run_formed(index, formed, device_idle) if formed is not None else []
            self._deliver(outcomes)
            with self._lock:
                # No notification: this thread itself looks at the queue next.
                self._in_flight -= 1
                self._running_images -= selection.images
                self._was_idle = not self._in_flight and not self._queue.images

    def _can_take(self) -> bool:
        """Returns whether a thread can take a batch, now or ahead of the device. The caller holds the lock."""
        return can_take(self._engine, self._queue.images, self._in_flight)

    def _notify_thread(self) -> None:
        """Wakes a thread for the free device or, if the device is busy, any idle thread. The caller holds the lock."""
        if self._can_take():
            self._device_free.notify()
            if self._in_flight >= self._engine.parallel_batches:
                self._batch_full.notify()

    def _take(self) -> tuple[Selection[PendingRequest], bool]:
        """Returns the next batch, and whether the device is idle apart from it. The caller holds the lock."""
        images, device_idle = next_batch(self._engine, self._queue.images, self._in_flight, self._was_idle)
        selection = self._queue.take(time.monotonic(), images)
        self._in_flight += 1
        self._running_images += selection.images
        self._update_queue_gauge()
        return selection, device_idle

    def _form(self, selection: Selection[PendingRequest]) -> FormedBatch | None:
        """Delivers the errors of expired requests. Returns the batch of the others, or None if there are none."""
        expired: list[Outcome] = []
        for request in selection.expired:
            self._count_dropped["deadline"](request.waiting)
            expired.append((request, drop_error("deadline")))
        self._deliver(expired)
        return self._pad(selection.slices) if selection.slices else None

    def _pad(self, slices: list[RequestSlice[PendingRequest]]) -> FormedBatch:
        return FormedBatch(slices, self._engine.pad([_inputs(part) for part in slices]))

    def _run_formed(self, index: int, formed: FormedBatch, device_idle: bool) -> list[Outcome]:
        """Runs a batch without the requests that were dropped meanwhile. Returns the requests that end with it."""
        kept = self._without_dropped(formed)
        if kept is None:
            return []
        with self._lock:
            self._working_since[index] = time.monotonic()
        try:
            return self._run(kept, device_idle)
        finally:
            with self._lock:
                del self._working_since[index]

    def _without_dropped(self, formed: FormedBatch) -> FormedBatch | None:
        """Returns a batch without the requests that were dropped since it was formed, or None if none is left."""
        kept = [part for part in formed.slices if not part.request.dropped]
        if len(kept) == len(formed.slices):
            return formed
        for part in formed.slices:
            if part.request.dropped and part.request.drop_reason:
                self._count_dropped[part.request.drop_reason](part.images)
        return self._pad(kept) if kept else None

    def _deliver(self, outcomes: list[Outcome]) -> None:
        """Sends results with ``postprocess`` to the encoder, and all other outcomes to the event loop."""
        jobs: list[Job] = []
        others: list[Outcome] = []
        for request, outcome in outcomes:
            if request.postprocess is not None and isinstance(outcome, InferenceResult):
                jobs.append((partial(request.postprocess, outcome), request.future))
            else:
                others.append((request, outcome))
        if jobs:
            self._encoder.submit(jobs, self._engine.card.name)
        if others:
            # The loop is closed if the service is killed while the device works.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(resolve_futures, others)

    def _run(self, formed: FormedBatch, device_idle: bool) -> list[Outcome]:
        count = formed.padded.count
        started = time.monotonic()
        try:
            images = self._engine.run(formed.padded, device_idle)
        except Exception as error:
            return self._retry_halves(formed, error)
        finished = time.monotonic()
        seconds = finished - started
        with self._lock:
            self._throughput.record(count, seconds if device_idle else seconds / self._engine.parallel_batches)
        self._inference.observe(seconds)
        self._batch_images.observe(count)
        if padding := self._engine.padding(count):
            self._padding.inc(padding)
        outcomes: list[Outcome] = []
        row = 0
        for part in formed.slices:
            if part.start == 0:
                part.request.queue_seconds = started - part.request.submitted
                self._queue_wait.observe(part.request.queue_seconds)
            stop = row + part.stop - part.start
            if result := self._add_images(part, images[row:stop], seconds, finished):
                outcomes.append((part.request, result))
            row = stop
        return outcomes

    def _add_images(
        self, part: RequestSlice[PendingRequest], images: Images, seconds: float, finished: float
    ) -> InferenceResult | None:
        """Adds a batch's images to their request. Returns the request's result if these images complete it."""
        request = part.request
        if len(images) == request.images:
            return InferenceResult(images, request.queue_seconds, seconds, finished)
        # Other slices may arrive at the same moment. Only the copy of the pixels needs no lock: its rows are disjoint.
        with self._lock:
            if request.generated is None:
                request.generated = np.empty((request.images, *images.shape[1:]), np.uint8)
        request.generated[part.start : part.stop] = images
        with self._lock:
            request.inference_seconds += seconds
            request.generated_count += len(images)
            if request.generated_count < request.images:
                return None
        return InferenceResult(request.generated, request.queue_seconds, request.inference_seconds, finished)

    def _retry_halves(self, formed: FormedBatch, error: Exception) -> list[Outcome]:
        """Runs both halves of a failed batch, and their halves: one image, or the batch's size, caused the error.

        A device may lack the memory for one batch size only. A request fails if one of its images fails alone.
        """
        if formed.padded.count > 1:
            logger.warning("A batch of %d images failed; its halves are tried alone: %s", formed.padded.count, error)
            outcomes: list[Outcome] = []
            for half in halves(formed.slices):
                # A request that has failed in the first half needs no more images.
                slices = [part for part in half if not part.request.dropped]
                if slices:
                    outcomes += self._run(self._pad(slices), False)
            return outcomes
        request = formed.slices[0].request
        logger.error("A request failed on the device: %s", error)
        with self._lock:
            request.dropped = True
            self._queue.cancel(request)
            self._update_queue_gauge()
        sentence = "The images could not be generated; the service's log says why."
        failure = ApiError(ErrorCode.BROKEN, sentence)
        failure.__cause__ = error  # which is logged with the request's id
        return [(request, failure)]


def _inputs(part: RequestSlice[PendingRequest]) -> Inputs:
    request = part.request
    return request.inputs if part.images == request.images else request.inputs.part(part.start, part.stop)
