"""Runs ONNX graphs on the CPU."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from models.bundle import Tensor
from training.errors import TrainingError

Feed = dict[str, NDArray[Any]]
"""A graph's inputs by name."""


class Runner:
    """Runs a graph with ONNX Runtime."""

    def __init__(self, graph: onnx.ModelProto | bytes) -> None:
        """Opens the graph. Raises ``TrainingError`` if ONNX Runtime cannot."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # a wrong declared size is found out here anyway
        content = graph if isinstance(graph, bytes) else graph.SerializeToString()
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises many kinds for a faulty graph
            raise TrainingError(f"ONNX Runtime cannot open the graph: {one_line(error)}") from error
        self.inputs = tuple(map(_tensor, self._session.get_inputs()))
        self.outputs = tuple(map(_tensor, self._session.get_outputs()))

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """Returns all outputs by name. Raises ``TrainingError`` if ONNX Runtime fails."""
        try:
            arrays = self._session.run([output.name for output in self.outputs], feed)
        except Exception as error:
            raise TrainingError(f"ONNX Runtime cannot run the graph: {one_line(error)}") from error
        return {output.name: np.asarray(array) for output, array in zip(self.outputs, arrays, strict=True)}


def _tensor(node: Any) -> Tensor:
    dtype = node.type.removeprefix("tensor(").removesuffix(")")
    return Tensor(node.name, {"float": "float32"}.get(dtype, dtype), tuple(node.shape))


def one_line(error: Exception) -> str:
    """Returns the text of a library's error as one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:299]}…"
