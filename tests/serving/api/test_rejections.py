"""Bad input gets a 4xx and a sentence: never a 500, a stack trace, or harm to other clients."""

import json
import os
import socket
import threading
from itertools import groupby
from pathlib import Path

import httpx
import pytest

from tests.serving.api.bad_inputs import TABLE

DOCUMENT = Path(__file__).parents[3] / "docs" / "refusals.md"

ABOUT = """# Rejected requests

A test sends everything below to a running service and writes down the answers. Meanwhile another client must get its
images as usual. `mlp` generates 16 × 16 images from 32 numbers and has no labels; `conv` takes 24 numbers and has ten
labels. Long inputs are shortened here.
"""


def send(service, client, bad):
    """Returns the status, headers and body of the response."""
    if not bad.wire:
        answer = client.request(bad.method, bad.address, content=bad.content, headers=bad.headers)
        return answer.status_code, answer.headers, answer.text
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(bad.wire)
        head, _, body = b"".join(iter(lambda: connection.recv(65536), b"")).decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), httpx.Headers([tuple(line.split(": ", 1)) for line in lines]), body


class Neighbour(threading.Thread):
    """A client that requests the same image again and again."""

    def __init__(self, url):
        super().__init__()
        self._url = url
        self._over = threading.Event()
        self.answers = []

    def run(self):
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.is_set():
                self.answers.append(client.post("/generate", json={"seeds": [1]}))

    def end(self):
        self._over.set()
        self.join()


def cell(text):
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")


def test_bad_input_is_rejected_and_other_clients_are_served(service, client):
    """Each row of the table gets its 4xx and a sentence in JSON, and docs/refusals.md lists it."""
    expected = client.post("/generate", json={"seeds": [1]}).content
    neighbour = Neighbour(service.url)
    neighbour.start()
    lines = [ABOUT]
    try:
        for group, bads in groupby(TABLE, key=lambda bad: bad.group):
            lines += [f"## {group}\n", "| sent | status | answer |", "|---|---|---|"]
            for bad in bads:
                status, headers, text = send(service, client, bad)
                assert status == bad.status, (bad.shown, text)
                assert headers["content-type"] == "application/json", bad.shown
                assert headers["x-request-id"], bad.shown
                assert "cache-control" not in headers, "caches must not keep an error for a year"
                body = json.loads(text)
                assert body.keys() == ({"error"} if bad.address.startswith("/v2") else {"error", "detail"}), bad.shown
                assert all(fault.keys() == {"loc", "msg"} for fault in body.get("detail", []))
                assert 0 < len(body["error"]) < 500, bad.shown
                assert bad.says in body["error"], (bad.shown, body["error"])
                assert "Traceback" not in text, bad.shown
                assert "pydantic" not in text, bad.shown
                sentence = body["error"] if len(body["error"]) <= 120 else f"{body['error'][:110]} …"
                lines.append(f"| `{cell(bad.shown)}` | {status} | {cell(sentence)} |")
            lines.append("")
    finally:
        neighbour.end()
    assert len(neighbour.answers) > 10
    assert {answer.content for answer in neighbour.answers} == {expected}
    written = "\n".join(lines)
    if "WRITE_DOCS" in os.environ:
        DOCUMENT.write_text(written)
    assert DOCUMENT.read_text() == written, "docs/refusals.md is out of date: run this test with WRITE_DOCS=1"


def test_addresses_in_values_are_never_fetched(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for body in ({"seeds": address}, {"seeds": [1], "model": address}, {"seeds": [1], "labels": address}):
            assert client.post("/generate", json=body).status_code in (404, 422)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_unknown_paths_add_no_time_series(client):
    for path in ("/metrics", "/scan/0", "/models/scan0"):
        client.get(path)
    series = client.get("/metrics").text.count("\n")
    for number in range(50):
        client.get(f"/scan/{number}")
        client.get(f"/models/scan{number}")
    assert client.get("/metrics").text.count("\n") == series
    assert "scan" not in client.get("/metrics").text


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", "/generate", "POST"), ("DELETE", "/models/mlp", "GET, HEAD"), ("GET", "/v2/models/mlp/infer", "POST")],
)
def test_allow_names_the_methods(client, method, path, allowed):
    answer = client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_head(client):
    answer = client.head("/models")
    assert (answer.status_code, answer.content) == (200, b"")
