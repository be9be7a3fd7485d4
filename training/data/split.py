"""Splits a data set: what judges learn from, and what the generator never sees.

Every split depends only on the number of images and a share, so that every command finds the same one.
"""

import numpy as np
from numpy.typing import NDArray

MIN_HELD_OUT = 20
"""Fewest images that are worth holding out. Copies are told by the nearest 5 % of them: of fewer, not one image."""


def judge_split(images: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the indices of the fit split, which judges learn from, and of the unseen split, which they never see.

    Each is half of the images, in random order.
    """
    order = np.random.RandomState(0).permutation(images)
    return order[: images // 2], order[images // 2 :]


def held_out_count(images: int, share: float) -> int:
    """Returns the number of images that the generator never sees: ``share`` of all, or none below ``MIN_HELD_OUT``."""
    count = round(images * share)
    return count if count >= MIN_HELD_OUT else 0


def training_indices(images: int, share: float) -> NDArray[np.int64]:
    """Returns the images that the generator trains on, ascending.

    The others are the first of the judge's unseen split, so that neither network knows them.
    """
    held_out = judge_split(images)[1][: held_out_count(images, share)]
    return np.delete(np.arange(images), held_out)


def describe_held_out(images: int, share: float) -> str | None:
    """Returns in words how many images are held out, or None if none was to be."""
    if not share:
        return None
    count = held_out_count(images, share)
    return str(count) if count else f"none, since {100 * share:g} % of {images} images are fewer than {MIN_HELD_OUT}"
