"""A graph can be made to say which images had NaN values, without a change of any image."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.onnx_nan import NAN_OUTPUT, with_nan_output
from models.onnx_scan import check_stands_alone

ZOO = sorted((Path(__file__).parents[2] / "models" / "zoo").glob("*/*/generator.onnx"))


def session(content):
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def graph(*tail, source=TensorProto.FLOAT, opset=17):
    """Returns a graph that ends with these operators; before them, it halves its noise, [N, 4]."""
    names = ["halved", *(f"v{index}" for index in range(len(tail) - 1)), "images"]
    constants = {"half": 0.5, "low": 0.0, "high": 255.0}
    nodes = [helper.make_node("Mul", ["noise", "half"], ["halved"])]
    nodes += [
        helper.make_node(operator, [names[index], *more], [names[index + 1]], **attributes)
        for index, (operator, more, attributes) in enumerate(tail)
    ]
    dtype = helper.tensor_dtype_to_np_dtype(source)
    made = helper.make_graph(
        nodes,
        "generator",
        [helper.make_tensor_value_info("noise", source, ["N", 4])],
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 4])],
        [numpy_helper.from_array(np.asarray(value, dtype), name) for name, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


CAST = ("Cast", [], {"to": TensorProto.UINT8})
CLIP = ("Clip", ["low", "high"], {})
ENDS = {
    "cast": [CAST],
    "clip": [CLIP, ("Round", [], {}), CAST],
    "min": [("Max", ["low"], {}), ("Min", ["high"], {}), CAST],
    "identity": [CLIP, CAST, ("Identity", [], {})],
}


SOURCES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
CASES = [(opset, source, end) for opset in (12, 13, 17, 18, 20) for source in SOURCES for end in ENDS]
CASES += [(opset, TensorProto.FLOAT, "cast") for opset in (9, 11)]  # Clip had other inputs, and Mul fewer types


@pytest.mark.parametrize(("opset", "source", "end"), CASES)
def test_nan_is_found_before_it_is_hidden(opset, source, end):
    """From the oldest operators on that a bundle may use."""
    content = graph(*ENDS[end], source=source, opset=opset)
    added = with_nan_output(content)
    onnx.checker.check_model(onnx.load_from_string(added))
    check_stands_alone(added)
    noise = np.full((5, 4), 100, helper.tensor_dtype_to_np_dtype(source))
    noise[1, 2] = noise[3] = np.nan
    images, has_nan = session(added).run(["images", NAN_OUTPUT], {"noise": noise})
    assert has_nan.tolist() == [0, 1, 0, 1, 0]
    (expected,) = session(content).run(["images"], {"noise": noise})
    assert np.array_equal(images[[0, 2, 4]], expected[[0, 2, 4]])


@pytest.mark.parametrize("file", ZOO, ids=lambda file: file.parts[-3])
def test_the_shipped_generators_keep_their_images(file):
    content = file.read_bytes()
    plain, added = session(content), session(with_nan_output(content))
    state = np.random.RandomState(0)
    feed = {"truncation": np.ones(7, np.float32)}
    feed["noise"] = state.randn(7, plain.get_inputs()[0].shape[1]).astype(np.float32)
    if len(plain.get_inputs()) == 3:
        feed["label"] = np.arange(7)
    images, has_nan = added.run(["images", NAN_OUTPUT], feed)
    assert np.array_equal(images, plain.run(["images"], feed)[0])
    assert has_nan.tolist() == [0] * 7
    feed["noise"][2] = np.nan
    assert added.run([NAN_OUTPUT], feed)[0].nonzero()[0].tolist() == [2]


def test_a_graph_without_operators_before_its_images_stays_as_it_is():
    content = graph(CAST)
    assert with_nan_output(content, images="noise") == content


def test_nothing_is_added_twice():
    added = with_nan_output(graph(CAST))
    assert with_nan_output(added) == added


def test_a_circle_of_operators_ends():
    """ONNX Runtime refuses such a graph; it is changed before that."""
    model = onnx.load_from_string(graph(("Identity", [], {}), CAST))
    model.graph.node[1].input[0] = "images"
    model.graph.node[2].op_type = "Identity"
    assert NAN_OUTPUT.encode() in with_nan_output(model.SerializeToString())
