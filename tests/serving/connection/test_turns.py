"""Requests of one connection are answered in their order, the refusal of what is no HTTP among them."""

import asyncio
import logging

import pytest

from serving.connection.connection import _HOST
from tests.serving.in_process import Client, application, configured, request

GOOD = request({"model": "mlp", "seeds": [1]})
CHUNKED = (
    b"POST /generate HTTP/1.1\r\nHost: figment\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
BAD = {
    "garbage": ([b"\x16\x03\x01\r\n\r\n"], 400, "not a request that HTTP/1.1 allows"),
    "a body that is longer than said": ([b"}\r\n\r\n"], 400, "not a request that HTTP/1.1 allows"),
    "a tunnel": ([b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"], 405, "no proxy"),
    "no host": ([b"GET /livez HTTP/1.1\r\n\r\n"], 400, "Host"),
    "an endless head": ([b"GET /livez HTTP/1.1\r\nX-A: ", b"a" * 50_000, b"a" * 50_000], 431, "32768 bytes"),
    "a body without an end": (
        [b"GET /livez HTTP/1.1\r\nHost: figment\r\nTransfer-Encoding: xchunked\r\n\r\n"],
        400,
        "not a request that HTTP/1.1 allows",
    ),
    "a chunk that is none": ([CHUNKED + b"zz\r\n"], 400, "not a request that HTTP/1.1 allows"),
}


@pytest.fixture(scope="module")
def ask(zoo):
    """The answers to what arrives in these parts, one after the other; the server is to close the connection."""
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
        await asyncio.sleep(0.02)  # for what should not come any more
        assert client.is_closed
        client.leave()
        return [(status, headers.get("connection"), body) for status, headers, body in answers]

    def counted(**labels):
        return runtime.metrics._registry.get_sample_value("figment_requests_total", labels) or 0

    ask = lambda *parts, times: loop.run_until_complete(exchange(parts, times))  # noqa: E731
    ask.counted = counted
    yield ask
    loop.run_until_complete(opened.__aexit__(None, None, None))
    runtime.close()
    loop.close()


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("before", [1, 3])
@pytest.mark.parametrize(("bad", "status", "says"), BAD.values(), ids=BAD.keys())
def test_what_is_refused_comes_after_the_answers_to_what_came_before(ask, bad, status, says, before, together):
    parts = [GOOD * before + bad[0], *bad[1:]] if together else [GOOD] * before + bad
    answers = ask(*parts, GOOD, times=before + 1)
    assert [answer[0] for answer in answers] == [200] * before + [status]
    assert says in answers[-1][2].decode()
    assert answers[-1][1] == "close"


def test_a_body_that_breaks_off_in_garbage_is_refused_once(ask):
    before = ask.counted(route="/generate", code="400"), ask.counted(route="other", code="400")
    ((status, connection, body),) = ask(CHUNKED + b"5\r\nabcde\r\n", b"zz\r\n", times=1)
    assert (status, connection) == (400, "close")
    assert b"not a request that HTTP/1.1 allows" in body
    assert (ask.counted(route="/generate", code="400"), ask.counted(route="other", code="400")) == (
        before[0] + 1,
        before[1],
    )


def test_what_is_wrong_with_a_body_that_nobody_waits_for_has_no_answer(ask):
    head = b"GET /livez HTTP/1.1\r\nHost: figment\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert [answer[0] for answer in ask(head, b"5\r\nabcde\r\n", b"zz\r\n", times=1)] == [200]


def test_no_line_is_logged_for_what_is_no_http(ask, caplog):
    """The log is not for clients to fill."""
    with caplog.at_level(logging.WARNING):
        for bad, _, _ in BAD.values():
            ask(*bad, times=1)
        ask(GOOD.replace(b"\r\n\r\n", b"\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n"), times=1)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    "host",
    ["figment", "figment:3000", "127.0.0.1:3000", "[::1]:3000", "[fe80::1%25eth0]", "my_service.my-space.svc:80", ""],
)
def test_hosts_as_clients_send_them(host):
    """An empty one is what a client sends that knows none (RFC 9112, 3.2)."""
    assert _HOST.fullmatch(host.encode())


@pytest.mark.parametrize(
    "host", ["a b", "http://figment", "figment/", "me@figment", "figment:http", "[::1", "a\tb", "ä"]
)
def test_what_is_no_host(host):
    assert not _HOST.fullmatch(host.encode())
