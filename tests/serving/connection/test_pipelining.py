"""Requests of one connection are answered in their order, including the rejection of invalid HTTP."""

import asyncio
import logging

import pytest

from serving.connection.rejections import is_valid_host
from tests.serving.in_process import Client, application, configured, request

GOOD = request({"model": "mlp", "seeds": [1]})
CHUNKED = (
    b"POST /generate HTTP/1.1\r\nHost: figment\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BAD = {
    "garbage": ([b"\x16\x03\x01\r\n\r\n"], 400, "not a request that HTTP/1.1 allows"),
    "body longer than its Content-Length": ([b"}\r\n\r\n"], 400, "not a request that HTTP/1.1 allows"),
    "CONNECT": ([b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"], 405, "no proxy"),
    "missing Host": ([b"GET /livez HTTP/1.1\r\n\r\n"], 400, "Host"),
    "endless head": ([b"GET /livez HTTP/1.1\r\nX-A: ", b"a" * 50_000, b"a" * 50_000], 431, "32768 bytes"),
    "unknown transfer coding": (
        [b"GET /livez HTTP/1.1\r\nHost: figment\r\nTransfer-Encoding: xchunked\r\n\r\n"],
        400,
        "not a request that HTTP/1.1 allows",
    ),
    "invalid chunk": ([CHUNKED + b"zz\r\n"], 400, "not a request that HTTP/1.1 allows"),
}


@pytest.fixture(scope="module")
def send_parts(zoo):
    """Sends parts one after the other, and returns the responses; the server must close the connection."""
    loop = asyncio.new_event_loop()
    opened = application(zoo)
    served, runtime = loop.run_until_complete(opened.__aenter__())

    async def exchange(parts, times):
        client = Client(configured(served))
        for part in parts:
            client.send(part)
            for _ in range(3):
                await asyncio.sleep(0)
        answers = await client.answered(times)
        await asyncio.sleep(0.02)  # for responses that must not come
        assert client.is_closed
        client.leave()
        return [(status, headers.get("connection"), body) for status, headers, body in answers]

    def counted(**labels):
        return runtime.metrics._registry.get_sample_value("figment_requests_total", labels) or 0

    send_parts = lambda *parts, times: loop.run_until_complete(exchange(parts, times))  # noqa: E731
    send_parts.counted = counted
    yield send_parts
    loop.run_until_complete(opened.__aexit__(None, None, None))
    runtime.close()
    loop.close()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize(("bad", "status", "message"), BAD.values(), ids=BAD.keys())
def test_rejection_comes_after_earlier_responses(send_parts, bad, status, message, before, together):
    parts = [GOOD * before + bad[0], *bad[1:]] if together else [GOOD] * before + bad
    answers = send_parts(*parts, GOOD, times=before + 1)
    assert [answer[0] for answer in answers] == [200] * before + [status]
    assert message in answers[-1][2].decode()
    assert answers[-1][1] == "close"


def test_invalid_chunk_is_rejected_and_counted_once(send_parts):
    before = send_parts.counted(route="/generate", code="400"), send_parts.counted(route="other", code="400")
    ((status, connection, body),) = send_parts(CHUNKED + b"5\r\nabcde\r\n", b"zz\r\n", times=1)
    assert (status, connection) == (400, "close")
    assert b"not a request that HTTP/1.1 allows" in body
    assert (send_parts.counted(route="/generate", code="400"), send_parts.counted(route="other", code="400")) == (
        before[0] + 1,
        before[1],
    )


def test_invalid_body_after_the_response_has_no_response(send_parts):
    head = b"GET /livez HTTP/1.1\r\nHost: figment\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert [answer[0] for answer in send_parts(head, b"5\r\nabcde\r\n", b"zz\r\n", times=1)] == [200]


def test_invalid_http_is_not_logged(send_parts, caplog):
    """Clients must not be able to fill the log."""
    with caplog.at_level(logging.WARNING):
        for bad, _, _ in BAD.values():
            send_parts(*bad, times=1)
        send_parts(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"), times=1)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "host",
    ["figment", "figment:3000", "127.0.0.1:3000", "[::1]:3000", "[fe80::1%25eth0]", "my_service.my-space.svc:80", ""],
)
def test_valid_hosts(host):
    """A client without a host name sends an empty one (RFC 9112, 3.2)."""
    assert is_valid_host(host.encode())


@pytest.mark.parametrize(
    "host", ["a b", "http://figment", "figment/", "me@figment", "figment:http", "[::1", "a\tb", "ä"]
)
def test_invalid_hosts(host):
    assert not is_valid_host(host.encode())
