"""Finds the range of a graph's values: from its last operators if they bound it, else from the values themselves."""

import math
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from training.packing.graph import DTYPES, Lookup, attributes
from training.packing.options import Range

Bounds = tuple[float, float]

_UNBOUNDED = (-math.inf, math.inf)
_SLACK = 0.02  # 127.5 and 128 are both in use as the middle of 0 … 255
_MOST_OF_UNIT = 8.0
"""Images meant for -1 … 1 or 0 … 1 go beyond without a Tanh, yet not as far."""
_FEW = 0.01
"""Share of values below 0 that images meant for 0 … 1 or 0 … 255 have at most."""

_FIXED: dict[str, Bounds] = {
    "Tanh": (-1, 1),
    "Sigmoid": (0, 1),
    "HardSigmoid": (0, 1),
    "Softmax": (0, 1),
    "Softsign": (-1, 1),
    "Sin": (-1, 1),
    "Cos": (-1, 1),
}
_SAME = {
    "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Slice", "Gather", "Expand", "Tile",
    "DepthToSpace", "SpaceToDepth", "Round", "Floor", "Ceil", "Upsample", "MaxPool", "AveragePool", "GlobalAveragePool",
}  # fmt: skip
_COMBINE: dict[str, Callable[[float, float], float]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: 0.0 if 0 in (a, b) else a * b,
    "Div": lambda a, b: a / b if b else math.inf,
    "Min": min,
    "Max": max,
}


def output_bounds(graph: onnx.GraphProto, name: str) -> Bounds:
    """Returns bounds of a value that follow from the operators before it, infinite where none does."""
    return _bounds(Lookup(graph), name, depth=24)


def range_of_bounds(bounds: Bounds) -> Range | None:
    """Returns the range that an image with these bounds is meant for, or None if they are infinite."""
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    if high > _MOST_OF_UNIT:
        return "0..255"
    return "0..1" if low >= -_SLACK else "-1..1"


def range_of_values(values: NDArray[np.float32]) -> Range:
    """Returns the range that generated values are most probably meant for."""
    below = float((values < 0).mean())
    if values.max() > _MOST_OF_UNIT and below < 1 / 4:
        return "0..255"
    return "-1..1" if below > _FEW else "0..1"


def _bounds(lookup: Lookup, name: str, depth: int) -> Bounds:
    constant = lookup.constant(name)
    if constant is not None and constant.size and constant.dtype.kind in "fiu":
        return float(constant.min()), float(constant.max())
    node = lookup.producer(name)
    if node is None or depth == 0:
        return _UNBOUNDED
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]

    def inner(index: int) -> Bounds:
        return _bounds(lookup, node.input[index], depth - 1)

    if node.op_type in _SAME:
        return inner(0)
    if node.op_type == "Relu":
        low, high = inner(0)
        return max(low, 0.0), max(high, 0.0)
    if node.op_type == "Clip":
        return _clipped(lookup, node, inner(0))
    if node.op_type == "Cast":
        return _intersected(inner(0), (0, 255)) if DTYPES.get(attributes(node)["to"]) == "uint8" else inner(0)
    if node.op_type == "Resize":
        return _UNBOUNDED if attributes(node).get("mode") == b"cubic" else inner(0)
    if node.op_type == "Concat":
        parts = [inner(index) for index in range(len(node.input))]
        return min(low for low, _ in parts), max(high for _, high in parts)
    if node.op_type in _COMBINE and len(node.input) == 2:
        combine = _COMBINE[node.op_type]
        corners = [combine(a, b) for a in inner(0) for b in inner(1)]
        return _UNBOUNDED if any(map(math.isnan, corners)) else (min(corners), max(corners))
    return _UNBOUNDED


def _clipped(lookup: Lookup, node: onnx.NodeProto, bounds: Bounds) -> Bounds:
    found = attributes(node)
    limits = [found.get("min", -math.inf), found.get("max", math.inf)]  # attributes until opset 11, inputs since
    for index in (1, 2):
        if len(node.input) > index and node.input[index]:
            constant = lookup.constant(node.input[index])
            limits[index - 1] = _UNBOUNDED[index - 1] if constant is None else float(constant)
    return _intersected(bounds, (float(limits[0]), float(limits[1])))


def _intersected(bounds: Bounds, limits: Bounds) -> Bounds:
    low, high = max(bounds[0], limits[0]), min(bounds[1], limits[1])
    return min(low, limits[1]), max(high, limits[0])
