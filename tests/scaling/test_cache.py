"""Caches: simulated hit rates agree with exact results of small cases and with Che's approximation."""

from itertools import permutations

import numpy as np
import pytest

from benchmarks.scaling.cache import (
    che_hit_rate,
    expiring_hit_rate,
    lru_hit_rate,
    requests,
    unbounded_hit_rate,
    zipf,
)


def king(probabilities, entries):
    """The exact hit rate of LRU (King 1971): the chance of every order of the last ``entries`` distinct images."""
    total = 0.0
    for order in permutations(range(len(probabilities)), entries):
        chance, left = 1.0, 1.0
        for image in order:
            chance *= probabilities[image] / left
            left -= probabilities[image]
        total += chance * sum(probabilities[image] for image in order)
    return total


@pytest.mark.parametrize("entries", [1, 2, 3])
def test_lru_is_exact_for_a_few_images(entries):
    images = zipf(5, 1.0)
    found = lru_hit_rate(requests(images, 300_000, seed=1).tolist(), entries, 1000)
    assert found == pytest.approx(king(images, entries), abs=0.004)


@pytest.mark.parametrize("exponent", [0.7, 1.0, 1.2])
@pytest.mark.parametrize("share", [0.01, 0.1])
def test_lru_agrees_with_che(exponent, share):
    images = zipf(5000, exponent)
    found = lru_hit_rate(requests(images, 150_000, seed=2).tolist(), int(share * 5000), 50_000)
    assert found == pytest.approx(che_hit_rate(images, int(share * 5000)), abs=0.01)


def test_lru_forgets_the_least_recently_used():
    assert lru_hit_rate([1, 2, 1, 3, 1, 2], 2, 0) == pytest.approx(2 / 6), "the second 1 keeps 1, so 3 drives out 2"


def test_popular_images_are_those_of_zipf():
    images = zipf(1000, 0.9)
    assert images.sum() == pytest.approx(1)
    assert images[0] / images[9] == pytest.approx(10**0.9)
    counts = np.bincount(requests(images, 200_000, seed=3), minlength=1000)
    assert counts[:20] / 200_000 == pytest.approx(images[:20], rel=0.1)


def test_caches_that_forget_nothing_miss_every_image_once():
    images = zipf(300, 1.0)
    asked = requests(images, 2000, seed=4)
    found = [1 - len(set(asked[start : start + 500].tolist())) / 500 for start in range(0, 2000, 500)]
    assert np.mean(found) == pytest.approx(unbounded_hit_rate(images, 2000, caches=4), abs=0.02)


def test_expiring_images_are_fetched_again():
    """Poisson requests, each image fetched at most once in its 60 s."""
    images, rate, seconds = zipf(200, 0.8), 20.0, 60.0
    random = np.random.RandomState(5)
    asked = requests(images, 60_000, seed=5).tolist()
    times = np.cumsum(random.exponential(1 / rate, len(asked))).tolist()
    expires, hits = {}, 0
    for image, time in zip(asked, times, strict=True):
        if expires.get(image, 0) > time:
            hits += 1
        else:
            expires[image] = time + seconds
    assert hits / len(asked) == pytest.approx(expiring_hit_rate(images, rate, seconds), abs=0.01)
