"""A generator's input tensors in the Open Inference Protocol: their metadata, and reading them from a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Card
from models.noise import MAX_SEED, labels_for_seeds, noise_for_seeds
from serving.errors import ApiError, ErrorCode, invalid
from serving.inference.engine import Inputs
from serving.oip.messages import OUTPUT, InferRequest, InputTensor

# MLServer's NumPy codec sends a vector as a column, [N, 1].
_COLUMN = (1,)


@dataclass(frozen=True)
class _Spec:
    """An input: its datatypes, the first one for the metadata, and its shape after N."""

    datatypes: tuple[str, ...]
    rest: tuple[int, ...] = ()


def _specs(card: Card) -> dict[str, _Spec]:
    specs = {"seed": _Spec(("UINT32", "INT64")), "noise": _Spec(("FP32",), (card.noise_dim,))}
    if card.labels is not None:
        specs["label"] = _Spec(("INT64",))
    return specs | {"truncation": _Spec(("FP32",))}


def model_metadata(card: Card, versions: list[int]) -> dict[str, Any]:
    """Returns a generator's metadata by the protocol; -1 stands for the number of images."""
    image = card.image
    return {
        "name": card.name,
        "versions": [str(version) for version in versions],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": name, "datatype": spec.datatypes[0], "shape": [-1, *spec.rest]}
            for name, spec in _specs(card).items()
        ],
        "outputs": [{"name": OUTPUT, "datatype": "UINT8", "shape": [-1, image.height, image.width, image.channels]}],
    }


def count_images(tensors: Mapping[str, InputTensor], card: Card, max_images: int) -> int:
    """Returns how many images the tensors ask for, without reading their data.

    Raises ``ApiError`` if names, datatypes or shapes do not match the generator, or if there are too many images.
    """
    specs = _specs(card)
    for name, tensor in tensors.items():
        if name not in specs:
            raise invalid("inputs", f"{card.name} has no input {name[:64]!r}, but {', '.join(specs)}")
        spec = specs[name]
        if tensor.datatype not in spec.datatypes:
            raise invalid(name, f"the datatype must be {' or '.join(spec.datatypes)}")
        if tensor.shape[1:] != spec.rest and not (spec.rest == () and tensor.shape[1:] == _COLUMN):
            raise invalid(name, f"the shape must be [{', '.join(map(str, ('N', *spec.rest)))}]")
    if ("seed" in tensors) == ("noise" in tensors):
        raise invalid("inputs", "one of seed and noise is needed")
    counts = {tensor.shape[0] for tensor in tensors.values()}
    if len(counts) > 1:
        raise invalid("inputs", "the first number of each shape is the number of images, and must be the same")
    count = counts.pop()
    if count > max_images:
        raise ApiError(
            ErrorCode.TOO_LARGE,
            f"inputs: {_short(count)} images are more than the {max_images} one request may ask for.",
        )
    return count


@dataclass(frozen=True)
class Tensors:
    """The device's inputs, and the images' seeds: ``None`` if the client sent noise."""

    inputs: Inputs
    seeds: list[int] | None


def read_tensors(request: InferRequest, card: Card, count: int) -> Tensors:
    """Returns the inputs of ``count`` images, after ``count_images`` has accepted the tensors.

    Raises ``ApiError`` if data do not fill their shape, or if a value is out of range.
    """
    tensors = request.inputs
    seeds: list[int] | None = None
    if "seed" in tensors:
        given = tensors["seed"].array().reshape(count)
        if given.min() < 0 or given.max() > MAX_SEED:
            raise invalid("seed", f"a seed is an integer in 0 … {MAX_SEED}")
        seeds = given.tolist()
        noise = noise_for_seeds(seeds, card.noise_dim)
    else:
        noise = tensors["noise"].array()
        if not np.isfinite(noise).all():
            raise invalid("noise", "each number must be finite in 32 bits, that is be smaller than 3.4e38")
    given_truncation = tensors.get("truncation")
    if given_truncation is None:
        truncation = request.fields.truncations(count)
    else:
        truncation = given_truncation.array().reshape(count)
    # Negate the comparison, so that it rejects NaN, too.
    if not ((truncation >= 0) & (truncation <= 1)).all():
        raise invalid("truncation", "a number in 0 … 1")
    return Tensors(Inputs(noise, _labels(tensors.get("label"), card, seeds), truncation), seeds)


def _labels(tensor: InputTensor | None, card: Card, seeds: list[int] | None) -> NDArray[np.int64] | None:
    if card.labels is None:
        return None
    known = f"a number in 0 … {card.num_labels - 1}"
    if tensor is None:
        if seeds is None:
            raise invalid("label", f"{card.name} needs a label for each vector of noise: {known}")
        return labels_for_seeds(seeds, card.num_labels)
    labels: NDArray[np.int64] = tensor.array().reshape(-1)
    if labels.min() < 0 or labels.max() >= card.num_labels:
        raise invalid("label", f"{card.name} has {known}")
    return labels


def _short(count: int) -> str:
    return str(count) if count < 10**20 else "10^20 or more"
