"""Rolling restarts behind nginx and HAProxy: the short form, and that it notices what it is there for."""

import http.server
import os
import threading

import pytest

from benchmarks.soak.restarts import proxies, run
from benchmarks.soak.restarts.traffic import Request, Traffic

EXPECTED = {Request("GET", "/", accept): b"right" for accept in ("image/png", "application/zip")}


@pytest.fixture(scope="module", autouse=True)
def _programs():
    missing = [name for name in ("nginx", "haproxy") if proxies.find_program(name) is None]
    if missing and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert not missing, f"not installed: {', '.join(missing)} (apt-get install nginx-light haproxy)"


def test_no_request_fails(tmp_path):
    outcomes = run(True, tmp_path)
    assert len(outcomes) == 1 + len(proxies.WAYS)
    for outcome in outcomes:
        assert outcome.kept, outcome


@pytest.fixture
def served():
    """A server that answers with a status and a body of the test's choice, or with nothing."""
    answers = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, body = answers[0]
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, answers
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ((200, b"right"), (8, 0, 0)),
        ((200, b"wrong"), (0, 8, 0)),
        ((503, b"right"), (0, 0, 8)),
        ((0, b""), (0, 0, 8)),
    ],
)
def test_wrong_and_missing_answers_are_counted(served, answer, counts):
    port, answers = served
    answers.append(answer)
    traffic = Traffic(port, EXPECTED, requests_per_second=200)
    traffic.start()
    tally = traffic.finish(8)
    right, wrong, failed = counts
    # Each of the four clients may have a request in flight when the eighth is answered.
    for count, least in ((tally.right, right), (tally.wrong, wrong), (tally.failed, failed)):
        assert count == 0 if least == 0 else least <= count <= least + 4


def test_a_changed_configuration_is_not_tested_by_halves():
    with pytest.raises(RuntimeError, match="'listen 8080;' is 0 times in the configuration"):
        proxies._replace("listen 80;", {"listen 8080;": "listen 127.0.0.1:3;"})
