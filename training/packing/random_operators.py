"""Finds operators that draw random numbers, and replaces noise by constants."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.errors import TrainingError
from training.packing.graph import Lookup, attributes, copied, graphs
from training.packing.running import Feed, Runner

_NOISE = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_RANDOM = (*_NOISE, "Bernoulli", "Multinomial")


def random_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Returns the nodes that draw random numbers, those of dropout in training mode included."""
    lookup = Lookup(model)
    return [
        node
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type in _RANDOM or _is_active_dropout(node, lookup)
    ]


def check_not_random(model: onnx.ModelProto) -> None:
    """Raises ``TrainingError``, with the names of the nodes, if a graph draws random numbers."""
    if nodes := random_nodes(model):
        raise TrainingError(
            f"the graph draws random numbers ({_names(nodes)}), so a seed would not determine its image: "
            "--freeze-random SEED replaces them by constants"
        )


def check_inference_mode(model: onnx.ModelProto) -> None:
    """Raises ``TrainingError`` for a batch normalisation in training mode: images would depend on their neighbours."""
    nodes = [
        node
        for graph in graphs(model.graph)
        for node in graph.node
        if node.op_type == "BatchNormalization" and len([name for name in node.output if name]) > 1
    ]
    if nodes:
        raise TrainingError(
            f"batch normalisation is in training mode ({_names(nodes)}), so an image would depend on the others of its "
            "batch: call eval() before exporting"
        )


def freeze_random(model: onnx.ModelProto, seed: int, feed: Feed) -> onnx.ModelProto:
    """Returns the model with its random noise replaced by constants: the same for every image.

    The numbers come from one ``numpy.random.RandomState(seed)``, in the order of the nodes. ``feed`` holds inputs for
    one run, which finds the sizes.

    Raises ``TrainingError`` if a random operator is no noise, or lies inside a loop or branch.
    """
    nodes = random_nodes(model)
    frozen = [node for node in model.graph.node if node.op_type in _NOISE]
    if others := [node for node in nodes if node not in frozen]:
        raise TrainingError(
            f"--freeze-random replaces noise; {_names(others)} cannot be frozen: call eval() before exporting"
        )
    drawn = _run_to(model, frozen, feed)
    state = np.random.RandomState(seed)
    model = copied(model)
    replaced: list[onnx.NodeProto] = []
    for node in model.graph.node:
        output = node.output[0]
        if output not in drawn:
            replaced.append(node)
            continue
        shape = drawn[output].shape
        values = _draw(node, state, (1, *shape[1:]) if len(shape) > 1 else shape).astype(drawn[output].dtype)
        constant = f"{output}/frozen"
        model.graph.initializer.append(numpy_helper.from_array(values, constant))
        if node.op_type.endswith("Like"):
            # The reference has the size of the batch that is generated.
            replaced.append(helper.make_node("Shape", [node.input[0]], [f"{output}/shape"]))
            replaced.append(helper.make_node("Expand", [constant, f"{output}/shape"], [output], node.name))
        else:
            replaced.append(helper.make_node("Identity", [constant], [output], node.name))
    del model.graph.node[:]
    model.graph.node.extend(replaced)
    return model


def _draw(node: onnx.NodeProto, state: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[Any]:
    found: dict[str, Any] = attributes(node)
    if node.op_type.startswith("RandomNormal"):
        return np.asarray(state.randn(*shape) * found.get("scale", 1.0) + found.get("mean", 0.0))
    return state.uniform(found.get("low", 0.0), found.get("high", 1.0), shape)


def _run_to(model: onnx.ModelProto, nodes: list[onnx.NodeProto], feed: Feed) -> dict[str, NDArray[Any]]:
    """Runs the graph once, and returns by output what each of these nodes drew."""
    probe = copied(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=node.output[0]) for node in nodes)
    return Runner(probe).run(feed)


def _is_active_dropout(node: onnx.NodeProto, lookup: Lookup) -> bool:
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    mode = lookup.constant(node.input[2])
    return mode is None or bool(mode)


def _names(nodes: list[onnx.NodeProto]) -> str:
    names = [f"{node.name or node.output[0]} ({node.op_type})" for node in nodes]
    return ", ".join(names[:5]) + (f", … {len(names)} in all" if len(names) > 5 else "")
