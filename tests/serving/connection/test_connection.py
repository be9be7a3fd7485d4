"""Clients that send slowly, endlessly or invalid HTTP are rejected in time, and delay no other client."""

import contextlib
import gzip
import json
import socket
import statistics
import time
from contextlib import contextmanager

import httpx
import pytest

from benchmarks.serving.answers import AnswerReader

DEADLINE = 1.0

HEAD = b"POST /generate HTTP/1.1\r\nHost: figment\r\nContent-Type: application/json\r\n"
BODY = b'{"seeds": [1]}'
JSON = {"Content-Type": "application/json"}
PLAIN = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def strict(serve, zoo):
    """A service that gives a request one second to arrive, and an idle connection one second until it is closed."""
    settings = {"max_batch": 1, "deadline_seconds": DEADLINE, "keep_alive_seconds": DEADLINE}
    with serve(models=zoo, default_model="mlp", **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        yield server


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        yield connection


def last_response(connection):
    """Returns status, headers and body of the one response before the connection is closed."""
    reader = AnswerReader()
    with contextlib.suppress(ConnectionResetError):  # closed while this side was still sending
        while part := connection.recv(65536):
            reader.feed(part)
    (answer,) = reader.answers
    assert reader.unread == b""
    return answer.status, answer.headers, answer.body


def next_status(connection):
    """Reads a whole response that leaves the connection open, and returns its status."""
    reader = AnswerReader()
    while not reader.answers:
        reader.feed(connection.recv(65536))
    return reader.answers[0].status


def send_until_rejected(connection, parts):
    with contextlib.suppress(OSError):  # the response is still readable
        for part in parts:
            connection.sendall(part)


def assert_rejected(connection, status, message):
    given_status, headers, body = last_response(connection)
    assert (given_status, headers["content-type"], headers["connection"]) == (status, "application/json", "close")
    assert headers["x-request-id"]
    assert message in json.loads(body)["error"]


SLOW = {
    "unfinished request line": b"GET /livez HT",
    "unfinished headers": b"GET /livez HTTP/1.1\r\nHost: figment\r\nX-A: a\r\n",
    "missing body": HEAD + b"Content-Length: 14\r\n\r\n",
    "unfinished body": HEAD + b"Content-Length: 14\r\n\r\n" + BODY[:-1],
    "unfinished chunks": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
}


@pytest.mark.parametrize("start", SLOW.values(), ids=SLOW.keys())
def test_slow_request_is_rejected(strict, start):
    with connected(strict) as connection:
        began = time.monotonic()
        connection.sendall(start)
        assert_rejected(connection, 408, "must arrive within 1 seconds")
        assert DEADLINE * 0.9 < time.monotonic() - began < DEADLINE + 3


def test_deadline_is_for_the_request_and_not_for_each_byte(strict):
    """A few bytes now and then keep no request open: a slowloris attack sends these."""
    with connected(strict) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        connection.settimeout(0.1)
        while time.monotonic() - began < DEADLINE + 3:
            try:
                connection.sendall(b"X-A: a\r\n")
                content = connection.recv(65536)
                break
            except TimeoutError:
                pass
        assert content.startswith(b"HTTP/1.1 408 ")


def test_many_slow_clients_delay_no_other_client(strict):
    before = strict.metric("figment_requests_total", code="408")
    slow_clients = [socket.create_connection(("127.0.0.1", strict.port)) for _ in range(200)]
    try:
        for index, connection in enumerate(slow_clients):
            connection.sendall([*SLOW.values()][index % len(SLOW)])
        seconds = []
        for _ in range(10):
            began = time.monotonic()
            assert httpx.post(f"{strict.url}/generate", content=BODY, headers=JSON).status_code == 200
            seconds.append(time.monotonic() - began)
        assert statistics.median(seconds) < DEADLINE / 2
        strict.until(lambda: strict.metric("figment_requests_total", code="408") == before + len(slow_clients))
    finally:
        for connection in slow_clients:
            connection.close()


def test_idle_connection_is_closed_without_a_response(strict):
    """Browsers open connections that they may not use, and would show a 408 as the response to the next request."""
    with connected(strict) as connection:
        assert connection.recv(65536) == b""


def test_unread_body_does_not_hold_the_connection(strict):
    with connected(strict) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: figment\r\nContent-Length: 1000000\r\n\r\n")
        assert last_response(connection)[0] == 200


def test_next_request_has_its_own_deadline(strict):
    with connected(strict) as connection:
        for _ in range(4):
            time.sleep(DEADLINE * 0.4)
            for part in (PLAIN[:10], PLAIN[10:-5], PLAIN[-5:]):
                connection.sendall(part)
                time.sleep(0.01)
            assert next_status(connection) == 200


def chunked(*chunks, end=b"0\r\n\r\n"):
    parts = (b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + end


def test_invalid_http_is_counted(service):
    before = service.metric("figment_requests_total", route="other", code="400")
    with connected(service) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # TLS
        assert_rejected(connection, 400, "not a request that HTTP/1.1 allows")
    assert service.metric("figment_requests_total", route="other", code="400") == before + 1


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_upgrade_offer_is_answered_as_a_plain_request(service, protocol):
    """A request that offers an upgrade is handled and counted like any other, and so is the next one."""
    offer = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: YQ==\r\nSec-WebSocket-Version: 13\r\n"
    with connected(service) as connection:
        for path, status in (("/livez", 200), ("/nowhere", 404)):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: figment\r\n{offer}\r\n".encode())
            assert next_status(connection) == status
        connection.sendall(PLAIN)
        assert next_status(connection) == 200


def test_inference_protocol_paths_keep_their_error_format(service):
    with connected(service) as connection:
        connection.sendall(b"GET /v2/models/mlp?a=b HTTP/1.1\r\nX-A: \0\r\n\r\n")
        assert json.loads(last_response(connection)[2]).keys() == {"error"}


ENDLESS = {
    "address": ([b"GET /", b"a" * 2**20], 414, "8192 bytes"),
    "address in small parts": ([b"GET /", *[b"a" * 1000] * 200], 414, "8192 bytes"),
    "header": ([b"GET /livez HTTP/1.1\r\nX-A: ", *[b"a" * 2**16] * 100], 431, "32768 bytes"),
    "headers": ([b"GET /livez HTTP/1.1\r\n", *[b"X-A: a\r\n" * 1000] * 100], 431, "32768 bytes"),
    "trailer": ([chunked(BODY, end=b"0\r\nX-A: "), *[b"a" * 2**16] * 100], 431, "32768 bytes"),
    "chunk extension": ([chunked(end=b"5;"), *[b"a" * 2**16] * 100], 431, "32768 bytes"),
}


@pytest.mark.parametrize(("parts", "status", "message"), ENDLESS.values(), ids=ENDLESS.keys())
def test_endless_input_is_rejected_and_not_kept(service, parts, status, message):
    with connected(service) as connection:
        send_until_rejected(connection, parts)
        assert_rejected(connection, status, message)


def test_a_hundred_thousand_one_byte_chunks(service):
    with connected(service) as connection:
        connection.sendall(chunked(*(bytes([byte]) for byte in BODY.ljust(100_000))))
        assert next_status(connection) == 200


def test_next_request_may_follow_a_large_body(service):
    content = HEAD + b"Content-Length: 300000\r\n\r\n" + BODY.ljust(300_000)
    with connected(service) as connection:
        connection.sendall(content + PLAIN[:20])
        assert next_status(connection) == 200
        connection.sendall(PLAIN[20:])
        assert next_status(connection) == 200


@pytest.fixture(scope="module")
def bomb():
    return gzip.compress(bytes(100_000_000), 9)


@pytest.mark.parametrize("route", ["/generate", "/interpolate", "/v2/models/mlp/infer"])
@pytest.mark.parametrize("header", ["Content-Encoding", "Transfer-Encoding"])
def test_compression_bombs_are_not_inflated(service, bomb, route, header):
    value = "gzip" if header == "Content-Encoding" else "gzip, chunked"
    head = (
        f"POST {route} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n{header}: {value}"
    )
    with connected(service) as connection:
        if header == "Content-Encoding":
            content = f"{head}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb
        else:
            content = head.encode() + b"\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(bomb), bomb)
        send_until_rejected(connection, [content])
        assert_rejected(connection, 415, f"{header}: the body must not be compressed")
