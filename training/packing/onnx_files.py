"""Reads ONNX files of strangers: one model in memory, with all its weights."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from training.errors import TrainingError
from training.packing.graph import graphs, opset_version

OLDEST_OPSET = 9
MAX_BYTES = 2**31 - 1
"""The largest message of protobuf, so the largest graph in one file."""


def read_onnx(path: Path) -> onnx.ModelProto:
    """Reads an ONNX file and the weights that lie beside it.

    Raises ``TrainingError`` if it is no ONNX file, if its weights are missing or lie outside its folder, or if it has
    more than 2 GiB, which one file of a bundle cannot hold.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise TrainingError(f"{path}: is no ONNX file, or a damaged one ({str(error) or 'not readable'})") from error
    if not model.graph.node:
        raise TrainingError(f"{path}: is no ONNX file with a graph: it has no operator")
    _check_external_data(model, path)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception as error:  # the library raises its own checker's errors, and OSError
        raise TrainingError(f"{path}: its external data cannot be read ({error})") from error
    return normalise(model, path)


def normalise(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Brings a model into the one form that packing reads, in place where it can. What it computes stays the same.

    Stored weights are no inputs: until IR version 3 each was an input, too, and a runtime could not count on its value.
    Functions of the model's own are put where they are called.

    Raises ``TrainingError`` for operators older than ``OLDEST_OPSET`` and graphs over 2 GiB.
    """
    if opset_version(model) < OLDEST_OPSET:
        raise TrainingError(
            f"{path}: its operators are of opset {opset_version(model)}, and {OLDEST_OPSET} or newer is needed: "
            "export it again"
        )
    if model.ByteSize() > MAX_BYTES:
        raise TrainingError(
            f"{path}: has {model.ByteSize() / 2**30:.1f} GiB, and a bundle holds 2 GiB: export it as float16"
        )
    if model.functions:
        model = inliner.inline_local_functions(model)
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [entry for entry in model.graph.input if entry.name not in stored]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = max(model.ir_version, 4)
    return model


def _check_external_data(model: onnx.ModelProto, path: Path) -> None:
    folder = path.parent.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        file = (folder / location).resolve()
        if not location or Path(location).is_absolute() or not file.is_relative_to(folder):
            raise TrainingError(
                f"{path}: keeps {tensor.name!r} in {location!r}, outside its folder: only files beside it are read"
            )
        if not file.is_file():
            raise TrainingError(
                f"{path}: keeps its weights in {location!r}, which is not there: put it beside the file"
            )


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    found: list[onnx.TensorProto] = []
    nodes = [node for function in model.functions for node in function.node]
    for graph in graphs(model.graph):
        found += graph.initializer
        found += [part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)]
        nodes += graph.node
    for node in nodes:
        for attribute in node.attribute:
            found += [attribute.t, *attribute.tensors]
    return found
