"""Turns seeds into base64 PNGs for every rival, with the limit's own code.

It runs in a rival's virtual environment, where ``benchmarks/serving/limit.py`` must be on the path, and nothing else of
Figment.
"""

import os

from limit import feed, open_session, png

MAX_BATCH = 64


class Generator:
    """The generator that ``GENERATOR`` names, with ``THREADS`` threads."""

    def __init__(self) -> None:
        self._session = open_session(os.environ["GENERATOR"], int(os.environ["THREADS"]))
        self._noise_dim = self._session.get_inputs()[0].shape[1]

    def pngs(self, seeds: list[int]) -> list[str]:
        """Returns a base64 PNG for each seed."""
        return [png(pixels) for pixels in self._session.run(None, feed(seeds, self._noise_dim))[0]]
