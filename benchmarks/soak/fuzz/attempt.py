"""One attempt: what a client does on one connection, and which answers are due. Plain data, so that it can be printed.

An attempt follows from the seed of the run and its number alone.
"""

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.soak.fuzz.known import Known


class Leave(enum.Enum):
    """How a client leaves."""

    HALF_CLOSE = enum.auto()
    """It sends no more (FIN), and reads."""

    CLOSE = enum.auto()
    RESET = enum.auto()
    """The service gets a reset (RST) instead of an end."""


Step = bytes | float | Leave
"""Bytes are sent, a number is a pause in seconds."""


class Then(enum.Enum):
    """What follows the expected answers."""

    OPEN = enum.auto()
    """The connection takes more requests, so the client is the one that leaves."""

    ENDS = enum.auto()
    """The service ends the connection."""

    ANY = enum.auto()
    """Either: the bytes are random. There is an answer, or the end of the connection."""

    GONE = enum.auto()
    """The client has left, and nothing is due."""

    HELD = enum.auto()
    """The client neither reads nor closes, and the service has to end the connection."""


@dataclass(frozen=True)
class Expected:
    """An answer that is due."""

    statuses: frozenset[int]
    id: bytes | None = None
    """The request's ``X-Request-ID``; ``None`` if the service makes one up."""

    known: Known | None = None
    """The request, if the answer has to equal the one that it got alone."""

    method: str = "GET"


@dataclass(frozen=True)
class Attempt:
    """One client's doings. ``kind`` names the fault in the report."""

    kind: str
    steps: tuple[Step, ...]
    then: Then
    expected: tuple[Expected, ...] = ()
    may_end: bool = False
    """Whether the connection may end before all answers have come: the client has closed one side, or sent nonsense."""

    requests: int = 1
    """How many requests it counts for."""

    receive_buffer: int | None = None
    forbidden: bytes | None = None
    """An identifier in a body, which must not be answered as if it were a request."""

    place: tuple[int, int] | None = None
    """Which request was cut, and where."""

    sent: bytes = field(init=False, compare=False, repr=False, default=b"")

    @property
    def pauses(self) -> float:
        """Returns the seconds that the client waits in all, before it has sent everything."""
        return sum(step for step in self.steps if isinstance(step, float))

    def __post_init__(self) -> None:
        """Joins what is sent: an answer has an identifier that is in it, or a random one."""
        object.__setattr__(self, "sent", b"".join(step for step in self.steps if isinstance(step, bytes)))


class Ids:
    """Identifiers of an attempt's requests: no other attempt of the run has them. All have the same length."""

    def __init__(self, number: int) -> None:
        self._next = (f"fuzz-{number:08d}-{index:04d}".encode() for index in range(10_000))

    def __iter__(self) -> Iterator[bytes]:
        """Returns the iterator of all that are left."""
        return self._next

    def __next__(self) -> bytes:
        """Returns one that is new."""
        return next(self._next)
