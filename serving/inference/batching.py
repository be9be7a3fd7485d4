"""Which waiting images go into the next batch. Pure: no thread, no device, and no clock but the caller's.

Greedy, like text-embeddings-inference's queue: whoever has a free device takes what waits, up to the limit,
and never waits for more. Images are counted, not requests. A request may be spread over several batches, and
requests take turns, so that one with many images does not stand in the way of many with one.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar


class QueueFullError(Exception):
    """The queue has no room for a request's images."""


@dataclass(eq=False)
class Entry:
    """A request in the queue; ``deadline`` is on the clock that ``BatchQueue.take`` is told."""

    images: int
    deadline: float
    taken: int = field(default=0, init=False)
    cancelled: bool = field(default=False, init=False)

    @property
    def waiting(self) -> int:
        """The images that no batch has taken yet."""
        return self.images - self.taken


E = TypeVar("E", bound=Entry)


@dataclass(slots=True)
class Slice(Generic[E]):
    """The images ``start`` … ``stop`` of one request, as its share of a batch."""

    entry: E
    start: int
    stop: int


@dataclass(frozen=True)
class Batch(Generic[E]):
    """What the device shall do next, and the requests found too late for it."""

    slices: list[Slice[E]]
    expired: list[E]


class BatchQueue(Generic[E]):
    """The images that wait for one device, at most ``limit`` of them. Not thread-safe."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[E] = deque()
        self.images = 0

    def has_capacity(self, images: int) -> bool:
        """Whether a request of so many images may come in.

        One that is larger than the whole queue is let into an empty one: it could never be served otherwise.
        """
        return not self.images or self.images + images <= self._limit

    def add(self, entry: E) -> None:
        """Puts a request in the queue. Raises ``QueueFullError`` if its images have no room there."""
        if not self.has_capacity(entry.images):
            raise QueueFullError
        self._entries.append(entry)
        self.images += entry.images

    def cancel(self, entry: E) -> int:
        """Takes back what waits of a request, and returns how many images that was."""
        if entry.cancelled or not entry.waiting:
            return 0
        # It stays in the deque, where finding it would cost a scan, until its turn comes; it counts no more.
        entry.cancelled = True
        self.images -= entry.waiting
        return entry.waiting

    def cancel_all(self) -> list[E]:
        """Empties the queue, and returns the requests that were in it."""
        entries = [entry for entry in self._entries if self.cancel(entry)]
        self._entries.clear()
        return entries

    def take(self, now: float, room: int) -> Batch[E]:
        """The next batch, of at most ``room`` images; empty if nothing waits."""
        turn: list[E] = []
        expired: list[E] = []
        # A request gets at least one image, so no more than ``room`` of them have a turn.
        while self._entries and len(turn) < room:
            entry = self._entries.popleft()
            if entry.cancelled:
                continue
            if entry.deadline <= now:
                self.cancel(entry)
                expired.append(entry)
                continue
            turn.append(entry)
        slices = []
        for entry, share in zip(turn, _fair_shares([entry.waiting for entry in turn], room), strict=True):
            slices.append(Slice(entry, entry.taken, entry.taken + share))
            entry.taken += share
            self.images -= share
            if entry.waiting:
                self._entries.append(entry)
        return Batch(slices, expired)


def _fair_shares(wanted: list[int], room: int) -> list[int]:
    """Hands out ``room`` evenly to those who want some: nobody gets more than he wants, and none is left over
    while somebody wants more.
    """
    shares = [0] * len(wanted)
    hungry = list(range(len(wanted)))
    while hungry and room:
        each = max(1, room // len(hungry))
        for index in hungry:
            portion = min(each, wanted[index] - shares[index], room)
            shares[index] += portion
            room -= portion
        hungry = [index for index in hungry if shares[index] < wanted[index]]
    return shares


class Throughput:
    """The device's pace, for telling a refused client when to come back."""

    _KEPT = 0.9  # of the pace so far, at each batch: the last ten batches or so count

    def __init__(self) -> None:
        self._images = 0.0
        self._seconds = 0.0

    def record(self, images: int, seconds: float) -> None:
        """Notes a batch that has been made."""
        self._images = self._KEPT * self._images + images
        self._seconds = self._KEPT * self._seconds + seconds

    def seconds_for(self, images: int) -> float:
        """How long these images will take; 1 s while nothing has been measured."""
        return images * self._seconds / self._images if self._images else 1.0
