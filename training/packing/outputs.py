"""Finds out which output of a graph is the image, and how it is laid out and scaled."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from models.bundle import ImageSpec
from training.errors import TrainingError
from training.packing.options import Layout, PackOptions, Range
from training.packing.value_range import find_range

CHANNELS = (1, 3, 4)
NOT_FINITE = "the weights have diverged, or numbers overflow in 16 bits"

SCALES: dict[Range, tuple[float, float]] = {"-1..1": (127.5, 127.5), "0..1": (255.0, 0.0), "0..255": (1.0, 0.0)}
"""By what to multiply values of a range, and what to add, to get to 0 … 255."""


@dataclass(frozen=True)
class ImageOutput:
    """The output with the images. ``shape`` is that of one image, as the graph returns it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    has_batch: bool
    layout: Layout
    value_range: Range
    image: ImageSpec
    seen: tuple[float, float]
    """The smallest and largest value of the images that were generated to find out."""


def find_output(
    model: onnx.ModelProto,
    results: Sequence[Mapping[str, NDArray[Any]]],
    count: int,
    noise_has_batch: bool,
    options: PackOptions,
) -> ImageOutput:
    """Returns the output with the images, from runs that generated ``count`` images each.

    Raises ``TrainingError`` if no output is an image, or several are, or if their values are no numbers.
    """
    name = _choose(results[0], count, noise_has_batch, options)
    first = results[0][name]
    has_batch, shape = _without_batch(first.shape, count, noise_has_batch)
    layout, image = _size(shape, options)
    values = np.stack([result[name] for result in results]).astype(np.float32)
    if not np.isfinite(values).all():
        raise TrainingError(f"the images of output {name!r} contain NaN or Inf: {NOT_FINITE}")
    value_range: Range = "0..255"
    if first.dtype.kind == "f":
        value_range = options.value_range or find_range(model, name, values)
    seen = (float(values.min()), float(values.max()))
    return ImageOutput(name, str(first.dtype), shape, has_batch, layout, value_range, image, seen)


def _choose(arrays: Mapping[str, NDArray[Any]], count: int, noise_has_batch: bool, options: PackOptions) -> str:
    if options.output is not None:
        if options.output not in arrays:
            raise TrainingError(f"--output is {options.output!r}; the outputs of the graph are {_sizes(arrays)}")
        return options.output
    images, reason = {}, "an image is [N,C,H,W] or [N,H,W,C] with C = 1, 3 or 4"
    for name, array in arrays.items():
        try:
            if array.dtype.kind in "fiu":
                _size(_without_batch(array.shape, count, noise_has_batch)[1], options)
                images[name] = array
        except TrainingError as error:
            reason = str(error)
    if len(images) > 1:
        # Beside images, generators return features and styles, which are no images with a height and a width.
        images = {name: array for name, array in images.items() if array.ndim >= 3} or images
    if len(images) > 1:
        raise TrainingError(f"{len(images)} outputs are images: {_sizes(images)}. Choose one with --output NAME")
    if not images:
        raise TrainingError(f"no output of the graph is an image: {_sizes(arrays)}; {reason}")
    return next(iter(images))


def _without_batch(shape: tuple[int, ...], count: int, noise_has_batch: bool) -> tuple[bool, tuple[int, ...]]:
    """Returns whether the first size is the number of images, and the sizes of one."""
    has_batch = len(shape) == 4 or (len(shape) > 1 and noise_has_batch and shape[0] == count)
    if (has_batch and shape[0] != count) or (not has_batch and count != 1):
        raise TrainingError(
            f"the noise of {count} images gives an output of {list(shape)}: its first size must be {count}"
        )
    return has_batch, shape[1:] if has_batch else shape


def _size(shape: tuple[int, ...], options: PackOptions) -> tuple[Layout, ImageSpec]:
    """Returns layout and size of an image of this shape: [C,H,W], [H,W,C], [H,W], or flat as [C·H·W]."""
    if len(shape) == 1:
        return "nchw", _square(shape[0])
    if len(shape) == 2:
        return "nchw", ImageSpec(height=shape[0], width=shape[1], channels=1)
    if len(shape) != 3:
        raise TrainingError(f"one image of the graph has the sizes {list(shape)}: C,H,W or H,W,C are needed")
    first = _spec(shape[1], shape[2], shape[0])
    last = _spec(shape[0], shape[1], shape[2])
    found: dict[Layout, ImageSpec | None] = {"nchw": first, "nhwc": last}
    if options.layout is not None:
        found = {options.layout: found[options.layout]}
    fitting = {layout: spec for layout, spec in found.items() if spec is not None}
    if not fitting:
        raise TrainingError(
            f"one image of the graph has the sizes {list(shape)}: no channels of {CHANNELS} are among them"
        )
    # Of two readings, such as [3, 32, 4], the square one is meant.
    layout = max(fitting, key=lambda key: fitting[key].height == fitting[key].width)
    return layout, fitting[layout]


def _spec(height: int, width: int, channels: int) -> ImageSpec | None:
    if channels not in CHANNELS:
        return None
    return ImageSpec.model_validate({"height": height, "width": width, "channels": channels})


def _square(numbers: int) -> ImageSpec:
    for channels in CHANNELS:
        side = math.isqrt(numbers // channels)
        if side > 1 and side * side * channels == numbers and (spec := _spec(side, side, channels)):
            return spec
    raise TrainingError(f"one image of the graph is a row of {numbers} numbers, which is no square image")


def to_pixels(array: NDArray[Any], output: ImageOutput) -> NDArray[np.uint8]:
    """Maps what a graph returned to pixels uint8 [N, H, W, C], as a bundle's graph does, with NumPy alone.

    Raises ``TrainingError`` for NaN and Inf, which uint8 would hide.
    """
    values = array.astype(np.float32).reshape(-1, *full_shape(output.layout, output.image))
    if not np.isfinite(values).all():
        raise TrainingError(f"the images contain NaN or Inf: {NOT_FINITE}")
    if output.layout == "nchw":
        values = values.transpose(0, 2, 3, 1)
    scale, shift = SCALES[output.value_range]
    pixels = (values * scale + shift).clip(0, 255).round().astype(np.uint8)
    if output.image.channels == 4:
        pixels[..., :3][pixels[..., 3] == 0] = 0
    return pixels


def full_shape(layout: Layout, image: ImageSpec) -> tuple[int, int, int]:
    """Returns the sizes of one image in a layout."""
    if layout == "nchw":
        return image.channels, image.height, image.width
    return image.height, image.width, image.channels


def _sizes(arrays: Mapping[str, NDArray[Any]]) -> str:
    return "; ".join(f"{name} {array.dtype} {list(array.shape)}" for name, array in arrays.items())
