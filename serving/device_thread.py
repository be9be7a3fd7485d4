"""The thread that keeps one generator busy, and the event loop's end of it.

The event loop submits and cancels; the thread takes what waits whenever it is free, runs it, and tells the loop
of all finished requests with one call. It waits on a condition: there is no timer and no polling.
"""

import asyncio
import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from serving.batching import Batch, BatchQueue, Entry, QueueFullError, Slice, Throughput
from serving.encoder import Encoder, Job
from serving.engine import Engine, Images, Inputs
from serving.errors import Refusal, RequestError, retry_later
from serving.metrics import Metrics

logger = logging.getLogger("figment.device")


@dataclass(slots=True)
class Made:
    """A request's images, uint8 [N, H, W, C], the seconds that they waited and took, and when they were there."""

    images: Images
    queue_seconds: float
    inference_seconds: float
    finished: float


@dataclass(eq=False)
class Ticket(Entry):
    """A request in the hands of a ``DeviceThread``."""

    inputs: Inputs
    finish: Callable[[Made], Any] | None
    future: asyncio.Future[Any]
    submitted: float
    images_made: Images | None = field(default=None, init=False)
    made: int = field(default=0, init=False)
    queue_seconds: float = field(default=0.0, init=False)
    inference_seconds: float = field(default=0.0, init=False)


# A finished request: its images, or why there are none.
Outcome = tuple[Ticket, Made | RequestError]

DROP_REASONS = ("queue_full", "deadline", "disconnected", "draining")


class DeviceThread:
    """One engine, its queue and its thread. Everything but ``_run`` and what it calls is for the event loop."""

    def __init__(
        self, engine: Engine, encoder: Encoder, queue_images: int, deadline_seconds: float, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._queue = BatchQueue[Ticket](queue_images)
        self._throughput = Throughput()
        self._changed = threading.Condition()
        self._closed = False
        self._to_wake = False
        self._open: dict[Ticket, None] = {}
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
        self._told_queued = 0
        self._working_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"device-{model}", daemon=True)
        self._thread.start()

    def submit(self, inputs: Inputs, finish: Callable[[Made], Any] | None = None) -> Ticket:
        """Puts a request in the queue; its ``future`` gets the images, or a ``RequestError``.

        With ``finish``, it gets what that makes of the images in an encoder thread: going there straight from the
        device spares the event loop a turn. Raises ``RequestError`` if there is no room.
        """
        now = time.monotonic()
        ticket = Ticket(len(inputs), now + self._deadline_seconds, inputs, finish, self._loop.create_future(), now)
        with self._changed:
            try:
                self._queue.add(ticket)
            except QueueFullError:
                self._dropped["queue_full"](len(inputs))
                wait = math.ceil(self._throughput.seconds_for(self._queue.images))
                raise retry_later(
                    Refusal.QUEUE_FULL,
                    f"{self._queue.images} images wait already; try again in {max(1, wait)} s.",
                    max(1, wait),
                ) from None
        if not self._to_wake:
            # All that arrives in one turn of the loop goes into one batch, even if the device is idle.
            self._to_wake = True
            self._loop.call_soon(self._wake)
        self._open[ticket] = None
        ticket.future.add_done_callback(lambda _: self._open.pop(ticket))
        if self._timer is None:
            self._timer = self._loop.call_later(self._deadline_seconds, self._drop_late)
        return ticket

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
        with self._changed:
            self._changed.notify()
            self._tell_queued()

    def drop(self, ticket: Ticket, reason: str) -> None:
        """Gives a request up: what waits of it is never made."""
        with self._changed:
            waited = self._queue.cancel(ticket)
            self._tell_queued()
        self._forget(waited, reason)
        if not ticket.future.done():
            ticket.future.set_exception(_too_late(reason))

    def drop_all(self, reason: str) -> None:
        """Gives up all requests that wait."""
        with self._changed:
            waiting = [(ticket, ticket.waiting) for ticket in self._queue.cancel_all()]
            self._tell_queued()
        for ticket, waited in waiting:
            self._forget(waited, reason)
            if not ticket.future.done():
                ticket.future.set_exception(_too_late(reason))

    def fault(self, stuck_seconds: float) -> str | None:
        """Why this thread will make no more images: it has died, or is on one batch for so long. Else nothing."""
        model = f"{self._engine.card.name}/{self._engine.card.version}"
        since = self._working_since
        if since is not None and time.monotonic() - since > stuck_seconds:
            return f"The device has worked on one batch of {model} for more than {stuck_seconds:g} s."
        return None if self._thread.is_alive() or self._closed else f"The thread that runs {model} has died."

    def close(self) -> None:
        """Ends the thread, after the batch that it works on; nobody is to wait for what is left."""
        with self._changed:
            self._closed = True
            self._queue.cancel_all()
            self._tell_queued()
            self._changed.notify()
        self._thread.join()

    def _forget(self, images: int, reason: str) -> None:
        self._dropped[reason](images)

    def _tell_queued(self) -> None:
        """With the lock held. By steps, since several versions of a model share the gauge."""
        self._queued.inc(self._queue.images - self._told_queued)
        self._told_queued = self._queue.images

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue.images and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                batch = self._queue.take(time.monotonic(), self._engine.max_batch)
                self._tell_queued()
            self._working_since = time.monotonic()
            outcomes: list[Outcome] = []
            for ticket in batch.expired:
                self._forget(ticket.waiting, "deadline")
                outcomes.append((ticket, _too_late("deadline")))
            if batch.slices:
                outcomes += self._make(batch)
            self._hand_on(outcomes)
            self._working_since = None

    def _hand_on(self, outcomes: list[Outcome]) -> None:
        """Sends finished requests to the encoder, and the others to the event loop."""
        jobs: list[Job] = []
        ends: list[Outcome] = []
        for ticket, outcome in outcomes:
            if ticket.finish is not None and isinstance(outcome, Made):
                jobs.append((partial(ticket.finish, outcome), ticket.future))
            else:
                ends.append((ticket, outcome))
        if jobs:
            self._encoder.submit(jobs)
        if ends:
            # The loop is gone if the service is killed while the device works.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_deliver, ends)

    def _make(self, batch: Batch[Ticket]) -> list[Outcome]:
        """Runs a batch, and returns the requests that are finished by it."""
        started = time.monotonic()
        count = sum(piece.stop - piece.start for piece in batch.slices)
        for piece in batch.slices:
            if piece.start == 0:
                piece.entry.queue_seconds = started - piece.entry.submitted
                self._queue_wait.observe(piece.entry.queue_seconds)
        try:
            images = self._engine.run([_inputs(piece) for piece in batch.slices])
        except Exception as error:
            return self._make_singly(batch, error)
        finished = time.monotonic()
        seconds = finished - started
        self._throughput.record(count, seconds)
        self._inference.observe(seconds)
        self._batch_images.observe(count)
        if padding := self._engine.padding(count):
            self._padding.inc(padding)
        outcomes: list[Outcome] = []
        row = 0
        for piece in batch.slices:
            stop = row + piece.stop - piece.start
            if made := _hand_over(piece, images[row:stop], seconds, finished):
                outcomes.append((piece.entry, made))
            row = stop
        return outcomes

    def _make_singly(self, batch: Batch[Ticket], error: Exception) -> list[Outcome]:
        """One request may have broken the batch: its neighbours are made without it."""
        if len(batch.slices) > 1:
            logger.warning("A batch of %d requests failed, each is tried alone: %s", len(batch.slices), error)
            return [outcome for piece in batch.slices for outcome in self._make(Batch([piece], []))]
        ticket = batch.slices[0].entry
        logger.error("A request failed on the device", exc_info=error)
        with self._changed:
            self._queue.cancel(ticket)
            self._tell_queued()
        return [(ticket, RequestError(Refusal.BROKEN, "The images could not be made; the service's log says why."))]


def _inputs(piece: Slice[Ticket]) -> Inputs:
    ticket = piece.entry
    if piece.stop - piece.start == ticket.images:
        return ticket.inputs
    return ticket.inputs.part(piece.start, piece.stop)


def _hand_over(piece: Slice[Ticket], images: Images, seconds: float, finished: float) -> Made | None:
    """Gives a request its share of a batch, and returns all its images if that was the last of them."""
    ticket = piece.entry
    ticket.inference_seconds += seconds
    ticket.made += len(images)
    if len(images) == ticket.images:
        ticket.images_made = images
    else:
        if ticket.images_made is None:
            ticket.images_made = np.empty((ticket.images, *images.shape[1:]), np.uint8)
        ticket.images_made[piece.start : piece.stop] = images
    if ticket.made < ticket.images:
        return None
    return Made(ticket.images_made, ticket.queue_seconds, ticket.inference_seconds, finished)


def _deliver(outcomes: list[Outcome]) -> None:
    for ticket, outcome in outcomes:
        # It may have been given up while the device worked on it.
        if ticket.future.done():
            continue
        if isinstance(outcome, Made):
            ticket.future.set_result(outcome)
        else:
            ticket.future.set_exception(outcome)


def _too_late(reason: str) -> RequestError:
    if reason == "deadline":
        return RequestError(Refusal.DEADLINE, "The images were not made before the request's deadline.")
    if reason == "disconnected":
        return RequestError(Refusal.DISCONNECTED, "The client has gone.")
    return retry_later(Refusal.UNAVAILABLE, "The service is shutting down.", 1)
