"""The batch policy: which waiting images go into the next batch. Has no thread, no device and no clock of its own.

The policy is greedy, like text-embeddings-inference's queue: a free device takes all images that wait, up to the limit,
and never waits for more. It counts images, not requests. It may split a request over several batches. Requests take
turns, so that one request with many images does not block many requests with one image.

``benchmarks/scaling`` drives this module with a virtual clock.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

_MAX_PADDING = 1 / 8  # of a batch on a CPU


class QueueFullError(Exception):
    """The queue has no room for a request's images."""


@dataclass(eq=False)
class QueuedRequest:
    """A request in the queue. ``deadline`` is on the clock of ``now`` in ``BatchQueue.take``."""

    images: int
    deadline: float
    taken: int = field(default=0, init=False)
    cancelled: bool = field(default=False, init=False)

    @property
    def waiting(self) -> int:
        """Returns the number of images that no batch has taken yet."""
        return self.images - self.taken


R = TypeVar("R", bound=QueuedRequest)


@dataclass(slots=True)
class RequestSlice(Generic[R]):
    """The images ``start`` … ``stop`` of one request, as its share of a batch."""

    request: R
    start: int
    stop: int

    @property
    def images(self) -> int:
        """Returns the number of images in the slice."""
        return self.stop - self.start


def halves(slices: Sequence[RequestSlice[R]]) -> tuple[list[RequestSlice[R]], list[RequestSlice[R]]]:
    """Divides the slices of a batch, of two images or more, into two batches. May cut the slice in the middle."""
    first: list[RequestSlice[R]] = []
    second: list[RequestSlice[R]] = []
    left = sum(part.images for part in slices) // 2
    for part in slices:
        middle = part.start + min(left, part.images)
        left -= middle - part.start
        if part.start < middle:
            first.append(RequestSlice(part.request, part.start, middle))
        if middle < part.stop:
            second.append(RequestSlice(part.request, middle, part.stop))
    return first, second


@dataclass(frozen=True)
class Selection(Generic[R]):
    """The slices of requests for the next batch, and the requests whose deadline has passed."""

    slices: list[RequestSlice[R]]
    expired: list[R]


class BatchQueue(Generic[R]):
    """The images that wait for one device, at most ``limit`` of them. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._requests: deque[R] = deque()
        self.images = 0

    def has_capacity(self, images: int) -> bool:
        """Returns whether the queue has room for a request with this number of images.

        An empty queue accepts a request that is larger than the limit: it could never be served otherwise.
        """
        return not self.images or self.images + images <= self._limit

    def add(self, request: R) -> None:
        """Adds a request to the queue. Raises ``QueueFullError`` if the queue has no room for its images."""
        if not self.has_capacity(request.images):
            raise QueueFullError
        self._requests.append(request)
        self.images += request.images

    def cancel(self, request: R) -> int:
        """Removes the waiting images of a request, and returns their number."""
        if request.cancelled or not request.waiting:
            return 0
        # The request stays in the deque until its turn, since finding it would take a scan. It no longer counts.
        request.cancelled = True
        self.images -= request.waiting
        return request.waiting

    def cancel_all(self) -> list[R]:
        """Empties the queue, and returns the requests that waited."""
        cancelled = [request for request in self._requests if self.cancel(request)]
        self._requests.clear()
        return cancelled

    def take(self, now: float, max_images: int) -> Selection[R]:
        """Removes at most ``max_images`` images for the next batch. The selection is empty if no image waits."""
        chosen: list[R] = []
        expired: list[R] = []
        # Each request gets at least one image, so at most ``max_images`` requests have a turn.
        while self._requests and len(chosen) < max_images:
            request = self._requests.popleft()
            if request.cancelled:
                continue
            if request.deadline <= now:
                self.cancel(request)
                expired.append(request)
                continue
            chosen.append(request)
        slices = []
        for request, share in zip(chosen, _fair_shares([r.waiting for r in chosen], max_images), strict=True):
            slices.append(RequestSlice(request, request.taken, request.taken + share))
            request.taken += share
            self.images -= share
            if request.waiting:
                self._requests.append(request)
        return Selection(slices, expired)


def _fair_shares(demands: list[int], capacity: int) -> list[int]:
    """Divides ``capacity`` evenly among demands.

    No share exceeds its demand, and no capacity is left over while a demand is unmet.
    """
    shares = [0] * len(demands)
    unmet = list(range(len(demands)))
    while unmet and capacity:
        even_share = max(1, capacity // len(unmet))
        for index in unmet:
            portion = min(even_share, demands[index] - shares[index], capacity)
            shares[index] += portion
            capacity -= portion
        unmet = [index for index in unmet if shares[index] < demands[index]]
    return shares


class BatchDevice(Protocol):
    """The device's side of the policy, which ``Engine`` implements."""

    @property
    def parallel_batches(self) -> int: ...
    @property
    def max_batch(self) -> int: ...
    def preferred_batch(self, waiting: int) -> int: ...


def thread_count(device: BatchDevice) -> int:
    """Returns how many batches may be in flight. If one batch fills the device, a second is formed ahead."""
    return max(2, device.parallel_batches)


def can_take(device: BatchDevice, waiting: int, in_flight: int) -> bool:
    """Returns whether a batch can be taken from ``waiting`` images, now or ahead of the device.

    ``in_flight`` counts batches that are taken and not delivered. Ahead of the device, only a full batch is taken:
    fewer images wait for others until the device is free.
    """
    return waiting > 0 and (in_flight < device.parallel_batches or waiting >= device.max_batch)


def next_batch(device: BatchDevice, waiting: int, in_flight: int, was_idle: bool) -> tuple[int, bool]:
    """Returns how many of the waiting images the next batch takes, and whether the device is idle apart from it.

    Splits waiting images over idle cores. With fewer images than cores, and no image in the queue when the last batch
    had finished (``was_idle``), returns one batch for a multi-threaded session: a batch beside it would delay each of
    its operators.
    """
    free = max(1, device.parallel_batches - in_flight)
    device_idle = was_idle and not in_flight and waiting < device.parallel_batches
    return device.preferred_batch(waiting if device_idle else -(-waiting // free)), device_idle


def padded_size(sizes: Sequence[int], images: int) -> int:
    """Returns the smallest of the ascending batch sizes that holds this number of images."""
    return next(size for size in sizes if size >= images)


def preferred_size(sizes: Sequence[int], waiting: int, on_gpu: bool) -> int:
    """Returns how many of the waiting images the next batch should take, on a device with these ascending sizes.

    A GPU runs a padded batch as fast as a smaller one. A CPU's time grows with the size: there, a batch with more
    than an eighth of padding is cut to the size below, and the other images go into the next batch.
    """
    if on_gpu or waiting >= sizes[-1]:
        return sizes[-1]
    size = padded_size(sizes, waiting)
    if size - waiting <= _MAX_PADDING * size:
        return waiting
    return max((smaller for smaller in sizes if smaller < waiting), default=waiting)


class Throughput:
    """Estimates the device's images per second, so that a rejected client learns when to retry."""

    _DECAY = 0.9  # weight of earlier batches, at each batch: about the last ten batches count

    def __init__(self) -> None:
        self._images = 0.0
        self._seconds = 0.0

    def record(self, images: int, seconds: float) -> None:
        """Records a batch that the device has run."""
        self._images = self._DECAY * self._images + images
        self._seconds = self._DECAY * self._seconds + seconds

    def seconds_for(self, images: int) -> float:
        """Returns the estimated time for this number of images; 1 s while no batch has been recorded."""
        return images * self._seconds / self._images if self._images else 1.0
