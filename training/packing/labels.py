"""Finds out how many labels a graph takes, where its label input is an index, whose size does not say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from training.errors import TrainingError
from training.packing.graph import DTYPES, Lookup, attributes
from training.packing.inputs import LabelInput
from training.packing.options import PackOptions

_MOST = 2**17
"""The most labels that are tried."""
_PASSING = {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Expand"}


def label_names(
    model: onnx.ModelProto, label: LabelInput | None, options: PackOptions, runs_with: Callable[[int], bool]
) -> tuple[str, ...] | None:
    """Returns the names of the labels, numerals unless the user gives names, or None for a graph without labels.

    ``runs_with`` tells whether the graph runs with an index: an embedding fails beyond its last one.

    Raises ``TrainingError`` if the number of labels is not found, or the user says one that does not fit.
    """
    if label is None:
        if options.labels is not None:
            raise TrainingError("--labels is set, but the graph has no label input; name it with --label NAME")
        return None
    given = len(options.labels) if isinstance(options.labels, tuple) else options.labels
    found = label.count or _written_count(model, label.name) or _tried_count(runs_with)
    count = given or found
    if count is None:
        raise TrainingError(f"the graph does not show how many labels {label.name} takes: say it with --labels")
    # An embedding may have more rows than labels, such as one for no label; a one-hot input may not.
    if found is not None and (count > found or (label.form == "one-hot" and count < found)):
        raise TrainingError(f"--labels gives {count} labels, but {label.name} takes {found}")
    return options.labels if isinstance(options.labels, tuple) else tuple(map(str, range(count)))


def _tried_count(runs_with: Callable[[int], bool]) -> int | None:
    """Returns the smallest index that fails, or None if there is none."""
    if not runs_with(0):
        return None
    high = 1
    while runs_with(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if runs_with(middle) else (low, middle)
    return high


def _written_count(model: onnx.ModelProto, name: str) -> int | None:
    """Returns the number of labels where the graph makes the index one-hot, which takes any index."""
    lookup, values = Lookup(model), {name}
    for node in model.graph.node:
        if not values.intersection(node.input):
            continue
        if node.op_type in _PASSING and node.input[0] in values:
            values.update(node.output)
        elif node.op_type == "OneHot" and node.input[0] in values:
            depth = lookup.constant(node.input[1])
            return None if depth is None else int(depth.flat[0])
        elif node.op_type == "Equal":
            classes = [lookup.constant(entry) for entry in node.input if entry not in values]
            return next((array.size for array in classes if array is not None and _is_range(array)), None)
    return None


def indices(model: onnx.ModelProto) -> frozenset[str]:
    """Returns the inputs that a graph makes whole at once, as an embedding of Keras does: labels, though float."""
    whole, reshaped = set(), {entry.name: entry.name for entry in model.graph.input}
    for node in model.graph.node:
        source = reshaped.get(node.input[0]) if node.input else None
        if source is None:
            continue
        if node.op_type == "Cast" and DTYPES.get(attributes(node)["to"]) in ("int32", "int64"):
            whole.add(source)
        elif node.op_type in _PASSING - {"Cast"}:
            reshaped[node.output[0]] = source
    return frozenset(whole)


def _is_range(values: NDArray[Any]) -> bool:
    return values.size > 1 and np.array_equal(values.ravel(), np.arange(values.size))
