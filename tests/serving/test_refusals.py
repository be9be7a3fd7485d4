"""What the service refuses, and how: never a 500, a stack trace, or harm to a neighbour."""

import json

import pytest


def generate(client, body, accept="*/*"):
    return client.post("/generate", json=body, headers={"Accept": accept})


SEEDS = "a seed is an integer in 0 … 4294967295"

BAD_BODIES = [
    # body, status, what the sentence says
    ({}, 422, "one of seeds, noise and count"),
    ({"seeds": [1], "count": 1}, 422, "one of seeds, noise and count"),
    ([], 422, "body"),
    ("text", 422, "body"),
    (None, 422, "body"),
    ({"seeds": [1], "size": 64}, 422, "size"),
    ({"seeds": [-1]}, 422, SEEDS),
    ({"seeds": [2**32]}, 422, SEEDS),
    ({"seeds": [2**63]}, 422, SEEDS),
    ({"seeds": [1.5]}, 422, SEEDS),
    ({"seeds": [1.0]}, 422, SEEDS),
    ({"seeds": ["7"]}, 422, SEEDS),
    ({"seeds": [True]}, 422, SEEDS),
    ({"seeds": [None]}, 422, SEEDS),
    ({"seeds": [[1]]}, 422, SEEDS),
    ({"seeds": []}, 422, "at least one"),
    ({"seeds": 7}, 422, "seeds"),
    ({"seeds": {}}, 422, "seeds"),
    ({"seeds": "9-0"}, 422, "backwards"),
    ({"seeds": "0-9,"}, 422, "neither a seed nor a range"),
    ({"seeds": ""}, 422, "neither a seed nor a range"),
    ({"seeds": "-1"}, 422, "neither a seed nor a range"),
    ({"seeds": "1e3"}, 422, "neither a seed nor a range"),
    ({"seeds": "٣"}, 422, "neither a seed nor a range"),
    ({"seeds": "4294967296"}, 422, SEEDS),
    ({"seeds": list(range(257))}, 413, "257 images are more than the 256"),
    ({"seeds": "0-999999999"}, 413, "1000000000 images are more than the 256"),
    ({"seeds": ",".join(["0-4294967295"] * 99)}, 413, "more than the 256"),
    ({"count": 257}, 413, "count: 257"),
    ({"count": 10**9}, 413, "count: 1000000000"),
    ({"count": 10**30}, 413, "count"),
    ({"count": 0}, 422, "count"),
    ({"count": -1}, 422, "count"),
    ({"count": 1.0}, 422, "count"),
    ({"count": "1"}, 422, "count"),
    ({"count": True}, 422, "count"),
    ({"noise": []}, 422, "noise"),
    ({"noise": [[]]}, 422, "32 numbers"),
    ({"noise": [0.0] * 32}, 422, "noise"),
    ({"noise": [[0.0] * 31]}, 422, "32 numbers an image; row 0 has 31"),
    ({"noise": [[0.0] * 32, [0.0] * 33]}, 422, "row 1 has 33"),
    ({"noise": [[[0.0]] * 32]}, 422, "noise"),
    ({"noise": [["0"] * 32]}, 422, "noise"),
    ({"noise": [[True] * 32]}, 422, "noise"),
    ({"noise": [[1e39] * 32]}, 422, "32 bits"),
    ({"noise": [[10**400] * 32]}, 422, "noise"),
    ({"noise": [[0.0] * 32] * 257}, 413, "257"),
    ({"noise": [[0.0] * 24], "model": "conv"}, 422, "labels: conv needs a label"),
    ({"seeds": [1], "labels": 0}, 422, "mlp takes no labels"),
    ({"seeds": [1], "labels": -1, "model": "conv"}, 422, "0 … 9"),
    ({"seeds": [1], "labels": 10, "model": "conv"}, 422, "0 … 9"),
    ({"seeds": [1], "labels": 10**40, "model": "conv"}, 422, "0 … 9"),
    ({"seeds": [1], "labels": "3", "model": "conv"}, 422, "one of zero, one"),
    ({"seeds": [1], "labels": 1.0, "model": "conv"}, 422, "labels"),
    ({"seeds": [1], "labels": False, "model": "conv"}, 422, "labels"),
    ({"seeds": [1], "labels": [], "model": "conv"}, 422, "labels"),
    ({"seeds": [1, 2], "labels": [1], "model": "conv"}, 422, "each of the 2 images"),
    ({"seeds": [1], "truncation": 1.01}, 422, "truncation"),
    ({"seeds": [1], "truncation": -0.1}, 422, "truncation"),
    ({"seeds": [1], "truncation": "1"}, 422, "truncation"),
    ({"seeds": [1], "truncation": 10**400}, 422, "truncation"),
    ({"seeds": [1], "format": "exe"}, 422, "format"),
    ({"seeds": [1], "format": "PNG "}, 422, "format"),
    ({"seeds": [1], "quality": 0}, 422, "quality"),
    ({"seeds": [1], "quality": 101}, 422, "quality"),
    ({"seeds": [1], "quality": "90"}, 422, "quality"),
    ({"seeds": [1], "layout": "tower"}, 422, "layout"),
    ({"seeds": [1], "model": "../../etc/passwd"}, 404, "no model"),
    ({"seeds": [1], "model": "a" * 10_000}, 404, "no model"),
    ({"seeds": [1], "model": "\0"}, 404, "no model"),
    ({"seeds": [1], "model": "\ud800"}, 404, "no model"),
    ({"seeds": [1], "labels": "\ud800", "model": "conv"}, 422, "labels"),
    ({"seeds": [1], "\ud800": 1}, 422, "body"),
    ({"seeds": [1], "model": ""}, 404, "no model"),
    ({"seeds": [1], "model": "broken"}, 404, "no model"),
    ({"seeds": [1], "model": 7}, 422, "model"),
    ({"seeds": [1], "version": 3}, 404, "has no version 3, but 1, 2"),
    ({"seeds": [1], "version": 10**30}, 404, "no version"),
    ({"seeds": [1], "version": 0}, 422, "version"),
    ({"seeds": [1], "version": "1"}, 422, "version"),
]

BAD_BYTES = [
    (b"", 400),
    (b"{", 400),
    (b'{"seeds": [1]', 400),
    (b'{"seeds": [1]} x', 400),
    (b'{"seeds": [1], "seeds": [2]}', 400),
    (b'{"noise": [[NaN]]}', 400),
    (b'{"noise": [[Infinity]]}', 400),
    (b'{"truncation": -Infinity, "seeds": [1]}', 400),
    (b'{"seeds": [01]}', 400),
    (b'{"seeds": [' + b"9" * 5000 + b"]}", 400),
    (b"[" * 60_000, 400),
    (b'{"a":' * 9_000, 400),
    (b"\xef\xbb\xbf{}", 400),
    (b'{"model": "\xff"}', 400),
    (b'{"noise": [[1e400]]}', 422),
    ('{"seeds": [1]}'.encode("utf-16"), 400),
]


def assert_refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error", "detail"}
    assert 0 < len(body["error"]) < 500
    assert all(fault.keys() == {"loc", "msg"} for fault in body["detail"])
    assert "Traceback" not in answer.text
    assert "pydantic" not in answer.text
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_bad_requests_are_refused_and_their_neighbours_are_not(client, accept):
    expected = generate(client, {"seeds": [1]}, accept).content
    for body, status, says in BAD_BODIES:
        content = json.dumps(body).encode()
        answer = client.post(
            "/generate", content=content, headers={"Content-Type": "application/json", "Accept": accept}
        )
        assert_refused(answer, status)
        assert says in answer.json()["error"], answer.text
        assert generate(client, {"seeds": [1]}, accept).content == expected


@pytest.mark.parametrize(("content", "status"), BAD_BYTES, ids=range(len(BAD_BYTES)))
def test_what_is_not_json(client, content, status):
    assert_refused(client.post("/generate", content=content, headers={"Content-Type": "application/json"}), status)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/vnd.bentoml+pickle"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=----"},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
def test_other_content_types(client, headers):
    assert_refused(client.post("/generate", content=b'{"seeds": [1]}', headers=headers), 415)


def test_not_acceptable(client):
    assert_refused(generate(client, {"seeds": [1]}, "text/html"), 406)
    assert_refused(generate(client, {"seeds": [1, 2]}, "image/png"), 406)


WALK = b'{"from": {"seed": 1}, "to": {"seed": 2}}'
INFER = b'{"inputs": [{"name": "seed", "datatype": "INT64", "shape": [1], "data": [1]}]}'
POSTS = [("/generate", b'{"seeds": [1]}'), ("/interpolate", WALK), ("/v2/models/mlp/infer", INFER)]


@pytest.mark.parametrize(("route", "body"), POSTS)
def test_body_limit_at_and_over_and_chunked(client, route, body):
    limit = 64 * 1024 + 256 * (32 + 1) * 32
    headers = {"Content-Type": "application/json"}

    def chunks(content):
        return (content[start : start + 4096] for start in range(0, len(content), 4096))

    def ask(content):
        return client.post(route, content=content, headers=headers)

    fits = body.ljust(limit)
    assert ask(fits).status_code == 200
    assert ask(chunks(fits)).status_code == 200
    for over in (body.ljust(limit + 1), body.ljust(8 * limit)):
        for content in (over, chunks(over)):
            answer = ask(content)
            assert answer.status_code == 413
            assert answer.json()["error"] == f"The body may have at most {limit} bytes."


@pytest.mark.parametrize(("route", "body"), POSTS)
@pytest.mark.parametrize("depth", [2_000, 20_000])
def test_deep_nesting_is_refused(client, route, body, depth):
    deep = body[:-1] + b', "parameters": ' + b"[" * depth + b"]" * depth + b"}"
    answer = client.post(route, content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "nested more than 32" in answer.json()["error"]


def test_unknown_paths_and_methods_are_json_and_make_no_series(client):
    for path in ("/nowhere", "/generate/", "/models/", "/models/a/b", "/predict", "/metrics/x"):
        assert_refused(client.get(path), 404)
    assert_refused(client.get("/models/..%2f..%2fetc"), 404)
    # As text, httpx would take "livez" for a host and ask for "/", the playground.
    assert_refused(client.get(client.base_url.copy_with(raw_path=b"//livez")), 404)
    for method, path, allowed in (
        ("GET", "/generate", "POST"),
        ("POST", "/models", "GET, HEAD"),
        ("DELETE", "/models/mlp", "GET, HEAD"),
        ("OPTIONS", "/generate", "POST"),
    ):
        answer = client.request(method, path)
        assert_refused(answer, 405)
        assert answer.headers["allow"] == allowed
    series = client.get("/metrics").text.count("\n")
    for number in range(50):
        client.get(f"/scan/{number}")
        client.get(f"/models/scan{number}")
    assert client.get("/metrics").text.count("\n") <= series + 20
    assert "scan" not in client.get("/metrics").text


def test_head(client):
    answer = client.head("/models")
    assert (answer.status_code, answer.content) == (200, b"")
