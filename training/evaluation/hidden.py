"""Finds which images of a data set a generator has not seen: only they tell its copies from its own images."""

from typing import NamedTuple

from training.data.dataset import TrainingImages
from training.data.split import describe_held_out, held_out_count
from training.evaluation.target import EvalTarget


class Hidden(NamedTuple):
    """How many images of a data set were held out from a generator that was trained on all others."""

    images: int
    reason: str | None
    """Why there are none; None if there are."""


def hidden_from(target: EvalTarget, data: TrainingImages) -> Hidden:
    """Returns the images that were held out when the generator was trained on this data set.

    The split depends on the number of images and the share alone, so the same images are found again. In other images
    none of its training images can be told.
    """
    if target.trained_on is None:
        return Hidden(
            0, f"{target.name} was trained elsewhere, on images that its card does not name: none is known to be unseen"
        )
    if target.trained_on != data.fingerprint:
        return Hidden(
            0,
            f"{target.name} was trained on other images (fingerprint {target.trained_on[:12]}…) than {data.name} "
            f"({data.fingerprint[:12]}…): it has seen none of these, and its own are not here to be compared",
        )
    share = target.data_config.holdout
    if count := held_out_count(len(data), share):
        return Hidden(count, None)
    if found := describe_held_out(len(data), share):
        return Hidden(0, f"held out from the generator: {found}")
    return Hidden(0, f"{target.name} was trained on all images (data.holdout 0): none is left to tell copies by")
