"""One replica of the service on a virtual clock: the service's own batch policy, and a device whose times are known."""

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from serving.inference.batching import (
    BatchQueue,
    QueuedRequest,
    QueueFullError,
    RequestSlice,
    Throughput,
    can_take,
    next_batch,
    padded_size,
    preferred_size,
    thread_count,
)
from serving.metrics import DURATION_SECONDS


@dataclass(frozen=True)
class Device:
    """A device by its times, and the processor of its host."""

    inference_seconds: dict[int, float]
    """Of a batch of each size, for ``parallel_batches`` batches at the same time."""
    host_seconds: float = 0.0
    """Processor seconds for an image beside inference: HTTP and PNG. A CPU spends them on the cores of its batches."""
    cores: int = 1
    on_gpu: bool = False
    sizes: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(sorted(self.inference_seconds)))

    @property
    def parallel_batches(self) -> int:
        """Returns the batches that run at the same time: one on a GPU, one on each core of a CPU."""
        return 1 if self.on_gpu else self.cores

    @property
    def max_batch(self) -> int:
        """Returns the largest number of images in one batch."""
        return self.sizes[-1]

    @property
    def capacity(self) -> float:
        """Returns the images a second of full batches."""
        return self.parallel_batches * self.max_batch / self.batch_seconds(self.max_batch)

    def preferred_batch(self, waiting: int) -> int:
        """Returns how many of the waiting images the next batch should take."""
        return preferred_size(self.sizes, waiting, self.on_gpu)

    def batch_seconds(self, images: int) -> float:
        """Returns the seconds of a batch, with its padding and, on a CPU, the other work for its images."""
        seconds = self.inference_seconds[padded_size(self.sizes, images)]
        return seconds if self.on_gpu else seconds + images * self.host_seconds

    def cpu_seconds(self, images: int, seconds: float) -> float:
        """Returns the processor seconds of the host for a batch that took ``seconds``."""
        return images * self.host_seconds if self.on_gpu else seconds


@dataclass(eq=False)
class Request(QueuedRequest):
    """A request that arrived at a virtual time."""

    arrived: float
    unfinished: int = field(init=False)

    def __post_init__(self) -> None:
        self.unfinished = self.images


Batch = list[RequestSlice[Request]]


class Clock:
    """Calls functions in the order of their virtual times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = itertools.count()  # of events at the same time

    def call_at(self, time: float, function: Callable[[Any], None], argument: Any = None) -> None:
        """Calls ``function(argument)`` at a virtual time that is not in the past."""
        heapq.heappush(self._events, (time, next(self._order), function, argument))

    def run_until(self, time: float) -> None:
        """Makes all calls up to and including ``time``, which is then the time."""
        events = self._events
        while events and events[0][0] <= time:
            self.now, _, function, argument = heapq.heappop(events)
            function(argument)
        self.now = time


class Replica:
    """A queue and its device. Counts what Prometheus would read, and reports the end of each request.

    ``finished(request, seconds)`` is called with the time from arrival to the last image, or infinity for a request
    that was rejected or whose deadline passed.
    """

    def __init__(
        self,
        clock: Clock,
        device: Device,
        queue_images: int,
        deadline_seconds: float,
        finished: Callable[[Request, float], None],
    ) -> None:
        self._clock = clock
        self._device = device
        self._deadline_seconds = deadline_seconds
        self._finished = finished
        self._throughput = Throughput(device.max_batch)
        self._queue = BatchQueue[Request](queue_images, self._throughput)
        self._in_flight = 0
        self._running_images = 0  # taken, and not finished
        self._running = 0
        self._formed: list[Batch] = []
        self._was_idle = True
        self.wait_counts = [0] * (len(DURATION_SECONDS) + 1)
        self.cpu_seconds = 0.0
        self.cores = device.cores

    @property
    def queued_images(self) -> int:
        """Returns the images in the queue."""
        return self._queue.images

    @property
    def is_empty(self) -> bool:
        """Returns whether no request waits or is in a batch."""
        return not self._in_flight and not self._queue.images

    def arrive(self, images: int = 1) -> None:
        """Takes a request now, or rejects it if the queue is full or a deadline would be missed."""
        now = self._clock.now
        request = Request(images, now + self._deadline_seconds, now)
        try:
            self._queue.add(request, now, self._running_images)
        except QueueFullError:
            self._finished(request, float("inf"))
            return
        self._take_batches()

    def _take_batches(self) -> None:
        """Lets every idle thread take a batch, as the scheduler does whenever a request arrives or a batch ends."""
        device = self._device
        while self._in_flight < thread_count(device) and can_take(device, self._queue.images, self._in_flight):
            images, _ = next_batch(device, self._queue.images, self._in_flight, self._was_idle)
            selection = self._queue.take(self._clock.now, images)
            for request in selection.expired:
                self._finished(request, float("inf"))
            if not selection.slices:
                continue
            self._in_flight += 1
            self._running_images += selection.images
            self._formed.append(selection.slices)
            self._start_batches()

    def _start_batches(self) -> None:
        while self._formed and self._running < self._device.parallel_batches:
            batch, now = self._formed.pop(0), self._clock.now
            self._running += 1
            for part in batch:
                if part.start == 0:
                    self.wait_counts[bisect_left(DURATION_SECONDS, now - part.request.arrived)] += 1
            images = sum(part.images for part in batch)
            seconds = self._device.batch_seconds(images)
            self._clock.call_at(now + seconds, self._end_batch, (batch, images, seconds))

    def _end_batch(self, ended: tuple[Batch, int, float]) -> None:
        batch, images, seconds = ended
        self._running -= 1
        self._in_flight -= 1
        self._running_images -= images
        self._throughput.record(images, seconds / self._device.parallel_batches)
        self.cpu_seconds += self._device.cpu_seconds(images, seconds)
        for part in batch:
            request = part.request
            request.unfinished -= part.images
            if not request.unfinished:
                self._finished(request, self._clock.now - request.arrived)
        self._was_idle = self.is_empty
        self._start_batches()
        self._take_batches()
