"""Reads and edits ONNX graphs: sizes, constants, producers of values, names."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

DTYPES: dict[int, str] = {
    onnx.TensorProto.FLOAT: "float32",
    onnx.TensorProto.FLOAT16: "float16",
    onnx.TensorProto.DOUBLE: "float64",
    onnx.TensorProto.INT64: "int64",
    onnx.TensorProto.INT32: "int32",
    onnx.TensorProto.UINT8: "uint8",
    onnx.TensorProto.BOOL: "bool",
}
ELEMENT_TYPES = {name: number for number, name in DTYPES.items()}
"""ONNX's element types by NumPy's names, for those that a packed generator may take or return."""


_OF_SIZES = {"Identity", "Cast", "Concat", "Gather", "Reshape", "Slice", "Squeeze", "Unsqueeze"}
"""What exporters compute sizes with."""
_LARGEST_SIZES = 64


@dataclass(frozen=True)
class Value:
    """An input or output of a graph. A size is None where the graph leaves it open."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def is_float(self) -> bool:
        """Returns whether its elements are floating-point numbers."""
        return self.dtype.startswith("float")

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join('N' if size is None else str(size) for size in self.shape)}]"


def values(infos: list[onnx.ValueInfoProto]) -> tuple[Value, ...]:
    """Returns the inputs or outputs of a graph with their types and sizes."""
    return tuple(_value(info) for info in infos)


def _value(info: onnx.ValueInfoProto) -> Value:
    tensor = info.type.tensor_type
    shape = tuple(
        size.dim_value if size.HasField("dim_value") and size.dim_value > 0 else None for size in tensor.shape.dim
    )
    return Value(info.name, DTYPES.get(tensor.elem_type, f"type {tensor.elem_type}"), shape)


def opset_version(model: onnx.ModelProto) -> int:
    """Returns the version of the standard operators that a model uses, 0 if it names none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yields a graph and all graphs inside it, such as the branches of an ``If``."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.output:
                    yield from graphs(inner)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Returns a node's attributes by name."""
    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


class Lookup:
    """Finds the producers and the constant values of a model's values."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opset = opset_version(model)
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output}

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Returns the node that computes a value, or None for an input and a stored constant."""
        return self._producers.get(name)

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Returns a value that is stored in the graph, or computed from sizes that are; None for any other."""
        if tensor := self._initializers.get(name):
            return numpy_helper.to_array(tensor)
        node = self._producers.get(name)
        if node is None:
            return None
        if node.op_type == "Constant":
            found = attributes(node)
            if "value" in found:
                return numpy_helper.to_array(found["value"])
            return next((np.asarray(value) for key, value in found.items() if key.startswith("value_")), None)
        return self._folded(node) if node.op_type in _OF_SIZES else None

    def _folded(self, node: onnx.NodeProto) -> NDArray[np.generic] | None:
        feed: dict[str, NDArray[np.generic]] = {}
        for name in node.input:
            array = self.constant(name)
            if array is None or array.size > _LARGEST_SIZES:
                return None
            feed[name] = array
        results: Any = ReferenceEvaluator(node, opsets={"": self._opset}).run(None, feed)
        return np.asarray(results[0])


def rename(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Renames values of a model in place, in all graphs inside it."""
    for graph in graphs(model.graph):
        for node in graph.node:
            for part in (node.input, node.output):
                for index, name in enumerate(part):
                    if name in names:
                        part[index] = names[name]
        for entry in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
            if entry.name in names:
                entry.name = names[entry.name]
        for sparse in graph.sparse_initializer:
            if sparse.values.name in names:
                sparse.values.name = names[sparse.values.name]
        for annotation in graph.quantization_annotation:
            annotation.tensor_name = names.get(annotation.tensor_name, annotation.tensor_name)


def used_names(model: onnx.ModelProto) -> set[str]:
    """Returns the names of all values of a model."""
    names: set[str] = set()
    for graph in graphs(model.graph):
        names |= {entry.name for entry in (*graph.input, *graph.output, *graph.initializer, *graph.value_info)}
        names |= {name for node in graph.node for name in (*node.input, *node.output)}
    return names


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of a model."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes from a model, in place, what the exporter notes about each node: stack traces with local file paths.

    They would tell every user of a bundle where it was made. The graph that is computed stays the same.
    """
    parts: list[Any] = [model]
    for graph in graphs(model.graph):
        parts += [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for function in model.functions:
        parts += [function, *function.node, *function.value_info]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
