"""Clients that send slowly, without end, or no HTTP: each is refused in time, and nobody waits for them."""

import contextlib
import gzip
import json
import re
import socket
import statistics
import time
from contextlib import contextmanager

import httpx
import pytest

LIMIT = 1.0

HEAD = b"POST /generate HTTP/1.1\r\nHost: figment\r\nContent-Type: application/json\r\n"
BODY = b'{"seeds": [1]}'
JSON = {"Content-Type": "application/json"}
PLAIN = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def impatient(serve, zoo):
    """The service, with a second for a request to arrive, and as long until an idle connection is closed."""
    settings = {"max_batch": 1, "deadline_seconds": LIMIT, "keep_alive_seconds": LIMIT}
    with serve(models=zoo, default_model="mlp", **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        yield server


@contextmanager
def connected(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        yield connection


def answer_on(connection):
    """The status, headers and body of the one answer that comes before the connection is closed."""
    content = b""
    try:
        while part := connection.recv(65536):
            content += part
    except ConnectionResetError:
        pass  # closed while this side was still sending
    head, _, body = content.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def status_of_next(connection):
    """The status of an answer that leaves the connection open; all of it is read."""
    content = b""
    while b"\r\n\r\n" not in content:
        content += connection.recv(65536)
    head, _, body = content.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1])


def send_until_refused(connection, parts):
    with contextlib.suppress(OSError):  # what it says of this is there to be read
        for part in parts:
            connection.sendall(part)


def assert_refused(connection, status, says):
    given, headers, body = answer_on(connection)
    assert (given, headers["content-type"], headers["connection"]) == (status, "application/json", "close")
    assert headers["x-request-id"]
    assert says in json.loads(body)["error"]


SLOW = {
    "a line that does not end": b"GET /livez HT",
    "headers that do not end": b"GET /livez HTTP/1.1\r\nHost: figment\r\nX-A: a\r\n",
    "a body that does not come": HEAD + b"Content-Length: 14\r\n\r\n",
    "a body that does not end": HEAD + b"Content-Length: 14\r\n\r\n" + BODY[:-1],
    "chunks that do not end": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
}


@pytest.mark.parametrize("start", SLOW.values(), ids=SLOW.keys())
def test_slow_requests_end(impatient, start):
    with connected(impatient) as connection:
        began = time.monotonic()
        connection.sendall(start)
        assert_refused(connection, 408, "must arrive within 1 seconds")
        assert LIMIT * 0.9 < time.monotonic() - began < LIMIT + 3


def test_the_time_is_the_requests_and_not_each_bytes(impatient):
    """A byte now and then keeps no request open: that is what a slowloris sends."""
    with connected(impatient) as connection:
        began = time.monotonic()
        connection.sendall(b"GET /livez HTTP/1.1\r\n")
        connection.settimeout(0.1)
        while time.monotonic() - began < LIMIT + 3:
            try:
                connection.sendall(b"X-A: a\r\n")
                content = connection.recv(65536)
                break
            except TimeoutError:
                pass
        assert content.startswith(b"HTTP/1.1 408 ")


def test_a_crowd_of_slow_clients_keeps_nobody_waiting(impatient):
    before = impatient.metric("figment_requests_total", code="408")
    crowd = [socket.create_connection(("127.0.0.1", impatient.port)) for _ in range(200)]
    try:
        for index, connection in enumerate(crowd):
            connection.sendall([*SLOW.values()][index % len(SLOW)])
        seconds = []
        for _ in range(10):
            began = time.monotonic()
            assert httpx.post(f"{impatient.url}/generate", content=BODY, headers=JSON).status_code == 200
            seconds.append(time.monotonic() - began)
        assert statistics.median(seconds) < LIMIT / 2
        impatient.until(lambda: impatient.metric("figment_requests_total", code="408") == before + len(crowd))
    finally:
        for connection in crowd:
            connection.close()


def test_idle_connections_are_closed_without_a_word(impatient):
    """Browsers open connections that they may not use, and would show a 408 as the answer to the next request."""
    with connected(impatient) as connection:
        assert connection.recv(65536) == b""


def test_a_body_that_nobody_reads_holds_no_connection(impatient):
    with connected(impatient) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: figment\r\nContent-Length: 1000000\r\n\r\n")
        assert answer_on(connection)[0] == 200


def test_the_next_request_has_a_time_of_its_own(impatient):
    with connected(impatient) as connection:
        for _ in range(4):
            time.sleep(LIMIT * 0.4)
            for part in (PLAIN[:10], PLAIN[10:-5], PLAIN[-5:]):
                connection.sendall(part)
                time.sleep(0.01)
            assert status_of_next(connection) == 200


def chunked(*chunks, end=b"0\r\n\r\n"):
    parts = (b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + end


def test_what_is_no_http_is_counted(service):
    before = service.metric("figment_requests_total", route="other", code="400")
    with connected(service) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")  # TLS
        assert_refused(connection, 400, "not a request that HTTP/1.1 allows")
    assert service.metric("figment_requests_total", route="other", code="400") == before + 1


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
def test_no_other_protocol_is_spoken(service, protocol):
    """What asks for one is answered, keyed and counted as any request is, and so is the next on the connection."""
    asks = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\nSec-WebSocket-Key: YQ==\r\nSec-WebSocket-Version: 13\r\n"
    with connected(service) as connection:
        for path, status in (("/livez", 200), ("/nowhere", 404)):
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: figment\r\n{asks}\r\n".encode())
            assert status_of_next(connection) == status
        connection.sendall(PLAIN)
        assert status_of_next(connection) == 200


def test_the_inference_protocol_keeps_its_form(service):
    with connected(service) as connection:
        connection.sendall(b"GET /v2/models/mlp?a=b HTTP/1.1\r\nX-A: \0\r\n\r\n")
        assert json.loads(answer_on(connection)[2]).keys() == {"error"}


ENDLESS = {
    "an address": ([b"GET /", b"a" * 2**20], 414, "8192 bytes"),
    "an address in small parts": ([b"GET /", *[b"a" * 1000] * 200], 414, "8192 bytes"),
    "a header": ([b"GET /livez HTTP/1.1\r\nX-A: ", *[b"a" * 2**16] * 100], 431, "32768 bytes"),
    "headers": ([b"GET /livez HTTP/1.1\r\n", *[b"X-A: a\r\n" * 1000] * 100], 431, "32768 bytes"),
    "a trailer": ([chunked(BODY, end=b"0\r\nX-A: "), *[b"a" * 2**16] * 100], 431, "32768 bytes"),
    "a chunk's extension": ([chunked(end=b"5;"), *[b"a" * 2**16] * 100], 431, "32768 bytes"),
}


@pytest.mark.parametrize(("parts", "status", "says"), ENDLESS.values(), ids=ENDLESS.keys())
def test_what_does_not_end_is_not_kept(service, parts, status, says):
    with connected(service) as connection:
        send_until_refused(connection, parts)
        assert_refused(connection, status, says)


def test_a_hundred_thousand_chunks_of_a_byte(service):
    with connected(service) as connection:
        connection.sendall(chunked(*(bytes([byte]) for byte in BODY.ljust(100_000))))
        assert status_of_next(connection) == 200


def test_large_bodies_may_be_followed_by_the_next_request(service):
    content = HEAD + b"Content-Length: 300000\r\n\r\n" + BODY.ljust(300_000)
    with connected(service) as connection:
        connection.sendall(content + PLAIN[:20])
        assert status_of_next(connection) == 200
        connection.sendall(PLAIN[20:])
        assert status_of_next(connection) == 200


@pytest.fixture(scope="module")
def bomb():
    return gzip.compress(bytes(100_000_000), 9)


@pytest.mark.parametrize("route", ["/generate", "/interpolate", "/v2/models/mlp/infer"])
@pytest.mark.parametrize("header", ["Content-Encoding", "Transfer-Encoding"])
def test_bombs_are_not_inflated(service, bomb, route, header):
    value = "gzip" if header == "Content-Encoding" else "gzip, chunked"
    head = (
        f"POST {route} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n{header}: {value}"
    )
    with connected(service) as connection:
        if header == "Content-Encoding":
            content = f"{head}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb
        else:
            content = head.encode() + b"\r\n\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(bomb), bomb)
        send_until_refused(connection, [content])
        assert_refused(connection, 415, f"{header}: the body must not be compressed")
