"""The service accepts bodies as KServe's and MLServer's Python libraries write them."""

import json

import numpy as np
import pytest

from serving.errors import ApiError
from serving.oip.messages import read_infer_request
from tests.serving.in_process import InProcess, request


@pytest.fixture(scope="module")
def served(zoo):
    served = InProcess(zoo)
    yield served
    served.close()


def infer(served, body, *headers, path="mlp"):
    """Status, and the answer's JSON."""
    status, _, answer = served.ask(request(body, *headers, path=f"/v2/models/{path}/infer"))
    return status, json.loads(answer)


def images_of(served, model, *seeds, **more):
    """Returns the images of ``POST /generate`` for the same seeds, as the protocol's flat list."""
    body = {"model": model, "seeds": list(seeds), "format": "npy"} | more
    status, _, content = served.ask(request(body, "Accept: application/x-npy"))
    assert status == 200, content
    return np.frombuffer(content[128:], np.uint8).tolist()


# KServe 0.21, InferRequest.to_rest: names the model in the body, and leaves out absent fields.
KSERVE = {
    "id": "4be4e82f-5500-420a-a5c5-ac86841e271b",
    "model_name": "conv",
    "inputs": [
        {"name": "seed", "shape": [2], "datatype": "INT64", "data": [5, 6]},
        {"name": "label", "shape": [2], "datatype": "INT64", "parameters": {"description": "digits"}, "data": [3, 4]},
    ],
    "outputs": [{"name": "images", "parameters": {"binary_data": False}}],
    "parameters": {"priority": 1, "traffic": "canary"},
}

# MLServer 1.6, InferenceRequest.model_dump() with NumpyCodec's inputs: every field, null if there is none, and vectors
# as columns.
MLSERVER = {
    "id": None,
    "parameters": {"content_type": "np", "headers": None},
    "inputs": [
        {
            "name": "seed",
            "shape": [2, 1],
            "datatype": "INT64",
            "parameters": {"content_type": "np", "headers": None},
            "data": [5, 6],
        },
        {"name": "label", "shape": [2, 1], "datatype": "INT64", "parameters": None, "data": [3, 4]},
        {
            "name": "truncation",
            "shape": [2, 1],
            "datatype": "FP32",
            "parameters": {"content_type": None, "headers": {"x-request-id": "1"}},
            "data": [[0.5], [0.5]],
        },
    ],
    "outputs": [{"name": "images", "parameters": None}],
}


def test_kserves_body(served):
    status, answer = infer(served, KSERVE, path="conv")
    assert status == 200, answer
    assert answer["id"] == KSERVE["id"]
    assert answer["outputs"][0]["data"] == images_of(served, "conv", 5, 6, labels=[3, 4])


def test_kserves_body_with_binary_tensors(served):
    seed = {"name": "seed", "shape": [2], "datatype": "INT64", "parameters": {"binary_data_size": 16}}
    text = json.dumps({"id": "1", "model_name": "conv", "inputs": [seed]}).encode()
    headers = "Content-Type: application/octet-stream", f"inference-header-content-length: {len(text)}"
    status, answer = infer(served, text + np.array([5, 6], "<i8").tobytes(), *headers, path="conv/versions/1")
    assert status == 200, answer
    assert answer["outputs"][0]["data"] == images_of(served, "conv", 5, 6)


@pytest.mark.parametrize("outputs", [MLSERVER["outputs"], None, [{"name": "images", "parameters": {"headers": None}}]])
def test_mlservers_body(served, outputs):
    status, answer = infer(served, MLSERVER | {"outputs": outputs, "parameters": None}, path="conv")
    assert status == 200, answer
    assert "id" not in answer
    assert answer["outputs"][0]["data"] == images_of(served, "conv", 5, 6, labels=[3, 4], truncation=0.5)
    assert infer(served, MLSERVER, path="conv") == (status, answer)


def test_columns_in_binary(served):
    """[N, 1] is a vector in either form, and its values go to the images in order."""
    values = {"seed": ("UINT32", np.array([5, 6], "<u4")), "truncation": ("FP32", np.array([0.25, 1], "<f4"))}
    inputs = [
        {"name": name, "shape": [2, 1], "datatype": datatype, "parameters": {"binary_data_size": array.nbytes}}
        for name, (datatype, array) in values.items()
    ]
    text = json.dumps({"inputs": inputs}).encode()
    content = text + b"".join(array.tobytes() for _, array in values.values())
    status, answer = infer(served, content, f"Inference-Header-Content-Length: {len(text)}")
    assert status == 200, answer
    each = images_of(served, "mlp", 5, truncation=0.25) + images_of(served, "mlp", 6)
    assert answer["outputs"][0]["data"] == each


def body(**more):
    return json.dumps({"inputs": [{"name": "seed", "shape": [1], "datatype": "INT64", "data": [1]}], **more}).encode()


@pytest.mark.parametrize("unknown", [1, None, "text", [1], {"a": {"b": [None]}}])
def test_members_outside_of_the_protocol_are_ignored(unknown):
    seed = {
        "name": "seed",
        "shape": [1],
        "datatype": "INT64",
        "data": [1],
        "zz": unknown,
        "parameters": {"zz": unknown},
    }
    image = {"name": "images", "zz": unknown, "parameters": {"zz": unknown, "binary_data": None}}
    message = {"inputs": [seed], "outputs": [image], "zz": unknown, "parameters": {"zz": unknown}}
    given = read_infer_request(json.dumps(message).encode(), None)
    assert given.inputs["seed"].array().tolist() == [1]
    assert not given.binary_output


def test_null_equals_absence():
    nothing = {"id": None, "model_name": None, "model_version": None, "outputs": None}
    for parameters in (None, {}, {"binary_data_output": None}):
        assert read_infer_request(body(**nothing, parameters=parameters), None) == read_infer_request(body(), None)
    with_size = {
        "name": "seed",
        "shape": [1],
        "datatype": "INT64",
        "data": [1],
        "parameters": {"binary_data_size": None},
    }
    assert read_infer_request(json.dumps({"inputs": [with_size]}).encode(), None) == read_infer_request(body(), None)
    binary = with_size | {"data": None, "parameters": {"binary_data_size": 8}}
    text = json.dumps({"inputs": [binary]}).encode()
    assert read_infer_request(text + bytes(8), str(len(text))).inputs["seed"].array().tolist() == [0]


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"model_name": "mlp"},
        {"model_name": "mlp", "model_version": "2"},
        {"model_version": 2},
        {"model_name": "", "model_version": ""},
    ],
)
def test_a_body_may_repeat_the_paths_model(named):
    read_infer_request(body(**named), None).check_model("mlp", 2)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"model_name": "conv"}, "model_name: the path means 'mlp', the body 'conv'."),
        ({"model_version": "1"}, "model_version: the path means version 2 of mlp, the body '1'"),
        ({"model_version": 0}, "model_version: the path means version 2 of mlp, the body '0'"),
    ],
)
def test_a_body_with_another_model_than_its_path_is_rejected(named, says):
    with pytest.raises(ApiError) as error:
        read_infer_request(body(**named), None).check_model("mlp", 2)
    assert error.value.status == 422
    assert error.value.sentence.startswith(says)
