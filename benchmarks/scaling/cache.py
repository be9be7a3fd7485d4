"""A cache (CDN) in front of ``GET /images``, for seeds with a Zipf distribution: simulated, and by the known formulas.

LRU is simulated request by request. Che, Tung and Wang (2002, "Hierarchical Web caching systems") approximate the same
hit rate without a simulation: a cache of C entries keeps each for about the same time T, the solution of
Σ (1 - exp(-p_i T)) = C.
"""

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]


def zipf(catalogue: int, exponent: float) -> Probabilities:
    """Returns the share of requests for each of ``catalogue`` images: proportional to rank^-exponent."""
    weights: Probabilities = np.arange(1, catalogue + 1, dtype=np.float64) ** -exponent
    shares: Probabilities = weights / weights.sum()
    return shares


def requests(probabilities: Probabilities, count: int, seed: int) -> NDArray[np.int64]:
    """Returns the images of ``count`` independent requests."""
    uniform = np.random.RandomState(seed).uniform(size=count)
    return np.minimum(np.searchsorted(np.cumsum(probabilities), uniform), len(probabilities) - 1)


def lru_hit_rate(images: Iterable[int], entries: int, warm_up: int) -> float:
    """Returns the hit rate of an LRU cache of this many images, after the first ``warm_up`` requests."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = counted = 0
    for number, image in enumerate(images):
        hit = image in cache
        if hit:
            cache.move_to_end(image)
        else:
            cache[image] = None
            if len(cache) > entries:
                cache.popitem(last=False)
        if number >= warm_up:
            counted += 1
            hits += hit
    return hits / counted


def che_hit_rate(probabilities: Probabilities, entries: int) -> float:
    """Returns Che's approximation of the hit rate of an LRU cache of this many images, fewer than there are."""
    low, high = 0.0, 1.0
    while _kept(probabilities, high) < entries:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _kept(probabilities, middle) < entries else (low, middle)
    return float(np.sum(probabilities * -np.expm1(-probabilities * low)))


def _kept(probabilities: Probabilities, time: float) -> float:
    return float(np.sum(-np.expm1(-probabilities * time)))


def unbounded_hit_rate(probabilities: Probabilities, count: int, caches: int = 1) -> float:
    """Returns the share of the first ``count`` requests that hit, in caches that forget nothing and share nothing.

    Every image misses once in each cache: the expected number of distinct images is Σ (1 - (1 - p_i)^n).
    """
    each = count / caches
    distinct = np.sum(-np.expm1(each * np.log1p(-probabilities)))
    return float(1 - distinct / each)


def expiring_hit_rate(probabilities: Probabilities, rate: float, seconds: float) -> float:
    """Returns the hit rate of a large cache whose images expire ``seconds`` after they were fetched.

    ``rate`` is the number of requests a second, at random times. After each fetch, an image of rate λ has λ · seconds
    hits until it expires, so its hit rate is λ · seconds / (1 + λ · seconds).
    """
    hits = probabilities * rate * seconds
    return float(np.sum(probabilities * hits / (1 + hits)))
