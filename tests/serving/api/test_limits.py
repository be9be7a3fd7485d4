"""Every limit on requests: at it, over it and far over it, on every route."""

import contextlib
import json
import socket

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.http import json_body
from serving.http.auth import MAX_ADDRESS_BYTES, MAX_HEADER_BYTES
from serving.routes import ROUTES as TABLE

JSON = {"Content-Type": "application/json"}
ROUTES = [
    (route.method, route.template.format(model="mlp", version=1, seed=1, format="png", file="icon.svg"))
    for route in TABLE
    if route.handler is not None
]

WALK = b'{"from": {"seed": 1}, "to": {"seed": 2}}'
INFER = b'{"inputs": [{"name": "seed", "datatype": "INT64", "shape": [1], "data": [1]}]}'
POSTS = [("/generate", b'{"seeds": [1]}'), ("/interpolate", WALK), ("/v2/models/mlp/infer", INFER)]


@pytest.mark.parametrize(("route", "body"), POSTS)
def test_body_limit_at_and_over_and_chunked(client, route, body):
    limit = 64 * 1024 + 256 * (32 + 1) * 32

    def chunks(content):
        return (content[start : start + 4096] for start in range(0, len(content), 4096))

    def ask(content):
        return client.post(route, content=content, headers=JSON)

    fits = body.ljust(limit)
    assert ask(fits).status_code == 200
    assert ask(chunks(fits)).status_code == 200
    for over in (body.ljust(limit + 1), body.ljust(8 * limit)):
        for content in (over, chunks(over)):
            answer = ask(content)
            assert answer.status_code == 413
            assert answer.json()["error"] == f"The body may have at most {limit} bytes."


@pytest.mark.parametrize(("route", "body"), POSTS)
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize(("depth", "is_read"), [(32, True), (33, False), (2_000, False), (40_000, False)])
def test_depth(client, route, body, opening, closing, depth, is_read):
    """At the limit, the unknown member is rejected or, on /v2, ignored; beyond it, the text is not parsed."""
    status = (200 if route.startswith("/v2") else 422) if is_read else 400
    deep = f'{{"unknown": {opening * (depth - 1)}1{closing * (depth - 1)}, '.encode() + body[1:]
    answer = client.post(route, content=deep, headers=JSON)
    assert answer.status_code == status
    assert ("nested more than 32 levels deep" in answer.text) != is_read


TEXTS = st.text(st.sampled_from('[]{}"\\a'))


@settings(max_examples=50)
@given(st.recursive(st.none() | TEXTS, lambda values: st.lists(values) | st.dictionaries(TEXTS, values)))
def test_brackets_in_strings_do_not_count_as_depth(value):
    def depth(value):
        inside = value.values() if isinstance(value, dict) else value
        return 1 + max(map(depth, inside), default=0) if isinstance(value, dict | list) else 0

    assert json_body._depth(json.dumps(value).encode()) == depth(value)


@pytest.fixture(scope="module")
def small(serve, zoo):
    """The service, with room for 4 images of 16 × 16 in a request."""
    with serve(models=zoo, default_model="mlp", max_batch=4, max_pixels=4 * 256) as server:
        server.wait(lambda answer: answer.status_code == 200)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            yield client


@pytest.mark.parametrize(("count", "status"), [(4, 200), (5, 413), (256, 413)])
@pytest.mark.parametrize("route", ["/generate", "/interpolate", "/v2/models/mlp/infer"])
def test_pixels(small, route, count, status):
    seeds = {"name": "seed", "datatype": "INT64", "shape": [count], "data": [*range(count)]}
    bodies = {
        "/generate": {"count": count},
        "/interpolate": {"from": {"seed": 1}, "to": {"seed": 2}, "steps": count},
        "/v2/models/mlp/infer": {"inputs": [seeds]},
    }
    answer = small.post(route, json=bodies[route])
    assert answer.status_code == status
    assert status == 200 or "1024 pixels" in answer.json()["error"]


def status_of(service, head):
    """Returns the status of a request without a body."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        with contextlib.suppress(OSError):  # rejected before it has all been sent
            connection.sendall(head.encode())
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_addresses(service, method, path):
    for excess, rejected in ((0, False), (1, True), (40_000, True), (100_000, True), (2**20, True)):
        query = "x" * (MAX_ADDRESS_BYTES - len(path) + excess)
        status = status_of(service, f"{method} {path}?{query} HTTP/1.1\r\nHost: figment\r\n\r\n")
        assert (status == 414) == rejected


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_headers(service, method, path):
    for length, rejected in ((MAX_HEADER_BYTES, False), (MAX_HEADER_BYTES + 1, True), (2**20, True)):
        value = "x" * (length - len("HostfigmentX-Long"))
        status = status_of(service, f"{method} {path} HTTP/1.1\r\nHost: figment\r\nX-Long: {value}\r\n\r\n")
        assert (status == 431) == rejected
