"""Turns a request into the arrays that its generator takes, validated against the model's card."""

import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Card
from models.noise import labels_for_seeds, noise_for_seeds
from serving.api.requests import GenerateRequest, Label, SeedRanges
from serving.errors import invalid
from serving.inference.engine import Inputs


@dataclass(slots=True)
class Prepared:
    """The device's inputs, and the images' seeds: ``None`` if the client sent noise."""

    inputs: Inputs
    seeds: list[int] | None


def prepare(request: GenerateRequest, card: Card) -> Prepared:
    """Returns the inputs of a request's images. Raises ``ApiError`` for noise or labels that do not fit the model."""
    count = request.images
    seeds: list[int] | None
    if request.noise is not None:
        seeds, noise = None, given_noise(request.noise, card)
    else:
        if request.count is not None:
            seeds = np.frombuffer(secrets.token_bytes(4 * count), np.uint32).tolist()
        else:
            seeds = request.seeds.to_list() if isinstance(request.seeds, SeedRanges) else request.seeds
        assert seeds is not None
        noise = noise_for_seeds(seeds, card.noise_dim)
    labels = label_indices(request.labels, count, seeds, card)
    return Prepared(Inputs(noise, labels, request.truncations(count)), seeds)


def given_noise(rows: list[list[float]], card: Card, field: str = "noise") -> NDArray[np.float32]:
    """Returns a client's noise as float32 [N, Z]. Raises ``ApiError`` unless each row has Z numbers of 32 bits."""
    for index, row in enumerate(rows):
        if len(row) != card.noise_dim:
            raise invalid(field, f"{card.name} takes {card.noise_dim} numbers an image; row {index} has {len(row)}")
    with np.errstate(over="ignore"):
        noise = np.array(rows, np.float64).astype(np.float32)
    if not np.isfinite(noise).all():
        raise invalid(field, "each number must fit in 32 bits, that is be smaller than 3.4e38")
    return noise


def label_indices(
    given: Label | list[Label] | None, count: int, seeds: list[int] | None, card: Card
) -> NDArray[np.int64] | None:
    """Returns the labels of ``count`` images as int64 [N]: the given ones, otherwise those that the seeds imply.

    Returns ``None`` for a model without labels. Raises ``ApiError`` for labels that the model does not have, and if
    neither labels nor seeds are given.
    """
    if card.labels is None:
        if given is not None:
            raise invalid("labels", f"{card.name} takes no labels")
        return None
    if given is None:
        if seeds is None:
            # A seed implies its label. Noise implies none, and a default would surprise clients.
            raise invalid("labels", f"{card.name} needs a label for each vector of noise: {_choice(card)}")
        return labels_for_seeds(seeds, card.num_labels)
    if not isinstance(given, list):
        return np.full(count, _index(given, card), np.int64)
    if len(given) != count:
        raise invalid("labels", f"one label or one for each of the {count} images, not {len(given)}")
    return np.array([_index(label, card) for label in given], np.int64)


def _index(label: Label, card: Card) -> int:
    assert card.labels is not None
    if isinstance(label, str):
        if label in card.labels:
            return card.labels.index(label)
    elif 0 <= label < card.num_labels:
        return label
    raise invalid("labels", f"{repr(label)[:40]} is not a label of {card.name}: {_choice(card)}")


def _choice(card: Card) -> str:
    assert card.labels is not None
    names = ", ".join(card.labels[:20]) + (", …" if card.num_labels > 20 else "")
    return f"a number in 0 … {card.num_labels - 1} or one of {names}"
