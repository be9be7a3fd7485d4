"""Puts around a graph what a bundle's graph has and it lacks: truncation, labels, scaling, clamping, rounding, layout.

The nodes are written for the graph's own opset, from 9 on. The graph inside stays as it is, but for names.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from training.packing.graph import ELEMENT_TYPES, copied, opset_version, rename, used_names
from training.packing.inputs import LayerNoise
from training.packing.outputs import SCALES, full_shape
from training.packing.plan import Plan

_NAMES = ("noise", "label", "truncation", "images")
_PREFIX = "figment/"


def wrap(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """Returns a bundle's graph: noise, label and truncation → images uint8 [N, H, W, C]."""
    model = copied(model)
    own = {name: _unused(name, model) for name in used_names(model) if name in _NAMES or name.startswith(_PREFIX)}
    rename(model, own)
    before, after = _Nodes(opset_version(model), "in"), _Nodes(opset_version(model), "out")
    _add_inputs(before, plan, own)
    _add_images(after, plan, own)
    graph = model.graph
    nodes = [*before.nodes, *graph.node, *after.nodes]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(before.constants + after.constants)
    count: int | str = plan.batch or "N"
    graph.input.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, [count, plan.inputs.noise.size]))
    if plan.inputs.label is not None:
        graph.input.append(helper.make_tensor_value_info("label", TensorProto.INT64, [count]))
    graph.input.append(helper.make_tensor_value_info("truncation", TensorProto.FLOAT, [count]))
    image = plan.output.image
    sizes = [count, image.height, image.width, image.channels]
    graph.output.append(helper.make_tensor_value_info("images", TensorProto.UINT8, sizes))
    return model


class _Nodes:
    """Nodes and constants that are added to a graph, with names of their own."""

    def __init__(self, opset: int, part: str) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._part = part

    def constant(self, value: NDArray[Any]) -> str:
        """Stores a constant, and returns its name."""
        name = f"{_PREFIX}{self._part}/constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output, and returns the output's name."""
        name = f"{_PREFIX}{self._part}/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output or name], name, **attributes))
        return output or name

    def cast(self, value: str, dtype: str, known: str) -> str:
        """Converts a value to a type, unless it has it already."""
        return value if dtype == known else self.add("Cast", [value], to=ELEMENT_TYPES[dtype])

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Gives a value other sizes."""
        return self.add("Reshape", [value, self.constant(np.array(shape, np.int64))])

    def clip(self, value: str, low: float, high: float) -> str:
        """Limits float32 values."""
        if self.opset < 11:
            return self.add("Clip", [value], min=float(low), max=float(high))
        return self.add(
            "Clip", [value, self.constant(np.array(low, np.float32)), self.constant(np.array(high, np.float32))]
        )

    def round(self, value: str) -> str:
        """Rounds float32 values ≥ 0 to whole numbers."""
        if self.opset < 11:  # Round is newer
            return self.add("Floor", [self.add("Add", [value, self.constant(np.array(0.5, np.float32))])])
        return self.add("Round", [value])


def _add_inputs(nodes: _Nodes, plan: Plan, own: dict[str, str]) -> None:
    inputs = plan.inputs
    noise, truncation = "noise", "truncation"
    if plan.least_truncation:
        truncation = nodes.clip(truncation, plan.least_truncation, float(np.finfo(np.float32).max))
    if inputs.truncation is None:
        noise = nodes.add("Mul", [noise, nodes.reshape(truncation, [-1, 1])])
    else:
        shape = (1,) * inputs.truncation.rank if plan.truncation_shape is None else (-1, *plan.truncation_shape)
        value = truncation if len(shape) == 1 else nodes.reshape(truncation, shape)
        _give(nodes, nodes.cast(value, inputs.truncation.dtype, "float32"), inputs.truncation.name, own)
    if not inputs.noise.has_batch:
        noise = nodes.reshape(noise, inputs.noise.shape)
    elif len(inputs.noise.shape) > 1:
        noise = nodes.reshape(noise, [-1, *inputs.noise.shape])
    _give(nodes, nodes.cast(noise, inputs.noise.dtype, "float32"), inputs.noise.name, own)
    if inputs.label is not None:
        _give(nodes, _label(nodes, plan), inputs.label.name, own)
    for layer in inputs.layer_noise:
        _give(nodes, _layer_noise(nodes, plan, layer), layer.name, own)


def _label(nodes: _Nodes, plan: Plan) -> str:
    label = plan.inputs.label
    assert label is not None
    assert plan.labels is not None
    if label.form == "index":
        value = nodes.cast("label", label.dtype, "int64")
        batch = [-1] if label.has_batch else []
        return value if (batch, label.shape) == ([-1], ()) else nodes.reshape(value, [*batch, *label.shape])
    depth, switch = nodes.constant(np.array([len(plan.labels)], np.int64)), nodes.constant(np.array([0, 1], np.float32))
    value = nodes.cast(nodes.add("OneHot", ["label", depth, switch]), label.dtype, "float32")
    return value if label.has_batch else nodes.reshape(value, label.shape)


def _layer_noise(nodes: _Nodes, plan: Plan, layer: LayerNoise) -> str:
    constant = nodes.constant(plan.layer_noise[layer.name])
    if layer.count == 1:
        return constant
    count = nodes.add("Gather", [nodes.add("Shape", ["noise"]), nodes.constant(np.array([0], np.int64))])
    rest = nodes.constant(np.array([1, layer.height, layer.width], np.int64))
    return nodes.add("Expand", [constant, nodes.add("Concat", [count, rest], axis=0)])


def _give(nodes: _Nodes, value: str, name: str, own: dict[str, str]) -> None:
    """Makes a value the graph's own input of this name."""
    nodes.add("Identity", [value], own.get(name, name))


def _add_images(nodes: _Nodes, plan: Plan, own: dict[str, str]) -> None:
    output = plan.output
    value = own.get(output.name, output.name)
    shape = full_shape(output.layout, output.image)
    if output.shape != shape or not output.has_batch:
        value = nodes.reshape(value, [-1, *shape])
    if output.dtype != "uint8" or output.image.channels == 4:
        value = nodes.cast(value, "float32", output.dtype)
        scale, shift = SCALES[output.value_range]
        if scale != 1:
            value = nodes.add("Mul", [value, nodes.constant(np.array(scale, np.float32))])
        if shift:
            value = nodes.add("Add", [value, nodes.constant(np.array(shift, np.float32))])
        value = nodes.round(nodes.clip(value, 0, 255))
        if output.image.channels == 4:
            value = _without_hidden_colour(nodes, value, axis=1 if output.layout == "nchw" else 3)
        value = nodes.add("Cast", [value], to=TensorProto.UINT8)
    if output.layout == "nchw":
        nodes.add("Transpose", [value], "images", perm=[0, 2, 3, 1])
    else:
        nodes.add("Identity", [value], "images")


def _without_hidden_colour(nodes: _Nodes, value: str, axis: int) -> str:
    """Makes colours black where alpha is 0."""
    alpha = nodes.add("Gather", [value, nodes.constant(np.array([3], np.int64))], axis=axis)
    seen = nodes.add("Greater", [alpha, nodes.constant(np.array(0, np.float32))])
    return nodes.add("Mul", [value, nodes.add("Cast", [seen], to=TensorProto.FLOAT)])


def _unused(name: str, model: onnx.ModelProto) -> str:
    names = used_names(model)
    candidate = f"own/{name}"
    while candidate in names:
        candidate = f"own/{candidate}"
    return candidate
