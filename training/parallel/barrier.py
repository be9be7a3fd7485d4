"""A barrier without a timeout: processes wait for each other for hours, and notice one that has died.

A collective must end within minutes, so that a broken network is an error and not a hang. But decoding a data set or
training a judge may take hours. So the others wait at the launcher's key-value store, where every process leaves a sign
of life.
"""

import os
import time
from typing import TYPE_CHECKING

from training.errors import LostProcessError

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

BEAT_SECONDS = 5.0
"""Between two signs of life of a process."""
SILENCE_SECONDS = 300.0
"""A process without a sign of life for so long is lost. One call that holds Python's lock delays its signs."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25
"""Seconds between two looks at the store: the pause grows, so short waits end at once and long ones cost nothing."""


class Pulse:
    """Leaves the signs of life of this process in the store."""

    def __init__(self, store: "TCPStore", rank: int) -> None:
        self._store, self._key, self._beats, self._last = store, _pulse_key(rank), 0, -float("inf")

    def beat(self) -> None:
        """Leaves a sign, unless the last one is younger than ``BEAT_SECONDS``."""
        if time.monotonic() - self._last >= BEAT_SECONDS:
            self._beats += 1
            self._store.set(self._key, str(self._beats))
            self._last = time.monotonic()


class StoreBarrier:
    """Lets every process wait until all have arrived."""

    def __init__(self, store: "TCPStore", rank: int, count: int) -> None:
        self._store, self._rank, self._count, self._rounds = store, rank, count, 0

    def wait(self) -> None:
        """Blocks until every process has called it. A signal interrupts it within ``_LONGEST_PAUSE``.

        Raises ``LostProcessError`` if a process has left no sign of life for ``SILENCE_SECONDS``, and ``RuntimeError``
        if the store does not answer.
        """
        self._rounds += 1
        key = f"figment/barrier/{attempt()}/{self._rounds}"
        arrived = self._store.add(key, 1)
        pause, since_look = _SHORTEST_PAUSE, 0.0
        silence = _Silence(self._store, [rank for rank in range(self._count) if rank != self._rank])
        while arrived < self._count:
            time.sleep(pause)
            since_look += pause
            if since_look >= BEAT_SECONDS:
                silence.look(since_look)
                since_look = 0.0
            pause = min(_LONGEST_PAUSE, 1.5 * pause)
            arrived = self._store.add(key, 0)


class _Silence:
    """Counts how long each of the others has left no sign of life."""

    def __init__(self, store: "TCPStore", ranks: list[int]) -> None:
        self._store = store
        self._seen = dict.fromkeys(ranks, b"")
        self._seconds = dict.fromkeys(ranks, 0.0)

    def look(self, seconds: float) -> None:
        """Looks for new signs, ``seconds`` of this process's own pauses after the last look.

        A clock would count the hours in which a user has suspended all processes together.
        """
        for rank, seen in self._seen.items():
            key = _pulse_key(rank)
            now = self._store.get(key) if self._store.check([key]) else b""
            self._seconds[rank] = 0.0 if now != seen else self._seconds[rank] + seconds
            self._seen[rank] = now
            if self._seconds[rank] >= SILENCE_SECONDS:
                raise LostProcessError(
                    f"process {rank} has given no sign of life for {self._seconds[rank]:.0f} seconds: its machine or "
                    "the network is down, or it is suspended"
                )


def _pulse_key(rank: int) -> str:
    return f"figment/alive/{attempt()}/{rank}"


def attempt() -> str:
    """Returns which start of the processes by the launcher this is: an earlier one has left its keys in the store."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
