"""Loads: requests at random times, at a rate that changes in steps or spikes.

Steps and spikes come one second after a scrape, so the autoscaler learns of them as late as it can.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.scaling.prometheus import SCRAPE_SECONDS

Load = Sequence[tuple[float, float]]
"""(seconds, requests a second), one part after the other."""

_LEAD_SECONDS = 4 * SCRAPE_SECONDS + 1


def stepped(rate: float, factor: float) -> Load:
    """Returns two steps up from ``rate``, each by ``factor`` at once for three minutes, and a step back."""
    return [(_LEAD_SECONDS, rate), (180, rate * factor), (180, rate * factor**2), (180, rate)]


def spiky(rate: float, factor: float) -> Load:
    """Returns two spikes of ``factor`` times ``rate``, of 20 s each, one every four minutes."""
    return [(_LEAD_SECONDS, rate), *[(20, rate * factor), (220, rate)] * 2]


def arrivals(load: Load, seed: int) -> NDArray[np.float64]:
    """Returns the ascending times of a Poisson process with the rates of ``load``."""
    random = np.random.RandomState(seed)
    starts = itertools.accumulate((seconds for seconds, _ in load), initial=0.0)
    parts = [
        start + np.sort(random.uniform(0, seconds, random.poisson(seconds * rate)))
        for start, (seconds, rate) in zip(starts, load, strict=False)
    ]
    return np.concatenate(parts)
