"""The OpenAPI document describes the service as it behaves."""

import base64
import hashlib
import re

import httpx
import jsonschema_rs
import pytest
import schemathesis

from benchmarks.soak.fuzz.described import run_schemathesis
from serving.api.requests import GenerateRequest
from serving.http.openapi import path_item
from serving.http.routing import Route
from serving.routes import ROUTES, document, show_openapi


@pytest.fixture(scope="module")
def shipped(serve):
    """A client of the service with the bundles that ship: the examples use them."""
    with serve(intra_op_threads=2, encode_threads=2) as server:
        server.wait(lambda answer: answer.status_code == 200)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client


def accepts(body):
    components = {"components": document()["components"]}
    return jsonschema_rs.is_valid({"$ref": "#/components/schemas/GenerateRequest", **components}, body)


def test_it_is_openapi_3_1_and_cached(client):
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == document()
    schemathesis.openapi.from_dict(document()).validate()
    again = client.get("/openapi.json", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", answer.headers["etag"])


def test_every_route_is_described_and_no_other():
    described = {
        path: {method.upper() for method in methods if method != "head"}
        for path, methods in document()["paths"].items()
    }
    assert described == {route.template: {route.method} for route in ROUTES if route.handler is not None}


def test_a_route_without_a_description_fails():
    with pytest.raises(AssertionError, match="/new has no description"):
        path_item(Route(method="GET", template="/new", handler=show_openapi))


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({"seeds": [1, 2]}, True),
        ({"seeds": "0-9, 42"}, True),
        ({"seeds": [1], "count": None}, True),
        ({"count": 1, "labels": ["a", 1], "truncation": 0.5}, True),
        ({"noise": [[0.5, 1]]}, True),
        ({"count": 1, "background": "white"}, True),
        ({"count": 1, "background": "#0aFF9e"}, True),
        ({"count": 1, "background": None}, True),
        ({}, False),
        ({"seeds": None}, False),
        ({"seeds": [1], "count": 1}, False),
        ({"seeds": []}, False),
        ({"seeds": [4294967296]}, False),
        ({"seeds": "1-"}, False),
        ({"seeds": [True]}, False),
        ({"noise": []}, False),
        ({"count": 0}, False),
        ({"count": 1, "labels": []}, False),
        ({"count": 1, "labels": True}, False),
        ({"count": 1, "labels": 1.5}, False),
        ({"count": 1, "truncation": 1.1}, False),
        ({"count": 1, "colour": "red"}, False),
        ({"count": 1, "background": "red"}, False),
        ({"count": 1, "background": "#fff"}, False),
        ({"count": 1, "background": "#ffffff\n"}, False),
        ({"count": 1, "background": [255, 255, 255]}, False),
    ],
)
def test_the_schema_agrees_with_the_validator(body, valid):
    assert accepts(body) is valid
    if valid:
        GenerateRequest.model_validate(body)
    else:
        with pytest.raises(ValueError):
            GenerateRequest.model_validate(body)


def examples():
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            query = {p["name"]: p["example"] for p in operation["parameters"] if p["in"] == "query"}
            address = path
            for parameter in operation["parameters"]:
                if parameter["in"] == "path":
                    address = address.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
            bodies = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("examples", {})
            for body in [example["value"] for example in bodies.values()] or [None]:
                yield pytest.param(method, address, query, body, operation, id=f"{method}-{address}-{body}")


@pytest.mark.parametrize(("method", "address", "query", "body", "operation"), [*examples()])
def test_the_examples_work(shipped, method, address, query, body, operation):
    answer = shipped.request(method, address, params=query, json=body)
    described = operation["responses"][str(answer.status_code)]
    assert answer.status_code == 200
    required = {name for name in described["headers"] if document()["components"]["headers"][name]["required"]}
    assert required <= {name for name in described["headers"] if name in answer.headers}
    if method != "head":
        assert answer.headers["content-type"].partition(";")[0] in described["content"]


def test_the_page_loads_nothing_from_other_hosts(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"(https?:)?//[a-z]|<link|\bsrc=|@import|\burl\(", answer.text, re.IGNORECASE)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy


def test_schemathesis_finds_nothing(service, tmp_path):
    """Runs all its checks, with valid and invalid data."""
    found = run_schemathesis(f"{service.url}/openapi.json", 25, 1, tmp_path)
    assert found.passed, found.output
    assert found.operations == sum(map(len, document()["paths"].values())), found.output
    assert found.cases > 25 * found.operations, found.output
