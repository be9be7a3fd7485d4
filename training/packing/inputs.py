"""Finds out which input of a graph is the noise, which the label, which the truncation."""

import re
from dataclasses import dataclass
from typing import Literal

from training.errors import TrainingError
from training.packing.graph import Value
from training.packing.options import PackOptions

SCALE = "scale"
"""The truncation of a graph without such an input: it scales the noise."""

_LABEL_WORDS = {
    "label",
    "labels",
    "class",
    "classes",
    "cls",
    "y",
    "c",
    "cond",
    "condition",
    "onehot",
    "target",
    "digit",
}
_TRUNCATION_WORDS = {"truncation", "trunc", "psi"}


@dataclass(frozen=True)
class NoiseInput:
    """The input that takes the noise: float, ``shape`` is that of one image, such as (100, 1, 1)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    has_batch: bool

    @property
    def size(self) -> int:
        """Returns Z, the numbers in one image's noise."""
        return max(self.shape)


@dataclass(frozen=True)
class LabelInput:
    """The input that takes the label, as an index or one-hot. ``shape`` is that of one image: (), (1,) or (K,)."""

    name: str
    dtype: str
    form: Literal["index", "one-hot"]
    shape: tuple[int, ...]
    has_batch: bool
    count: int | None
    """The number of labels, or None if the input's size does not say."""


@dataclass(frozen=True)
class TruncationInput:
    """The input that takes the truncation. ``rank`` is the number of its sizes, 0 for a single number."""

    name: str
    dtype: str
    rank: int
    has_batch: bool


@dataclass(frozen=True)
class LayerNoise:
    """An input for the noise of one layer, as in StyleGAN: float [1 or N, 1, H, W]. It becomes a constant."""

    name: str
    dtype: str
    count: int | None
    """The first size: 1 if all images of a batch share the noise, None for N."""
    height: int
    width: int


@dataclass(frozen=True)
class Inputs:
    """The role of every input of a graph. ``batch`` is its only batch size, or None if it takes any."""

    noise: NoiseInput
    label: LabelInput | None
    truncation: TruncationInput | None
    layer_noise: tuple[LayerNoise, ...]
    batch: int | None


def find_inputs(inputs: tuple[Value, ...], options: PackOptions, indices: frozenset[str] = frozenset()) -> Inputs:
    """Returns the role of every input, by names, types and sizes. ``indices`` are those that the graph makes whole.

    Raises ``TrainingError`` if there is no noise input or several, or an input without a role.
    """
    _check_names(inputs, options)
    truncation = _find_truncation(inputs, options)
    layers = _find_layer_noise(inputs, options)
    rest = [value for value in inputs if value != truncation and value not in layers]
    label = _find_label(rest, options, indices)
    noise = _find_noise([value for value in rest if value != label], inputs, options)
    if unknown := [value for value in rest if value not in (label, noise)]:
        raise TrainingError(
            f"the graph has inputs without a role: {_list(unknown)}; the noise is {noise.name}. Name them with --label "
            "or --truncation, make a layer's noise constant with --freeze-random SEED, or export the graph without them"
        )
    found = _noise_input(noise, options)
    return Inputs(
        found,
        None if label is None else _label_input(label),
        None if truncation is None else _truncation_input(truncation),
        tuple(
            LayerNoise(value.name, value.dtype, value.shape[0], value.shape[2] or 1, value.shape[3] or 1)
            for value in layers
        ),
        batch=noise.shape[0] if found.has_batch else 1,
    )


def is_label_name(name: str) -> bool:
    """Returns whether a name is one that label inputs have."""
    return bool(_words(name) & _LABEL_WORDS)


def is_truncation_name(name: str) -> bool:
    """Returns whether a name is one that truncation inputs have."""
    return bool(_words(name) & _TRUNCATION_WORDS)


def _check_names(inputs: tuple[Value, ...], options: PackOptions) -> None:
    names = {value.name for value in inputs}
    for option, name in (("--noise", options.noise), ("--label", options.label), ("--truncation", options.truncation)):
        if name is not None and name not in names and not (option == "--truncation" and name == SCALE):
            raise TrainingError(f"{option} is {name!r}; the inputs of the graph are {_list(inputs) or 'none'}")


def _find_truncation(inputs: tuple[Value, ...], options: PackOptions) -> Value | None:
    if options.truncation is not None:
        return next((value for value in inputs if value.name == options.truncation), None)
    named = [value for value in inputs if value.is_float and is_truncation_name(value.name) and _is_number(value)]
    return named[0] if len(named) == 1 else None


def _find_label(inputs: list[Value], options: PackOptions, indices: frozenset[str]) -> Value | None:
    if options.label is not None:
        return next(value for value in inputs if value.name == options.label)
    candidates = [value for value in inputs if value.name != options.noise and len(value.shape) <= 2]
    whole = [value for value in candidates if not value.is_float or value.name in indices]
    named = [value for value in candidates if is_label_name(value.name)]
    for group in (whole, named):
        if len(group) == 1 and len(inputs) > 1:
            return group[0]
    return None


def _find_noise(inputs: list[Value], every: tuple[Value, ...], options: PackOptions) -> Value:
    if options.noise is not None:
        return next(value for value in inputs if value.name == options.noise)
    candidates = [value for value in inputs if _can_be_noise(value)]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise TrainingError(
            f"the graph has {len(candidates)} inputs that may be the noise: {_list(candidates)}. Choose with --noise "
            "NAME, and with --label NAME if the other is a label"
        )
    if any(value.is_float and len(value.shape) in (3, 4) for value in every):
        reason = "it takes images, as a classifier or an image-to-image network does"
    elif every and not any(value.is_float for value in every):
        reason = "it takes whole numbers only, as a text model does"
    else:
        reason = "noise is a float input [N,Z], [N,Z,1,1] or [Z]"
    raise TrainingError(
        f"no input of the graph is the noise of a generator: {reason}. Its inputs: {_list(every) or 'none'}"
    )


def _noise_input(value: Value, options: PackOptions) -> NoiseInput:
    has_batch = len(value.shape) != 1
    shape = value.shape[1:] if has_batch else value.shape
    if len(shape) == 3:
        shape = (shape[0], 1, 1)
    if options.noise_shape is not None:
        shape = options.noise_shape
    if any(size is None for size in shape):
        raise TrainingError(f"the size of {value} is open: say with --noise-shape how many numbers one image takes")
    return NoiseInput(value.name, value.dtype, tuple(size or 0 for size in shape), has_batch)


def _label_input(value: Value) -> LabelInput:
    shape = value.shape
    has_batch = len(shape) > 0 and not (len(shape) == 1 and shape[0] is not None and shape[0] > 1 and value.is_float)
    own = shape[1:] if has_batch else shape
    if len(own) == 1 and own[0] != 1:
        if own[0] is None:
            raise TrainingError(f"the size of {value} is open: export it with the number of labels")
        return LabelInput(value.name, value.dtype, "one-hot", (own[0],), has_batch, own[0])
    return LabelInput(value.name, value.dtype, "index", (1,) * len(own), has_batch, None)


def _truncation_input(value: Value) -> TruncationInput:
    has_batch = len(value.shape) > 0 and value.shape != (1,)
    return TruncationInput(value.name, value.dtype, len(value.shape), has_batch)


def _can_be_noise(value: Value) -> bool:
    if not value.is_float:
        return False
    if len(value.shape) == 4:
        return value.shape[1] != 1 and all(size in (1, None) for size in value.shape[2:])
    if len(value.shape) == 1:
        return value.shape[0] is not None and value.shape[0] > 1
    return len(value.shape) == 2 and value.shape[1] != 1


def _is_number(value: Value) -> bool:
    return all(size in (1, None) for size in value.shape) or len(value.shape) == 1


def _find_layer_noise(inputs: tuple[Value, ...], options: PackOptions) -> tuple[Value, ...]:
    """Returns the inputs that are the noise of layers: one size does not say so, since a mask has the same."""
    found = [value for value in inputs if _is_grey_image(value) and value.name != options.noise]
    if options.freeze_random is None and len({value.shape[2:] for value in found}) < 2:
        found = [value for value in found if "noise" in value.name.lower()]
    return tuple(found)


def _is_grey_image(value: Value) -> bool:
    if not value.is_float or len(value.shape) != 4:
        return False
    _, channels, height, width = value.shape
    return channels == 1 and height is not None and width is not None and height * width > 1


def _words(name: str) -> set[str]:
    """Returns the words in a name: ``gen/class_labels:0`` has gen, class and labels."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return set(re.findall(r"[a-z]+", spaced.lower().replace("one_hot", "onehot")))


def _list(values: tuple[Value, ...] | list[Value]) -> str:
    return "; ".join(map(str, values))
