"""The range of images follows from the operators before the output, else from the values."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.training.packing.graphs import FLOAT, model
from training.packing.value_range import find_range

Steps = list[tuple[str, list[Any], dict[str, Any]]]


def chain(steps: Steps, opset: int = 17) -> onnx.ModelProto:
    """A graph of operators in a row behind an unknown value; numbers become constants."""
    nodes, constants, value = [helper.make_node("MatMul", ["z", "w"], ["v"])], {"w": np.eye(4, dtype=np.float32)}, "v"
    for index, (operator, others, attributes) in enumerate(steps):
        names = [value]
        for place, other in enumerate(others):
            constants[f"k{index}_{place}"] = np.array(other, np.float32)
            names.append(f"k{index}_{place}")
        value = f"v{index}"
        nodes.append(helper.make_node(operator, names, [value], **attributes))
    return model(nodes, {"z": (FLOAT, ["N", 4])}, {value: ["N", 4]}, constants, opset)


TANH, SIGMOID = ("Tanh", [], {}), ("Sigmoid", [], {})
SMALL = np.linspace(-0.05, 0.05, 100, dtype=np.float32)
"""Values of an untrained generator: they alone would say nothing."""


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([TANH], "-1..1"),
        ([TANH, ("Transpose", [], {"perm": [1, 0]}), ("Identity", [], {})], "-1..1"),
        ([SIGMOID], "0..1"),
        ([SIGMOID, ("Mul", [2.0], {}), ("Sub", [1.0], {})], "-1..1"),
        ([SIGMOID, ("Mul", [255.0], {})], "0..255"),
        ([TANH, ("Mul", [0.5], {}), ("Add", [0.5], {})], "0..1"),
        ([TANH, ("Add", [1.0], {}), ("Div", [2.0], {})], "0..1"),
        ([TANH, ("Mul", [127.5], {}), ("Add", [128.0], {})], "0..255"),
        ([("Clip", [0.0, 1.0], {})], "0..1"),
        ([("Clip", [-1.0, 1.0], {})], "-1..1"),
        ([("Clip", [0.0, 255.0], {}), ("Cast", [], {"to": TensorProto.UINT8})], "0..255"),
        ([("Max", [-1.0], {}), ("Min", [1.0], {})], "-1..1"),
        ([("Mul", [0.5], {}), ("Add", [0.5], {})], "0..1"),
        ([("Mul", [127.5], {}), ("Add", [128.0], {})], "0..255"),
        ([("Mul", [[0.5, 0.5, 0.5, 0.5]], {}), ("Add", [[0.5, 0.5, 0.5, 0.5]], {})], "0..1"),
        ([("Cast", [], {"to": TensorProto.FLOAT16}), ("Cast", [], {"to": TensorProto.FLOAT}), TANH], "-1..1"),
        ([], "-1..1"),
    ],
)
def test_operators_say_the_range(steps: Steps, expected: str) -> None:
    graph = chain(steps)
    assert find_range(graph, graph.graph.output[0].name, SMALL) == expected


def test_clip_had_attributes_before_opset_11() -> None:
    graph = chain([("Clip", [], {"min": 0.0, "max": 1.0})], opset=9)
    assert find_range(graph, "v0", SMALL) == "0..1"


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-1.6, 1.7, "-1..1"), (0.0, 0.98, "0..1"), (0.1, 0.4, "-1..1"), (-0.3, 0.2, "-1..1"), (-6.0, 260.0, "0..255")],
)
def test_else_the_values_say_it(low: float, high: float, expected: str) -> None:
    graph = chain([])
    assert find_range(graph, "v", np.linspace(low, high, 1000, dtype=np.float32)) == expected


def test_a_relu_does_not_hide_0_to_255() -> None:
    graph = chain([("Relu", [], {})])
    assert find_range(graph, "v0", np.linspace(0, 255, 100, dtype=np.float32)) == "0..255"
    assert find_range(graph, "v0", np.linspace(0, 1, 100, dtype=np.float32)) == "0..1"


def test_a_graph_with_many_branches_takes_no_time() -> None:
    nodes, value = [], "z"
    for index in range(60):
        nodes.append(helper.make_node("Add", [value, value], [f"v{index}"]))
        value = f"v{index}"
    graph = model(nodes, {"z": (FLOAT, ["N", 4])}, {value: ["N", 4]}, {})
    assert find_range(graph, value, SMALL) == "0..255"
