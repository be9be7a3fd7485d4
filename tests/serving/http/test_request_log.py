"""With ``FIGMENT_LOG_FORMAT=json`` every request has one line in the log, and only then."""

import json
import logging

import pytest

from serving.errors import ApiError, ErrorCode
from serving.process.logs import JsonFormatter
from tests.serving.in_process import InProcess, queue_of, request

MEMBERS = {
    *("time", "level", "logger", "message", "id", "method", "route", "status", "reason", "model", "version", "images"),
    *("bytes", "queue_ms", "inference_ms", "encode_ms", "duration_ms", "trace_id"),
}

NO_IMAGES = {"queue_ms": None, "inference_ms": None, "encode_ms": None}


@pytest.fixture(scope="module")
def served(zoo):
    """A service with room for 4 images in its queue, that logs JSON."""
    served = InProcess(zoo, log_format="json")
    yield served
    served.close()


@pytest.fixture
def lines(monkeypatch):
    """The service's log so far, line by line."""
    written = []

    class Kept(logging.Handler):
        def emit(self, record):
            written.append(json.loads(self.format(record)))

    handler, logger = Kept(), logging.getLogger("figment")
    handler.setFormatter(JsonFormatter())
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "propagate", False)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield written
    logger.setLevel(before)


def check(line, answer, **expected):
    """Compares a line with the response that the client got, and with these members."""
    status, headers, body = answer
    assert line.keys() == MEMBERS
    assert (line["logger"], line["level"]) == ("figment.requests", "info")
    assert (line["id"], line["status"], line["bytes"]) == (headers["x-request-id"], status, len(body))
    assert {name: line[name] for name in expected} == expected


def test_a_request_for_images(served, lines):
    answer = served.ask(request({"model": "mlp", "seeds": [5, 6]}, "X-Request-ID: mine"))
    (line,) = lines
    check(line, answer, id="mine", method="POST", route="/generate", reason=None, model="mlp", version=2, images=2)
    assert line["message"] == "POST /generate 200"
    times = [f"{stage};dur={line[f'{stage}_ms']:.3f}" for stage in ("queue", "inference", "encode")]
    assert answer[1]["server-timing"] == ", ".join(times)
    assert line["duration_ms"] >= line["queue_ms"] + line["inference_ms"] + line["encode_ms"] - 0.01


def test_a_request_for_no_images(served, lines):
    answer = served.ask(b"GET /livez HTTP/1.1\r\nHost: figment\r\n\r\n")
    check(lines[0], answer, method="GET", route="/livez", reason=None, model=None, images=0, **NO_IMAGES)
    assert len(lines) == 1


def test_an_image_that_the_client_has_already_takes_no_bytes(served, lines):
    answer = served.ask(b"GET /images/mlp/5.png HTTP/1.1\r\nHost: figment\r\nIf-None-Match: *\r\n\r\n")
    check(lines[0], answer, method="GET", status=304, bytes=0, images=1)


@pytest.mark.parametrize("headers", [[], ["Connection: close"]], ids=["early", "in its turn"])
def test_a_full_queue(served, lines, headers):
    queue = queue_of(served.runtime, "mlp")
    queue.images = 4
    try:
        answer = served.ask(request({"model": "mlp", "seeds": [5, 6]}, "X-Request-ID: mine", *headers))
    finally:
        queue.images = 0
    (line,) = lines
    check(line, answer, id="mine", method="POST", status=429, reason="queue_full", model="mlp", version=2, images=2)
    assert {name: line[name] for name in NO_IMAGES} == NO_IMAGES
    assert line["duration_ms"] > 0


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (b"no HTTP\r\n\r\n", 400, "not_http"),
        (b"GET /livez HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n", 400, "not_http"),
        (b"CONNECT figment:443 HTTP/1.1\r\nHost: figment\r\nX-Request-ID: mine\r\n\r\n", 405, "method_not_allowed"),
    ],
)
def test_what_never_became_a_request(served, lines, sent, status, reason):
    answer = served.ask(sent)
    (line,) = lines
    check(line, answer, status=status, reason=reason, method=None, route="other", duration_ms=None, **NO_IMAGES)
    assert (line["id"] == "mine") == (b"mine" in sent)  # the client's own id is kept, as far as it has arrived


def test_an_id_is_not_taken_from_the_request_before(served, lines):
    first = b"GET /livez HTTP/1.1\r\nHost: figment\r\nX-Request-ID: first\r\n\r\n"
    ids = [headers["x-request-id"] for _, headers, _ in served.ask_all(first + b"no HTTP\r\n\r\n", 2)]
    assert {line["id"] for line in lines} == {*ids}
    assert ids[0] == "first" != ids[1]


@pytest.mark.parametrize(
    "cause", [RuntimeError("a fault"), ApiError(ErrorCode.BROKEN, "The images could not be generated.")]
)
def test_an_error_has_the_id_that_the_client_got(served, lines, monkeypatch, cause):
    async def fails(*_):
        raise cause from ValueError("deep inside")

    monkeypatch.setattr("serving.api.generation.run", fails)
    answer = served.ask(request({"model": "mlp", "seeds": [5]}))
    error, line = lines
    check(line, answer, status=500, reason="broken", model="mlp")
    assert (error["level"], error["id"]) == ("error", line["id"])
    assert error["message"] == f"Request {line['id']} to /generate failed"
    assert "deep inside" in error["exception"]
    assert "deep inside" not in answer[2].decode()


def test_a_fault_of_the_device_is_logged_with_the_id(served, lines, monkeypatch):
    def fails(*_):
        raise RuntimeError("the device is gone")

    engine = served.runtime.registry.find("mlp", None)
    monkeypatch.setattr(engine, "run", fails)
    answer = served.ask(request({"model": "mlp", "seeds": [5]}))
    failure = next(line for line in lines if "exception" in line)
    assert failure["id"] == answer[1]["x-request-id"]
    assert "RuntimeError: the device is gone" in failure["exception"]
    check(lines[-1], answer, status=500, reason="broken", images=1)


def test_text_has_no_line_for_a_request(zoo, lines):
    served = InProcess(zoo, log_format="text")
    try:
        served.ask(request({"model": "mlp", "seeds": [5]}))
        served.ask(b"no HTTP\r\n\r\n")
    finally:
        served.close()
    assert not [line for line in lines if line["logger"] == "figment.requests"]
