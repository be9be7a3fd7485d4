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
_LARGE = 8.0
"""Images meant for -1 … 1 or 0 … 1 go beyond without a Tanh, yet not as far."""

_MOST_FOLLOWED = 200
"""Values that are followed back from an output."""

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


def find_range(model: onnx.ModelProto, name: str, values: NDArray[np.float32]) -> Range:
    """Returns the range that the images of an output are meant for.

    The operators before the output say it where they bound it, as Tanh and Clip do, or move it, as ``x * 0.5 + 0.5``
    does: what is moved is meant for -1 … 1. Else ``values``, those of some images, must say it.
    """
    low, high = _Bounds(model, _UNBOUNDED).of(name)
    if math.isfinite(low) and math.isfinite(high):
        return "0..255" if high > _LARGE else "0..1" if low >= -_SLACK else "-1..1"
    low, high = _Bounds(model, (-1.0, 1.0)).of(name)
    if high > _LARGE:
        return "0..255"
    if low >= -_SLACK and values.max() <= _LARGE:
        return "0..1"
    return _range_of_values(values)


def _range_of_values(values: NDArray[np.float32]) -> Range:
    low, high = float(values.min()), float(values.max())
    if high > _LARGE and (values < 0).mean() < 1 / 4:
        return "0..255"
    # Images of an untrained generator may be above 0 by chance, but then they are grey.
    return "0..1" if low >= -_SLACK and high > 0.7 and low < 0.3 else "-1..1"


class _Bounds:
    """Finds bounds of a graph's values. Where the operators before a value say nothing, it is ``inside``."""

    def __init__(self, model: onnx.ModelProto, inside: Bounds) -> None:
        self._lookup = Lookup(model)
        self._inside = inside
        self._known: dict[str, Bounds] = {}

    def of(self, name: str) -> Bounds:
        """Returns bounds of a value."""
        if name not in self._known:
            self._known[name] = self._inside  # for a graph too deep to follow
            self._known[name] = self._found(name) if len(self._known) < _MOST_FOLLOWED else self._inside
        return self._known[name]

    def _found(self, name: str) -> Bounds:
        constant = self._lookup.constant(name)
        if constant is not None and constant.size and constant.dtype.kind in "fiu":
            return float(constant.min()), float(constant.max())
        node = self._lookup.producer(name)
        if node is None:
            return self._inside
        if node.op_type in _FIXED:
            return _FIXED[node.op_type]
        if node.op_type in _SAME or (node.op_type == "Resize" and attributes(node).get("mode") != b"cubic"):
            return self.of(node.input[0])
        if node.op_type == "Relu":
            low, high = self.of(node.input[0])
            return max(low, 0.0), max(high, 0.0)
        if node.op_type == "Clip":
            return _intersected(self.of(node.input[0]), self._limits(node))
        if node.op_type == "Cast":
            to_bytes = DTYPES.get(attributes(node)["to"]) == "uint8"
            return _intersected(self.of(node.input[0]), (0, 255) if to_bytes else _UNBOUNDED)
        if node.op_type == "Concat":
            parts = [self.of(part) for part in node.input]
            return min(low for low, _ in parts), max(high for _, high in parts)
        if node.op_type in _COMBINE and len(node.input) == 2:
            combine = _COMBINE[node.op_type]
            corners = [combine(a, b) for a in self.of(node.input[0]) for b in self.of(node.input[1])]
            return self._inside if any(map(math.isnan, corners)) else (min(corners), max(corners))
        return self._inside

    def _limits(self, node: onnx.NodeProto) -> Bounds:
        found = attributes(node)
        limits = [float(found.get("min", -math.inf)), float(found.get("max", math.inf))]  # inputs since opset 11
        for index, name in enumerate(node.input[1:]):
            if name and (constant := self._lookup.constant(name)) is not None:
                limits[index] = float(constant)
        return limits[0], limits[1]


def _intersected(bounds: Bounds, limits: Bounds) -> Bounds:
    low, high = max(bounds[0], limits[0]), min(bounds[1], limits[1])
    return min(low, limits[1]), max(high, limits[0])
