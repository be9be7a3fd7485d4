"""The threads that keep one generator busy, and the event loop's end of them.

The event loop submits and cancels; a thread takes what waits whenever the device has room for a batch, runs it, and
sends all finished requests on to the encoder with one call. A GPU has room for one batch, the cores for one each. If as
much waits as a batch holds, one thread more forms the next batch while the GPU works; less is left in the queue until
the device is free, since more may come. Threads wait on a condition: there is no timer and no polling.
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
from serving.inference.batching import Batch, BatchQueue, QueueFullError, Slice, Throughput
from serving.inference.engine import Engine, Images, Inputs, PaddedBatch
from serving.inference.fifo_semaphore import Places
from serving.inference.pending import InferenceResult, Outcome, PendingRequest, deliver, too_late
from serving.metrics import DROP_REASONS, Metrics

logger = logging.getLogger("figment.device")


Job = tuple[Callable[[], Any], asyncio.Future[Any]]


class JobPool(Protocol):
    """Threads that finish what the device has computed."""

    def submit(self, jobs: list[Job], line: str = "") -> None:
        """Runs each job in a thread and gives its result to the future with it; ``line`` names their queue."""


@dataclass(slots=True)
class FormedBatch:
    """What the device does next: shares of requests, and the one batch of them all."""

    slices: list[Slice[PendingRequest]]
    joined: PaddedBatch


_JOIN_SECONDS = 10

# Linux's: a thread that computes for milliseconds leaves its core at once to one that has to answer or to refuse.
_NICENESS = 10


class Scheduler:
    """One engine, its queue and its threads. What is public is for the event loop."""

    def __init__(
        self, engine: Engine, encoder: JobPool, queue_images: int, deadline_seconds: float, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._queue = BatchQueue[PendingRequest](queue_images)
        self._throughput = Throughput()
        self._lock = threading.Lock()
        self._free = threading.Condition(self._lock)  # for as many threads as batches run at once
        self._full = threading.Condition(self._lock)  # for the one that forms a batch ahead
        self._busy = 0  # batches that are taken and not yet handed on
        self._was_idle = True  # nothing was left to do when the last batch was done
        self._device = Places(engine.parallel)
        self._closed = False
        self._to_wake = False
        self._open: dict[PendingRequest, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        model = engine.card.name
        self._queued = metrics.queued_images.labels(model)
        self._queue_wait = metrics.queue_wait.labels(model)
        self._batch_images = metrics.batch_images.labels(model)
        self._padding = metrics.batch_padding.labels(model)
        self._inference = metrics.inference.labels(model, engine.provider)
        self._dropped: dict[str, Callable[[float], None]] = {
            reason: metrics.dropped_images.labels(model, reason).inc for reason in DROP_REASONS
        }
        self._reported_queued = 0
        self._working_since: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._run, args=[index], name=f"device-{model}-{index}", daemon=True)
            # Where one batch fills the device, a second thread forms the next one ahead.
            for index in range(max(2, engine.parallel))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a single image."""
        return not self._queue.has_capacity(1)

    def ensure_capacity(self, images: int) -> None:
        """Raises ``ApiError`` if there is no room for so many images: asked early, it spares making their noise."""
        if not self._queue.has_capacity(images):
            raise self._queue_full(images)

    def submit(self, inputs: Inputs, finish: Callable[[InferenceResult], Any] | None = None) -> PendingRequest:
        """Puts a request in the queue; its ``future`` gets the images, or a ``ApiError``.

        With ``finish``, it gets what that makes of the images in an encoder thread: going there straight from the
        device spares the event loop a turn. Raises ``ApiError`` if there is no room.
        """
        now = time.monotonic()
        ticket = PendingRequest(
            len(inputs), now + self._deadline_seconds, inputs, finish, self._loop.create_future(), now
        )
        with self._lock:
            try:
                self._queue.add(ticket)
            except QueueFullError:
                raise self._queue_full(len(inputs)) from None
        if not self._to_wake:
            # All that arrives in one turn of the loop goes into one batch, even if the device is idle.
            self._to_wake = True
            self._loop.call_soon(self._wake)
        self._open[ticket] = None
        ticket.future.add_done_callback(lambda _: self._open.pop(ticket))
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline_seconds, self._drop_late)
        return ticket

    def _queue_full(self, images: int) -> ApiError:
        self._dropped["queue_full"](images)
        wait = max(1, math.ceil(self._throughput.seconds_for(self._queue.images)))
        sentence = f"{self._queue.images} images wait already; try again in {wait} s."
        return retry_later(ErrorCode.QUEUE_FULL, sentence, wait)

    def _drop_late(self) -> None:
        """Gives up what is late, since the device may be busy or stuck for longer than that.

        One timer serves all: requests come in the order of their deadlines.
        """
        now = time.monotonic()
        left = 0.0
        for ticket in [*self._open]:
            left = ticket.deadline - now
            if left > 0:
                break
            self.drop(ticket, "deadline")
        self._timer = self._loop.call_later(left, self._drop_late) if left > 0 else None

    def _wake(self) -> None:
        self._to_wake = False
        with self._lock:
            self._wake_one()
            self._update_queue_gauge()

    def drop(self, ticket: PendingRequest, reason: str) -> None:
        """Gives a request up: what waits of it is never made."""
        with self._lock:
            ticket.given_up, ticket.reason = True, reason
            waited = self._queue.cancel(ticket)
            self._update_queue_gauge()
        self._forget(waited, reason)
        if not ticket.future.done():
            ticket.future.set_exception(too_late(reason))

    def drop_all(self, reason: str) -> None:
        """Gives up all requests that wait."""
        with self._lock:
            waiting = [(ticket, ticket.waiting) for ticket in self._queue.cancel_all()]
            self._update_queue_gauge()
        for ticket, waited in waiting:
            self._forget(waited, reason)
            if not ticket.future.done():
                ticket.future.set_exception(too_late(reason))

    def fault(self, stuck_seconds: float) -> str | None:
        """Why too few images will be made: a thread has died, or is on one batch for so long. Else nothing."""
        model = f"{self._engine.card.name}/{self._engine.card.version}"
        with self._lock:
            since = min(self._working_since.values(), default=None)
        if since is not None and time.monotonic() - since > stuck_seconds:
            return f"The device has worked on one batch of {model} for more than {stuck_seconds:g} s."
        alive = all(thread.is_alive() for thread in self._threads)
        return None if alive or self._closed else f"A thread that runs {model} has died."

    def close(self) -> None:
        """Ends the threads, after the batches that are worked on; nobody is to wait for what is left.

        A device that is stuck is left behind: it must not keep the process from ending.
        """
        with self._lock:
            self._closed = True
            self._queue.cancel_all()
            self._update_queue_gauge()
            self._free.notify_all()
            self._full.notify_all()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _forget(self, images: int, reason: str) -> None:
        self._dropped[reason](images)

    def _update_queue_gauge(self) -> None:
        """With the lock held. By steps, since several versions of a model share the gauge."""
        self._queued.inc(self._queue.images - self._reported_queued)
        self._reported_queued = self._queue.images

    def _run(self, index: int) -> None:
        if sys.platform == "linux":  # where it is a thread's own; it may be raised by anybody, lowered by few
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(_NICENESS, os.getpriority(os.PRIO_PROCESS, thread)))
        ready = self._free if index < self._engine.parallel else self._full
        while True:
            with self._lock:
                while not self._closed and not self._may_take():
                    ready.wait()
                if self._closed:
                    return
                batch, device_idle = self._take()
                self._wake_one()
            formed = self._form(batch)
            with self._device:
                outcomes = self._work_on(index, formed, device_idle) if formed is not None else []
            self._hand_on(outcomes)
            with self._lock:
                # Nobody is woken: this thread looks itself what waits by now.
                self._busy -= 1
                self._was_idle = not self._busy and not self._queue.images

    def _may_take(self) -> bool:
        """With the lock held: whether a thread is to take a batch, for a device that is free or ahead of it."""
        waiting = self._queue.images
        return waiting > 0 and (self._busy < self._engine.parallel or waiting >= self._engine.max_batch)

    def _wake_one(self) -> None:
        """With the lock held: a thread that waits for a free device or, if there is none, whoever is left over."""
        if self._may_take():
            self._free.notify()
            if self._busy >= self._engine.parallel:
                self._full.notify()

    def _take(self) -> tuple[Batch[PendingRequest], bool]:
        """The next batch, with the lock held, and whether it is alone on the device.

        Where several batches run at once, those that are free share what waits. Only if that is not an image for each,
        and nothing came while the last batch was made, it is one batch for all of them: who runs beside it would delay
        each of its operators.
        """
        waiting, free = self._queue.images, max(1, self._engine.parallel - self._busy)
        device_idle = self._was_idle and not self._busy and waiting < self._engine.parallel
        share = waiting if device_idle else -(-waiting // free)
        batch = self._queue.take(time.monotonic(), self._engine.room(share))
        self._busy += 1
        self._update_queue_gauge()
        return batch, device_idle

    def _form(self, batch: Batch[PendingRequest]) -> FormedBatch | None:
        """Nothing if all of the batch came too late."""
        late: list[Outcome] = []
        for ticket in batch.expired:
            self._forget(ticket.waiting, "deadline")
            late.append((ticket, too_late("deadline")))
        self._hand_on(late)
        if not batch.slices:
            return None
        return FormedBatch(batch.slices, self._engine.join([_inputs(piece) for piece in batch.slices]))

    def _work_on(self, index: int, formed: FormedBatch, device_idle: bool) -> list[Outcome]:
        """Runs a batch, and returns the requests that are finished by it."""
        left = self._without_given_up(formed)
        if left is None:
            return []
        with self._lock:
            self._working_since[index] = time.monotonic()
        try:
            return self._make(left, device_idle)
        finally:
            with self._lock:
                del self._working_since[index]

    def _without_given_up(self, formed: FormedBatch) -> FormedBatch | None:
        """What is left of a batch once those who gave up since it was formed are out of it."""
        left = [piece for piece in formed.slices if not piece.entry.given_up]
        if len(left) == len(formed.slices):
            return formed
        for piece in formed.slices:
            if piece.entry.given_up and piece.entry.reason:
                self._forget(piece.stop - piece.start, piece.entry.reason)
        return FormedBatch(left, self._engine.join([_inputs(piece) for piece in left])) if left else None

    def _hand_on(self, outcomes: list[Outcome]) -> None:
        """Sends finished requests to the encoder, and the others to the event loop."""
        jobs: list[Job] = []
        ends: list[Outcome] = []
        for ticket, outcome in outcomes:
            if ticket.finish is not None and isinstance(outcome, InferenceResult):
                jobs.append((partial(ticket.finish, outcome), ticket.future))
            else:
                ends.append((ticket, outcome))
        if jobs:
            self._encoder.submit(jobs, self._engine.card.name)
        if ends:
            # The loop is gone if the service is killed while the device works.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(deliver, ends)

    def _make(self, formed: FormedBatch, device_idle: bool) -> list[Outcome]:
        count = formed.joined.count
        started = time.monotonic()
        try:
            images = self._engine.run(formed.joined, device_idle)
        except Exception as error:
            return self._make_singly(formed, error)
        finished = time.monotonic()
        seconds = finished - started
        self._throughput.record(count, seconds if device_idle else seconds / self._engine.parallel)
        self._inference.observe(seconds)
        self._batch_images.observe(count)
        if padding := self._engine.padding(count):
            self._padding.inc(padding)
        outcomes: list[Outcome] = []
        row = 0
        for piece in formed.slices:
            if piece.start == 0:
                piece.entry.queue_seconds = started - piece.entry.submitted
                self._queue_wait.observe(piece.entry.queue_seconds)
            stop = row + piece.stop - piece.start
            if made := self._hand_over(piece, images[row:stop], seconds, finished):
                outcomes.append((piece.entry, made))
            row = stop
        return outcomes

    def _hand_over(
        self, piece: Slice[PendingRequest], images: Images, seconds: float, finished: float
    ) -> InferenceResult | None:
        """Gives a request its share of a batch, and returns all its images if that was the last of them."""
        ticket = piece.entry
        if len(images) == ticket.images:
            return InferenceResult(images, ticket.queue_seconds, seconds, finished)
        # Other shares may come at the same moment: only the pixels go to places of their own.
        with self._lock:
            if ticket.images_made is None:
                ticket.images_made = np.empty((ticket.images, *images.shape[1:]), np.uint8)
        ticket.images_made[piece.start : piece.stop] = images
        with self._lock:
            ticket.inference_seconds += seconds
            ticket.made += len(images)
            if ticket.made < ticket.images:
                return None
        return InferenceResult(ticket.images_made, ticket.queue_seconds, ticket.inference_seconds, finished)

    def _make_singly(self, formed: FormedBatch, error: Exception) -> list[Outcome]:
        """One request may have broken the batch: its neighbours are made without it."""
        if len(formed.slices) > 1:
            logger.warning("A batch of %d requests failed, each is tried alone: %s", len(formed.slices), error)
            singles = [FormedBatch([piece], self._engine.join([_inputs(piece)])) for piece in formed.slices]
            return [outcome for one in singles for outcome in self._make(one, False)]
        ticket = formed.slices[0].entry
        logger.error("A request failed on the device", exc_info=error)
        with self._lock:
            ticket.given_up = True
            self._queue.cancel(ticket)
            self._update_queue_gauge()
        return [(ticket, ApiError(ErrorCode.BROKEN, "The images could not be made; the service's log says why."))]


def _inputs(piece: Slice[PendingRequest]) -> Inputs:
    ticket = piece.entry
    if piece.stop - piece.start == ticket.images:
        return ticket.inputs
    return ticket.inputs.part(piece.start, piece.stop)
