"""Every response with images names the model that generated them, so that a client can repeat the request."""

import pytest

SEED = {"name": "seed", "datatype": "UINT32", "shape": [1], "data": [7]}

REQUESTS = {
    "generate": ("POST", "/generate", {"seeds": [7]}),
    "interpolate": ("POST", "/interpolate", {"from": {"seed": 1}, "to": {"seed": 2}, "steps": 2}),
    "image": ("GET", "/images/mlp/7.png", None),
    "infer": ("POST", "/v2/models/mlp/infer", {"inputs": [SEED]}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_response_with_images_names_model_and_version(client, name):
    method, path, body = REQUESTS[name]
    answer = client.request(method, path, json=body)
    assert answer.status_code == 200
    assert (answer.headers["x-figment-model"], answer.headers["x-figment-version"]) == ("mlp", "2")


def test_the_version_is_the_requested_one(client):
    answer = client.post("/generate", json={"seeds": [7], "version": 1})
    assert answer.headers["x-figment-version"] == "1"


def test_a_304_names_them_too(client):
    etag = client.get("/images/mlp/7.png").headers["etag"]
    answer = client.get("/images/mlp/7.png", headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert (answer.headers["x-figment-model"], answer.headers["x-figment-version"]) == ("mlp", "2")


def test_an_error_names_none(client):
    assert "x-figment-model" not in client.post("/generate", json={"seeds": [-1]}).headers
