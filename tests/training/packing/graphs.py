"""Small ONNX graphs, written operator by operator."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, HALF = TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT16

Sizes = Sequence[int | str | None]


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, Sizes]],
    outputs: dict[str, Sizes],
    constants: dict[str, Any],
    opset: int = 17,
) -> onnx.ModelProto:
    """Returns a model of nodes, with inputs by name, float outputs and constants."""
    graph = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info(name, kind, sizes) for name, (kind, sizes) in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, sizes) for name, sizes in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def generator(
    name: str = "z", sizes: Sizes = ("N", 8), tail: str | None = "Tanh", gain: float = 1.0, channels: int = 3
) -> onnx.ModelProto:
    """Returns a generator: one dense layer, 4 × 4 pixels, and a last operator."""
    weights = np.random.RandomState(0).randn(8, channels * 16).astype(np.float32) * gain
    constants = {"w": weights, "flat": np.array([-1, 8]), "sizes": np.array([-1, channels, 4, 4])}
    nodes = [
        helper.make_node("Reshape", [name, "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "w"], ["dense"], "dense"),
        helper.make_node("Reshape", ["dense", "sizes"], ["raw"]),
        helper.make_node(tail or "Identity", ["raw"], ["image"]),
    ]
    return model(nodes, {name: (FLOAT, sizes)}, {"image": ["N", channels, 4, 4]}, constants)


def saved(graph: onnx.ModelProto, folder: Path, name: str = "generator.onnx") -> Path:
    """Writes a model into a folder, and returns its path."""
    onnx.save(graph, folder / name)
    return folder / name
