"""The long run of the service: the short form, and that it notices what it is there for."""

import http.server
import os
import shutil
import threading
from types import SimpleNamespace

import pytest

from benchmarks.soak.long_serving import run
from benchmarks.soak.long_serving.mixture import Request, mixture
from benchmarks.soak.long_serving.replay import Replay


@pytest.fixture(scope="module", autouse=True)
def _wrk():
    if not shutil.which("wrk") and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("wrk is not installed")
    assert shutil.which("wrk"), "wrk is not installed: apt-get install wrk"


@pytest.mark.slow_proof
def test_every_promise_is_kept(tmp_path):
    for outcome in run(True, tmp_path):
        assert outcome.kept, outcome


def test_the_mixture_has_every_kind_of_request():
    requests = mixture()
    assert {request.status for request in requests} == {200, 400, 404, 422}
    assert {request.path for request in requests} >= {"/generate", "/interpolate", "/models", "/metrics", "/readyz"}
    types = {value for request in requests for name, value in request.headers if name == "Accept"}
    assert types >= {"application/json", "image/png", "image/webp", "application/zip"}
    closing = sum(("Connection", "close") in request.headers for request in requests)
    assert closing == -(-len(requests) // 10)
    assert sum(request.determined for request in requests) > len(requests) / 3


@pytest.fixture
def echo():
    """A server whose answer is the last part of the path. It repeats the request's id, unless that part is "nobody"."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            body = self.path.rpartition("/")[2].encode()
            self.send_response(404 if body == b"missing" else 200)
            self.send_header("Content-Length", str(len(body)))
            if body != b"nobody":
                self.send_header("x-request-id", self.headers.get("X-Request-ID", ""))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(port=server.server_port, url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


def test_each_wrong_answer_is_counted(echo, tmp_path):
    requests = [Request("GET", f"/{word}", 200) for word in ("right", "other", "found", "nobody")]
    replay = Replay(requests, echo, tmp_path / "requests")
    (tmp_path / "requests" / "1.body").write_bytes(b"what it was")
    (tmp_path / "requests" / "2.status").write_text("404")
    reading = replay.send(200)
    assert reading.answers >= 200
    assert reading.broken == 0
    # A quarter each, but for those in flight at the end.
    for count in (reading.right, reading.wrong_body, reading.wrong_status, reading.unknown):
        assert abs(count - reading.answers / 4) < 20
    assert reading.reason


def test_a_request_has_another_number_each_time(echo, tmp_path):
    """Answers that no cache of ours could have: their number differs, and so do their bytes."""
    requests = [Request("GET", "/@@@@@@@@@", 200)]
    reading = Replay(requests, echo, tmp_path / "requests").send(100)
    assert reading.right <= 1
    assert reading.wrong_body == reading.answers - reading.right
