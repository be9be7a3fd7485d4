"""Writes generators as bundles that really fail: each is sound at the warm-up, and fails for inputs that ask for it.

All are the same perceptron, 16×16 grey. A first noise number above ``TRIGGER`` makes it fail; seeds draw none above 6.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.serving.generators import write_generator
from models.bundle import ImageSpec, read_bundle
from models.noise import noise_for_seeds

NOISE_DIM = 32
SEEDS = 256
"""As many different images of each generator are known."""
SIDE = 16
TRIGGER = 100.0
LEAST_FAILING_BATCH = 8
"""``hungry`` runs out of memory in batches of this size and above."""
HUNGRY_TRUNCATION = 0.5
"""``hungry`` needs that memory only for a truncation below 0.75: the warm-up has 1."""

_HIDDEN = 256
_ENDLESS = 2**62
_MORE_THAN_THERE_IS = 2**45  # numbers of four bytes: beyond the address space of a process

FAULTS = ("raises", "nan", "hangs", "hungry")


def write_zoo(root: Path, *names: str, version: int = 1, rounds: int = 0, tiles: int = 1) -> None:
    """Writes a bundle ``NAME/version`` for each name: one of ``FAULTS``, or any other name for a sound generator.

    ``rounds`` make it slower. Its images are repeated ``tiles`` times in both directions. Another version has other
    weights.
    """
    for name in names:
        graph = _graph(name if name in FAULTS else None, version, rounds, tiles)
        image = ImageSpec(height=SIDE * tiles, width=SIDE * tiles, channels=1)
        write_generator(root, name, version, graph, image, NOISE_DIM)


def reference(bundle: Path, seeds: int, truncation: float = 1.0) -> NDArray[np.uint8]:
    """Returns the images of the seeds 0 … ``seeds`` - 1, uint8 [N, H, W], from ONNX Runtime without the service.

    Raises ``RuntimeError`` if two seeds have the same image: a mixed-up answer would not be noticed.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(read_bundle(bundle).onnx, options, providers=["CPUExecutionProvider"])
    noise = noise_for_seeds(range(seeds), NOISE_DIM)
    batch = LEAST_FAILING_BATCH // 2
    batches = [
        session.run(["images"], {"noise": some, "truncation": np.full(len(some), truncation, np.float32)})[0]
        for some in (noise[start : start + batch] for start in range(0, seeds, batch))
    ]
    images: NDArray[np.uint8] = np.concatenate(batches)[..., 0]
    if len(np.unique(images.reshape(seeds, -1), axis=0)) < seeds:
        raise RuntimeError(f"two of the first {seeds} seeds have the same image")
    return images


def _graph(fault: str | None, version: int, rounds: int, tiles: int) -> bytes:
    state = np.random.RandomState(version)
    constants: dict[str, Any] = {
        "w0": (state.randn(NOISE_DIM, _HIDDEN) / np.sqrt(NOISE_DIM)).astype("f4"),
        "w1": (state.randn(_HIDDEN, SIDE * SIDE) / np.sqrt(_HIDDEN)).astype("f4"),
        "column": np.array([-1, 1]),
        "shape": np.array([-1, 1, SIDE, SIDE]),
        "tiles": np.array([1, 1, tiles, tiles]),
        "half": np.float32(127.5),
        "low": np.float32(0),
        "high": np.float32(255),
        "trigger": np.float32(TRIGGER),
        "first": np.array([0]),
    }
    nodes = [
        helper.make_node("Reshape", ["truncation", "column"], ["t"]),
        helper.make_node("Mul", ["noise", "t"], ["z"]),
        helper.make_node("Gather", ["noise", "first"], ["marks"], axis=1),  # [N, 1]
        helper.make_node("ReduceMax", ["marks"], ["mark"], keepdims=0),
    ]
    nodes += {None: _sound, "raises": _raises, "nan": _nan, "hangs": _hangs, "hungry": _hungry}[fault](constants)
    nodes += [
        helper.make_node("Add", ["z", "fault"], ["zf"]),
        helper.make_node("MatMul", ["zf", "w0"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
    ]
    nodes += _rounds(rounds, constants)
    nodes += [
        helper.make_node("MatMul", ["deep", "w1"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["raw"]),
        helper.make_node("Tanh", ["raw"], ["tanh"]),
        helper.make_node("Mul", ["tanh", "half"], ["scaled"]),
        helper.make_node("Add", ["scaled", "half"], ["shifted"]),
        helper.make_node("Clip", ["shifted", "low", "high"], ["clipped"]),
        helper.make_node("Round", ["clipped"], ["rounded"]),
        helper.make_node("Tile", ["rounded", "tiles"], ["tiled"]),
        helper.make_node("Cast", ["tiled"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["images"], perm=[0, 2, 3, 1]),
    ]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "generator",
        [
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["N", NOISE_DIM]),
            helper.make_tensor_value_info("truncation", TensorProto.FLOAT, ["N"]),
        ],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIDE, SIDE, 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _rounds(rounds: int, constants: dict[str, Any]) -> list[Any]:
    """Multiplies the hidden numbers by one matrix again and again."""
    if not rounds:
        return [helper.make_node("Identity", ["a"], ["deep"])]
    weights = (np.random.RandomState(0).randn(_HIDDEN, _HIDDEN) * np.sqrt(2 / _HIDDEN)).astype("f4")
    constants |= {"number": np.int64(rounds), "always": np.bool_(True)}
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("MatMul", ["x", "k"], ["m"]),
            helper.make_node("Relu", ["m"], ["r"]),
            helper.make_node("LpNormalization", ["r"], ["n"], p=2, axis=-1),
            helper.make_node("Mul", ["n", "size"], ["y"]),
        ],
        "deeper",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["M", _HIDDEN]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["M", _HIDDEN]),
        ],
        [numpy_helper.from_array(weights, "k"), numpy_helper.from_array(np.asarray(np.sqrt(_HIDDEN), "f4"), "size")],
    )
    return [helper.make_node("Loop", ["number", "always", "a"], ["deep"], body=body)]


def _sound(constants: dict[str, Any]) -> list[Any]:
    constants["fault"] = np.float32(0)
    return []


def _raises(constants: dict[str, Any]) -> list[Any]:
    """An index that is out of range: ONNX Runtime raises."""
    constants["table"] = np.zeros(1, np.float32)
    return [
        helper.make_node("Greater", ["mark", "trigger"], ["asked"]),
        helper.make_node("Cast", ["asked"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["fault"]),
    ]


def _nan(constants: dict[str, Any]) -> list[Any]:
    """The square root of a negative number, in the rows that ask for it alone."""
    constants["nothing"] = np.float32(0)
    return [
        helper.make_node("Sub", ["trigger", "marks"], ["distance"]),
        helper.make_node("Sqrt", ["distance"], ["root"]),
        helper.make_node("Mul", ["root", "nothing"], ["fault"]),
    ]


def _hangs(constants: dict[str, Any]) -> list[Any]:
    """A loop of 2⁶² rounds, or of none."""
    constants |= {"endless": np.int64(_ENDLESS), "none": np.int64(0), "yes": np.bool_(True), "zero": np.float32(0)}
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Neg", ["x"], ["y"]),
        ],
        "round",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, []),
        ],
    )
    return [
        helper.make_node("Greater", ["mark", "trigger"], ["asked"]),
        helper.make_node("Where", ["asked", "endless", "none"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "yes", "zero"], ["fault"], body=body),
    ]


def _hungry(constants: dict[str, Any]) -> list[Any]:
    """A tensor beyond all memory, in large batches that are asked for with a low truncation."""
    constants |= {
        "least": np.array([LEAST_FAILING_BATCH]),
        "above": np.float32(0.75),
        "much": np.array([_MORE_THAN_THERE_IS]),
        "one": np.array([1]),
    }
    return [
        helper.make_node("Shape", ["truncation"], ["batch"]),
        helper.make_node("GreaterOrEqual", ["batch", "least"], ["large"]),
        helper.make_node("ReduceMin", ["truncation"], ["lowest"], keepdims=0),
        helper.make_node("Less", ["lowest", "above"], ["low_one"]),
        helper.make_node("And", ["large", "low_one"], ["asked"]),
        helper.make_node("Where", ["asked", "much", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["fault"], keepdims=0),
    ]
