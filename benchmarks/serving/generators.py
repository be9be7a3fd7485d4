"""Writes two generators with random weights as bundles. For a benchmark only the shapes matter."""

import hashlib
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.bundle import Card, DatasetRecord, ImageSpec, Parity, TrainingRecord, write_bundle

NOISE_DIM = 128


class _Graph:
    """Builds a graph node by node. Each node takes the output of the previous one."""

    def __init__(self) -> None:
        self._random = np.random.RandomState(0)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []
        self.parameters = 0
        self.output = "noise"

    def weights(self, *shape: int) -> str:
        """Adds random weights, scaled to keep the variance. All axes but the first count as inputs."""
        self.parameters += int(np.prod(shape))
        scale = 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant((self._random.randn(*shape) * scale).astype(np.float32))

    def constant(self, value: Any) -> str:
        name = f"c{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> None:
        output = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, [self.output, *inputs], [output], **attributes))
        self.output = output

    def to_onnx(self, image: ImageSpec) -> bytes:
        """Converts the last tensor, [N, C, H, W] around 0, to a bundle's images. Returns the graph as ONNX bytes."""
        self.add("Tanh")
        self.add("Mul", self.constant(np.float32(127.5)))
        self.add("Add", self.constant(np.float32(127.5)))
        self.add("Round")
        self.add("Cast", to=TensorProto.UINT8)
        self.add("Transpose", perm=[0, 2, 3, 1])
        self._nodes[-1].output[0] = "images"
        inputs = [
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", NOISE_DIM]),
            helper.make_tensor_value_info("truncation", TensorProto.FLOAT, ["N"]),
        ]
        shape: list[str | int] = ["N", image.height, image.width, image.channels]
        outputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)]
        graph = helper.make_graph(self._nodes, "generator", inputs, outputs, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString()
        return content


def _truncated_noise() -> _Graph:
    graph = _Graph()
    # noise · truncation, as in every bundle
    graph._nodes.append(helper.make_node("Unsqueeze", ["truncation", graph.constant(np.array([1]))], ["column"]))
    graph.add("Mul", "column")
    return graph


def tiny() -> tuple[bytes, ImageSpec]:
    """Returns a perceptron with 0.23 M weights, 28×28 grey, and its image size."""
    graph = _truncated_noise()
    graph.add("Gemm", graph.weights(256, NOISE_DIM), transB=1)
    graph.add("Relu")
    graph.add("Gemm", graph.weights(784, 256), transB=1)
    graph.add("Reshape", graph.constant(np.array([-1, 1, 28, 28])))
    image = ImageSpec(height=28, width=28, channels=1)
    return graph.to_onnx(image), image


def g32() -> tuple[bytes, ImageSpec]:
    """Returns a DCGAN with 0.94 M weights, 32×32 RGB, and its image size."""
    graph = _truncated_noise()
    channels = [256, 128, 64, 64]
    graph.add("Gemm", graph.weights(channels[0] * 16, NOISE_DIM), transB=1)
    graph.add("Reshape", graph.constant(np.array([-1, channels[0], 4, 4])))
    scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
    for before, after in itertools.pairwise(channels):
        graph.add(
            "Resize", "", scales, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
        )
        graph.add("Conv", graph.weights(after, before, 3, 3), pads=[1, 1, 1, 1])
        graph.add("Relu")
    graph.add("Conv", graph.weights(3, channels[-1], 3, 3), pads=[1, 1, 1, 1])
    image = ImageSpec(height=32, width=32, channels=3)
    return graph.to_onnx(image), image


def write_generators(root: Path) -> None:
    """Writes ``tiny/1`` and ``g32/1`` below ``root``."""
    for build in (tiny, g32):
        write_generator(root, build.__name__, 1, *build())


def write_generator(
    root: Path, name: str, version: int, onnx_bytes: bytes, image: ImageSpec, noise_dim: int = NOISE_DIM
) -> None:
    """Writes a generator below ``root`` as a bundle of this name and version."""
    card = Card(
        name=name,
        version=version,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        architecture="benchmark",
        noise_dim=noise_dim,
        labels=None,
        image=image,
        sha256=hashlib.sha256(onnx_bytes).hexdigest(),
        opset=17,
        precision="fp32",
        training=TrainingRecord(
            dataset=DatasetRecord(name="none", fingerprint="0" * 64, images=1),
            configuration={},
            seed=0,
            images_seen=0,
            source_revision=None,
        ),
        parity=Parity(max_difference=0, batch_sizes=(1,)),
        licence="none",
        intended_use="benchmarks",
    )
    write_bundle(root, card, onnx_bytes, b"")
