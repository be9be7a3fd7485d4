"""Samples the memory of a server while it works."""

import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.serving.servers import Server

_EVERY_SECONDS = 0.2

MEGABYTE = 10**6


@contextmanager
def sampled(server: Server) -> Iterator[list[int]]:
    """Yields a list that grows: the resident bytes of the server, some times a second."""
    samples: list[int] = []
    is_over = threading.Event()

    def sample() -> None:
        samples.append(server.resident_bytes)
        while not is_over.wait(_EVERY_SECONDS):
            samples.append(server.resident_bytes)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        is_over.set()
        thread.join()


def median_megabytes(samples: list[int]) -> float:
    """Returns the median of resident bytes, in MB."""
    return statistics.median(samples) / MEGABYTE
