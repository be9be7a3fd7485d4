"""Headers in several lines: a list may continue in the next line (RFC 9110, 5.3); other headers may not repeat."""

import json

import pytest

from serving.http.responses import IndexedHeaders
from tests.serving.in_process import InProcess, request

ONE = {"model": "mlp", "seeds": [1]}


@pytest.fixture(scope="module")
def served(zoo):
    served = InProcess(zoo)
    yield served
    served.close()


def test_lines_are_one_list_in_their_order():
    lines = [(b"accept", b"image/webp;q=0.5"), (b"host", b"figment"), (b"accept", b"image/png"), (b"accept", b"")]
    headers = IndexedHeaders({"headers": lines})
    assert headers.get("Accept") == "image/webp;q=0.5, image/png, "
    assert headers.get("host") == "figment"
    assert headers.get("x-other") is None


@pytest.mark.parametrize(
    ("lines", "media_type"),
    [
        (["text/html", "image/webp"], "image/webp"),
        (["image/webp", "text/html"], "image/webp"),
        (["image/webp;q=0.1", "image/png;q=0.2, image/jpeg;q=0.9"], "image/jpeg"),
        (["image/jpeg", ""], "image/jpeg"),
        (["", ""], "image/png"),
        ([",, image/webp ,"], "image/webp"),
    ],
)
def test_accept_in_several_lines(served, lines, media_type):
    status, headers, body = served.ask(request(ONE, *(f"Accept: {line}" for line in lines)))
    assert (status, headers["content-type"]) == (200, media_type), body


def test_if_none_match_in_several_lines(served):
    def get(*lines):
        return served.ask("\r\n".join(["GET /images/mlp/1.png HTTP/1.1", "Host: figment", *lines, "", ""]).encode())

    etag = get()[1]["etag"]
    assert get('If-None-Match: "another"')[0] == 200
    for lines in (['"another"', etag], [etag, '"another"'], ['"a", "b"', f'W/{etag}, "c"']):
        assert get(*(f"If-None-Match: {line}" for line in lines))[0] == 304, lines


@pytest.mark.parametrize("path", ["/generate", "/v2/models/mlp/infer"])
@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["Content-Type: application/json", "Content-Type: text/plain"], "Content-Type: a body has one type"),
        (["Content-Type: application/json;a=b", "Content-Type: text/plain"], "Content-Type: a body has one type"),
        (["Content-Type: application/json", "Content-Type: application/json"], "Content-Type: a body has one type"),
        (["Content-Encoding: identity", "Content-Encoding: gzip"], "Content-Encoding: the body must not be compressed"),
    ],
)
def test_headers_of_the_body_may_not_repeat(served, path, lines, says):
    status, _, body = served.ask(request(ONE, *lines, path=path))
    assert status == 415
    assert json.loads(body)["error"].startswith(says)


def test_the_length_of_the_json_may_not_repeat(served):
    inputs = [{"name": "seed", "shape": [1], "datatype": "INT64", "data": [1]}]
    line = "Inference-Header-Content-Length: 77"
    status, _, body = served.ask(request({"inputs": inputs}, line, line, path="/v2/models/mlp/infer"))
    assert status == 400
    assert "Inference-Header-Content-Length" in json.loads(body)["error"]
