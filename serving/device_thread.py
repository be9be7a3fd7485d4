"""The thread that keeps one generator busy, and the event loop's end of it.

The event loop submits and cancels; the thread takes what waits whenever it is free, runs it, and sends all finished
requests on to the encoder with one call. If as much waits as a batch holds, a second thread forms the next batch while
the device works; less is left in the queue until the device is free, since more may come. Both threads wait on
conditions: there is no timer and no polling.
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
from serving.engine import Engine, Images, Inputs, Joined
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
    given_up: bool = field(default=False, init=False)
    reason: str | None = field(default=None, init=False)
    queue_seconds: float = field(default=0.0, init=False)
    inference_seconds: float = field(default=0.0, init=False)


@dataclass(slots=True)
class _Formed:
    """What the device does next: shares of requests, and the one batch of them all."""

    slices: list[Slice[Ticket]]
    joined: Joined


# A finished request: its images, or why there are none.
Outcome = tuple[Ticket, Made | RequestError]

_JOIN_SECONDS = 10

DROP_REASONS = ("queue_full", "deadline", "disconnected", "draining")


class DeviceThread:
    """One engine, its queue and its threads. What is public is for the event loop."""

    def __init__(
        self, engine: Engine, encoder: Encoder, queue_images: int, deadline_seconds: float, metrics: Metrics
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._deadline_seconds = deadline_seconds
        self._loop = asyncio.get_running_loop()
        self._queue = BatchQueue[Ticket](queue_images)
        self._throughput = Throughput()
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # for the device's thread
        self._full = threading.Condition(lock)  # for the one that forms batches ahead
        self._ahead: _Formed | None = None
        self._forming = False
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
        self._former = threading.Thread(target=self._form_ahead, name=f"form-{model}", daemon=True)
        self._thread.start()
        self._former.start()

    def check_room(self, images: int) -> None:
        """Raises ``RequestError`` if there is no room for so many images: asked early, it spares making their noise."""
        if not self._queue.has_room(images):
            raise self._queue_full(images)

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

    def _queue_full(self, images: int) -> RequestError:
        self._dropped["queue_full"](images)
        wait = max(1, math.ceil(self._throughput.seconds_for(self._queue.images)))
        sentence = f"{self._queue.images} images wait already; try again in {wait} s."
        return retry_later(Refusal.QUEUE_FULL, sentence, wait)

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
            if self._may_form_ahead():
                self._full.notify()
            self._tell_queued()

    def drop(self, ticket: Ticket, reason: str) -> None:
        """Gives a request up: what waits of it is never made."""
        with self._changed:
            ticket.given_up, ticket.reason = True, reason
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
        alive = self._thread.is_alive() and self._former.is_alive()
        return None if alive or self._closed else f"A thread that runs {model} has died."

    def close(self) -> None:
        """Ends the threads, after the batch that is worked on; nobody is to wait for what is left.

        A device that is stuck is left behind: it must not keep the process from ending.
        """
        with self._changed:
            self._closed = True
            self._queue.cancel_all()
            self._tell_queued()
            self._changed.notify()
            self._full.notify()
        self._thread.join(_JOIN_SECONDS)
        self._former.join(_JOIN_SECONDS)

    def _forget(self, images: int, reason: str) -> None:
        self._dropped[reason](images)

    def _tell_queued(self) -> None:
        """With the lock held. By steps, since several versions of a model share the gauge."""
        self._queued.inc(self._queue.images - self._told_queued)
        self._told_queued = self._queue.images

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._closed and self._ahead is None and (self._forming or not self._queue.images):
                    self._changed.wait()
                if self._closed:
                    return
                formed, self._ahead = self._ahead, None
                batch = self._take() if formed is None else None
                self._working_since = time.monotonic()
                if self._may_form_ahead():
                    self._full.notify()
            if batch is not None:
                formed = self._form(batch)
            elif formed is not None:
                formed = self._without_given_up(formed)
            if formed is not None:
                self._hand_on(self._make(formed))
            self._working_since = None

    def _may_form_ahead(self) -> bool:
        """With the lock held."""
        busy = self._working_since is not None
        return busy and self._ahead is None and not self._forming and self._queue.images >= self._engine.max_batch

    def _form_ahead(self) -> None:
        while True:
            with self._full:
                while not self._closed and not self._may_form_ahead():
                    self._full.wait()
                if self._closed:
                    return
                batch = self._take()
                self._forming = True
            formed = self._form(batch)
            with self._full:
                self._ahead, self._forming = formed, False
                self._changed.notify()

    def _take(self) -> Batch[Ticket]:
        """With the lock held."""
        batch = self._queue.take(time.monotonic(), self._engine.room(self._queue.images))
        self._tell_queued()
        return batch

    def _form(self, batch: Batch[Ticket]) -> _Formed | None:
        """Nothing if all of the batch came too late."""
        late: list[Outcome] = []
        for ticket in batch.expired:
            self._forget(ticket.waiting, "deadline")
            late.append((ticket, _too_late("deadline")))
        self._hand_on(late)
        if not batch.slices:
            return None
        return _Formed(batch.slices, self._engine.join([_inputs(piece) for piece in batch.slices]))

    def _without_given_up(self, formed: _Formed) -> _Formed | None:
        """What is left of a batch that was formed ahead, once those who gave up meanwhile are out of it."""
        left = [piece for piece in formed.slices if not piece.entry.given_up]
        if len(left) == len(formed.slices):
            return formed
        for piece in formed.slices:
            if piece.entry.given_up and piece.entry.reason:
                self._forget(piece.stop - piece.start, piece.entry.reason)
        return _Formed(left, self._engine.join([_inputs(piece) for piece in left])) if left else None

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
            self._encoder.submit(jobs, self._engine.card.name)
        if ends:
            # The loop is gone if the service is killed while the device works.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_deliver, ends)

    def _make(self, formed: _Formed) -> list[Outcome]:
        """Runs a batch, and returns the requests that are finished by it."""
        count = formed.joined.count
        started = time.monotonic()
        try:
            images = self._engine.run(formed.joined)
        except Exception as error:
            return self._make_singly(formed, error)
        finished = time.monotonic()
        seconds = finished - started
        self._throughput.record(count, seconds)
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
            if made := _hand_over(piece, images[row:stop], seconds, finished):
                outcomes.append((piece.entry, made))
            row = stop
        return outcomes

    def _make_singly(self, formed: _Formed, error: Exception) -> list[Outcome]:
        """One request may have broken the batch: its neighbours are made without it."""
        if len(formed.slices) > 1:
            logger.warning("A batch of %d requests failed, each is tried alone: %s", len(formed.slices), error)
            alone = [_Formed([piece], self._engine.join([_inputs(piece)])) for piece in formed.slices]
            return [outcome for one in alone for outcome in self._make(one)]
        ticket = formed.slices[0].entry
        logger.error("A request failed on the device", exc_info=error)
        with self._changed:
            ticket.given_up = True
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
