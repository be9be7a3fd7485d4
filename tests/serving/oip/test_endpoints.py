"""The Open Inference Protocol: Triton's own client gets images, and bad input gets a 4xx and a sentence."""

import io
import json

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

MLP, CONV = "/v2/models/mlp", "/v2/models/conv"


@pytest.fixture
def triton_client(service):
    with triton.InferenceServerClient(f"127.0.0.1:{service.port}") as client:
        yield client


def tensor(name, values, datatype, binary=True):
    given = triton.InferInput(name, values.shape, datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    return given


def by_generate(client, **body):
    answer = client.post("/generate", json=body, headers={"Accept": "application/x-npy"})
    assert answer.status_code == 200, answer.text
    return np.load(io.BytesIO(answer.content))


def infer(client, body, path=MLP, binary=b"", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    if binary:
        headers = {"Inference-Header-Content-Length": str(len(content))} | headers
    return client.post(f"{path}/infer", content=content + binary, headers=headers)


def seeds(*values, **more):
    return {"name": "seed", "shape": [len(values)], "datatype": "INT64", "data": list(values)} | more


# --- metadata


def test_server_and_health(triton_client):
    assert triton_client.is_server_live()
    assert triton_client.is_server_ready()
    metadata = triton_client.get_server_metadata()
    assert metadata["name"] == "figment"
    assert metadata["extensions"] == ["binary_tensor_data"]


def test_model_metadata_and_readiness(triton_client):
    image = {"name": "images", "datatype": "UINT8", "shape": [-1, 16, 16, 1]}
    assert triton_client.get_model_metadata("conv", "1") == {
        "name": "conv",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "seed", "datatype": "UINT32", "shape": [-1]},
            {"name": "noise", "datatype": "FP32", "shape": [-1, 24]},
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "truncation", "datatype": "FP32", "shape": [-1]},
        ],
        "outputs": [image],
    }
    metadata = triton_client.get_model_metadata("mlp")
    assert metadata["versions"] == ["1", "2"]
    assert "label" not in [given["name"] for given in metadata["inputs"]]
    assert triton_client.is_model_ready("mlp")
    assert triton_client.is_model_ready("mlp", "1")
    assert not triton_client.is_model_ready("mlp", "3")
    assert not triton_client.is_model_ready("broken")


# --- images


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_the_images_of_generate(client, triton_client, binary_in, binary_out):
    outputs = None if binary_out is None else [triton.InferRequestedOutput("images", binary_data=binary_out)]
    result = triton_client.infer(
        "conv",
        [
            tensor("seed", np.array([5, 4294967295, 7], np.uint32), "UINT32", binary_in),
            tensor("label", np.array([0, 9, 3]), "INT64", binary_in),
            tensor("truncation", np.array([0.5, 0.5, 0.5], np.float32), "FP32", binary_in),
        ],
        outputs=outputs,
        request_id="mine",
    )
    expected = by_generate(client, model="conv", seeds=[5, 4294967295, 7], labels=[0, 9, 3], truncation=0.5)
    images = result.as_numpy("images")
    assert images.dtype == np.uint8
    assert np.array_equal(images, expected)
    metadata = result.get_response()
    assert (metadata["model_name"], metadata["model_version"], metadata["id"]) == ("conv", "1", "mine")


def test_versions_and_default_labels(client, triton_client):
    given = [tensor("seed", np.array([1, 12], np.int64), "INT64")]
    first, newest = (triton_client.infer("mlp", given, model_version=version) for version in ("1", ""))
    assert np.array_equal(first.as_numpy("images"), by_generate(client, seeds=[1, 12], version=1))
    assert np.array_equal(newest.as_numpy("images"), by_generate(client, seeds=[1, 12], version=2))
    by_seed = triton_client.infer("conv", given).as_numpy("images")
    assert np.array_equal(by_seed, by_generate(client, model="conv", seeds=[1, 12], labels=[1, 2]))


@pytest.mark.parametrize("count", [1, 3, 40])
def test_noise_flat_nested_and_binary(client, triton_client, count):
    noise = np.stack([np.random.RandomState(seed).randn(32) for seed in range(count)]).astype(np.float32)
    expected = by_generate(client, seeds=list(range(count)))
    for data in (noise.tolist(), noise.ravel().tolist()):
        body = {"inputs": [{"name": "noise", "datatype": "FP32", "shape": [count, 32], "data": data}]}
        answer = infer(client, body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == expected.ravel().tolist()
        assert "id" not in answer.json()
    images = triton_client.infer("mlp", [tensor("noise", noise, "FP32")]).as_numpy("images")
    assert np.array_equal(images, expected)


def test_responses_have_the_headers_of_generate(client):
    answer = infer(client, {"inputs": [seeds(3, 4)], "parameters": {"binary_data_output": True}})
    assert answer.headers["x-figment-seeds"] == "3,4"
    assert answer.headers["server-timing"].startswith("queue;dur=")
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"] == [
        {"name": "images", "datatype": "UINT8", "shape": [2, 16, 16, 3], "parameters": {"binary_data_size": 1536}}
    ]
    assert answer.content[length:] == by_generate(client, seeds=[3, 4]).tobytes()


def test_metrics_use_the_template_and_count_tensors(client):
    def value(name, **labels):
        families = text_string_to_metric_families(client.get("/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    route = "/v2/models/{model}/versions/{version}/infer"
    before = value("figment_images_total", format="tensor"), value("figment_requests_total", route=route, code="200")
    infer(client, {"inputs": [seeds(1, 2)]}, f"{MLP}/versions/1")
    after = value("figment_images_total", format="tensor"), value("figment_requests_total", route=route, code="200")
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
    for number in range(20):
        client.get(f"/v2/models/scan{number}/versions/scan{number}")
        client.get(f"/v2/scan{number}")
    assert "scan" not in client.get("/metrics").text


# --- rejections


def assert_refused(answer, status, says=""):
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    assert 0 < len(answer.json()["error"]) < 500
    assert says in answer.json()["error"], answer.text
    assert "Traceback" not in answer.text
    assert "pydantic" not in answer.text


def noise(shape, data, **more):
    return {"name": "noise", "datatype": "FP32", "shape": shape, "data": data} | more


def test_nan_as_number_and_in_binary(client):
    text = json.dumps({"inputs": [noise([1, 32], [float("nan")] * 32)]}).encode()
    assert_refused(infer(client, text), 400, "NaN is not a JSON number")
    for bad in (np.nan, np.inf):
        given = {"name": "noise", "datatype": "FP32", "shape": [1, 32], "parameters": {"binary_data_size": 128}}
        answer = infer(client, {"inputs": [given]}, binary=np.full(32, bad, "<f4").tobytes())
        assert_refused(answer, 422, "finite")
    given = {"name": "truncation", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
    answer = infer(client, {"inputs": [seeds(1), given]}, binary=np.full(1, np.nan, "<f4").tobytes())
    assert_refused(answer, 422, "0 … 1")


@pytest.mark.parametrize("size", [0, 7, 9, 16, -8, 2**62, 8.0, "8", True])
def test_wrong_binary_data_size(client, size):
    given = {"name": "seed", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": size}}
    assert_refused(infer(client, {"inputs": [given]}, binary=bytes(8)), 422, "")


def test_bytes_without_an_input(client):
    given = {"name": "seed", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}
    assert infer(client, {"inputs": [given]}, binary=bytes(8)).status_code == 200
    assert_refused(infer(client, {"inputs": [given]}, binary=bytes(9)), 422, "1 bytes after the JSON")
    assert_refused(infer(client, {"inputs": [given]}), 422, "0 are left")


@pytest.mark.parametrize("length", ["-1", "0", "9999", "text", "", "1.5", "1e2", "+9", "9" * 100, "\u0664".encode()])
def test_header_length(client, length):
    answer = infer(client, {"inputs": [seeds(1)]}, **{"Inference-Header-Content-Length": length})
    assert_refused(answer, 400, "Inference-Header-Content-Length")


def test_header_length_missing_or_short(client):
    given = {"name": "seed", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}
    content = json.dumps({"inputs": [given]}).encode() + bytes(8)
    assert_refused(infer(client, content), 400, "not valid JSON")
    assert_refused(infer(client, content, **{"Inference-Header-Content-Length": "5"}), 400, "not valid JSON")


def test_labels(client):
    def label(value):
        return seeds(value, name="label")

    assert_refused(infer(client, {"inputs": [noise([1, 24], [0.0] * 24)]}, CONV), 422, "label: conv needs a label")
    for bad in (-1, 10):
        assert_refused(infer(client, {"inputs": [seeds(1), label(bad)]}, CONV), 422, "0 … 9")


def test_unknown_models_versions_and_paths(client, triton_client):
    with pytest.raises(InferenceServerException, match="there is no model 'nothing'"):
        triton_client.infer("nothing", [tensor("seed", np.array([1]), "INT64")])
    for path in ("nothing", "broken", "..%2f..%2fetc", "%00", "a" * 5000, "%0d%0a"):
        assert_refused(client.get(f"/v2/models/{path}"), 404)
        assert_refused(infer(client, {"inputs": [seeds(1)]}, f"/v2/models/{path}"), 404)
    for version in ("0", "01", "3", "-1", "1.0", "9" * 100, "latest;x", "%D9%A1"):
        assert_refused(client.get(f"{MLP}/versions/{version}/ready"), 404, "no version")
    for path in ("/v2/", "/v2/nothing", "/v2/models", "/v2/models/", "/v2/models/mlp/", "/v2/models/mlp/versions/1/x"):
        assert_refused(client.get(path), 404)


def test_content_types(client):
    for content_type in ("application/json", "application/octet-stream", "application/json; charset=utf-8"):
        assert infer(client, {"inputs": [seeds(1)]}, **{"Content-Type": content_type}).status_code == 200


def test_bad_shapes_and_types_of_tritons_client(triton_client):
    for values, datatype, says in (
        (np.ones((1, 31), np.float32), "FP32", r"\[N, 32\]"),
        (np.ones((1, 32), np.float16), "FP16", "must be FP32"),
        (np.ones((1, 32), np.float64), "FP64", "must be FP32"),
    ):
        with pytest.raises(InferenceServerException, match=says):
            triton_client.infer("mlp", [tensor("noise", values, datatype)])
