"""The batch policy: which waiting images go into the next batch. Has no thread, no device and no clock of its own.

The policy is greedy, like text-embeddings-inference's queue: a free device takes all images that wait, up to the limit,
and never waits for more. It counts images, not requests. It may split a request over several batches. Requests take
turns, so that one request with many images does not block many requests with one image.

Requests that take turns also end together. If more of them waited than the device can finish in time, all of them would
expire, and none would be answered. So a request is admitted only if the requests that wait keep their deadlines.

``benchmarks/scaling`` drives this module with a virtual clock.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

_MAX_PADDING = 1 / 8  # of a batch on a CPU
_SLOWDOWN = 4 / 3  # by which the device may fall behind its measured pace before a request expires
_RECENT_BATCHES = 16


class QueueFullError(Exception):
    """The queue has no room for a request's images."""


@dataclass(eq=False)
class QueuedRequest:
    """A request in the queue. ``deadline`` is on the clock of ``now`` in ``BatchQueue.take``."""

    images: int
    deadline: float
    taken: int = field(default=0, init=False)
    cancelled: bool = field(default=False, init=False)
    protected: bool = field(default=True, init=False)
    """Whether later requests are rejected if this one would expire because of them."""

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

    @property
    def images(self) -> int:
        """Returns the number of images in the batch."""
        return sum(part.images for part in self.slices)


class Throughput:
    """Estimates the device's time for images from the batches that it has run last. Not thread-safe."""

    def __init__(self, max_batch: int) -> None:
        self._max_batch = max_batch
        self._recent: deque[tuple[int, float]] = deque(maxlen=_RECENT_BATCHES)
        self._largest = 0  # images in a recent batch
        self._image_seconds: float | None = None

    def record(self, images: int, seconds: float) -> None:
        """Records a batch that the device has run.

        Only batches with at least half as many images as the largest count: small ones may take longer for an image,
        and a device with much to do runs large ones.
        """
        self._recent.append((images, seconds))
        self._largest = max(size for size, _ in self._recent)
        large = [(size, took) for size, took in self._recent if 2 * size >= self._largest]
        self._image_seconds = sum(took for _, took in large) / sum(size for size, _ in large)

    def seconds_for(self, images: int) -> float | None:
        """Returns the estimated time for this number of images; None while no batch has been recorded."""
        return None if self._image_seconds is None else images * self._image_seconds

    def has_run_like(self, images: int) -> bool:
        """Returns whether a recent batch was at least half as large as the first batch of these images could be."""
        return 2 * self._largest >= min(images, self._max_batch)


class BatchQueue(Generic[R]):
    """The images that wait for one device, at most ``limit`` of them. Not thread-safe.

    The caller records the batches in ``throughput``.
    """

    def __init__(self, limit: int, throughput: Throughput) -> None:
        self._limit = limit
        self._throughput = throughput
        self._requests: deque[R] = deque()
        self._due: dict[R, None] = {}  # protected requests with waiting images, in the order in which they came
        self._earliest: float = math.inf  # deadline of the first of them
        self._unprotected = 0  # images
        self.images = 0

    def has_capacity(self, images: int) -> bool:
        """Returns whether the queue has room for a request with this number of images.

        An empty queue accepts a request that is larger than the limit: it could never be served otherwise.
        """
        return not self.images or self.images + images <= self._limit

    def keeps_deadlines(self, images: int, now: float, deadline: float, running: int = 0) -> bool:
        """Returns whether a request with this number of images and this deadline may wait here.

        It may not if it, or a request that waits, would expire because of it. ``running`` counts the images that
        batches have taken and the device has not finished. An idle device takes any request: it could never be
        served otherwise. So does an empty queue if the request needs much larger batches than those that were
        measured, since they may take less time for an image.
        """
        if not self.images and (not running or not self._throughput.has_run_like(images)):
            return True
        return self._is_in_time(images, now, deadline, running)

    def _is_in_time(self, images: int, now: float, deadline: float, running: int) -> bool:
        """Returns whether all protected images and these are finished before the earliest deadline.

        All are counted before the earliest deadline, since requests that take turns end together.
        """
        protected = self.images - self._unprotected
        # A request takes at most as many images from batches as all others together while they wait.
        before = running + protected + min(self._unprotected, protected + images)
        alone, others = self._throughput.seconds_for(images), self._throughput.seconds_for(before)
        if alone is None or others is None:
            return True
        return now + alone + _SLOWDOWN * others <= min(self._earliest, deadline)

    def add(self, request: R, now: float | None = None, running: int = 0) -> None:
        """Adds a request to the queue. Requests come in the order of their deadlines.

        Raises ``QueueFullError`` if the queue has no room for its images or, with ``now``, a deadline would be missed:
        see ``keeps_deadlines``.
        """
        if not self.has_capacity(request.images):
            raise QueueFullError
        if now is not None:
            if not self.keeps_deadlines(request.images, now, request.deadline, running):
                raise QueueFullError
            # A request that takes too long alone must not keep others out until it expires.
            request.protected = self._is_in_time(request.images, now, request.deadline, running)
        self._requests.append(request)
        self.images += request.images
        if request.protected:
            self._due[request] = None
            self._earliest = min(self._earliest, request.deadline)
        else:
            self._unprotected += request.images

    def _remove(self, request: R, images: int) -> None:
        """Takes ``images`` of a request's waiting images out of the counts. All of them: the request has gone."""
        self.images -= images
        if not request.protected:
            self._unprotected -= images
        elif images == request.waiting:
            del self._due[request]

    def _update_earliest(self) -> None:
        self._earliest = next(iter(self._due)).deadline if self._due else math.inf

    def cancel(self, request: R) -> int:
        """Removes the waiting images of a request, and returns their number."""
        if request.cancelled or not request.waiting:
            return 0
        # The request stays in the deque until its turn, since finding it would take a scan. It no longer counts.
        request.cancelled = True
        self._remove(request, request.waiting)
        self._update_earliest()
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
            self._remove(request, share)
            request.taken += share
            if request.waiting:
                self._requests.append(request)
        self._update_earliest()
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
