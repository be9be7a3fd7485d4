"""An answer is written at once, head and body, and nothing waits that has no body to wait for."""

import asyncio

import pytest

from serving.connection.header_coalescing import HeaderCoalescingTransport
from tests.serving.in_process import Client, application, configured, request


@pytest.fixture(scope="module")
def packets(zoo):
    """What is written to a client that sends these bytes, one after the other, each once that before is answered."""
    loop = asyncio.new_event_loop()
    opened = application(zoo)
    served, runtime = loop.run_until_complete(opened.__aenter__())

    async def exchange(*parts):
        client = Client(configured(served))
        written = []
        for part in parts:
            before = len(client.packets)
            client.send(part)
            async with asyncio.timeout(5):
                while len(client.packets) == before:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)  # for what should not come any more
            written.append(client.packets[before:])
        client.leave()
        return written

    yield lambda *parts: loop.run_until_complete(exchange(*parts))
    loop.run_until_complete(opened.__aexit__(None, None, None))
    runtime.close()
    loop.close()


def _get(path, *headers, method="GET"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: figment", *headers, "", ""]).encode()


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (request({"model": "mlp", "seeds": [1]}), b"IEND\xaeB`\x82"),
        (request({"model": "mlp", "seeds": [1], "colour": "red"}), b"}"),
        (_get("/livez"), b"}"),
        (_get("/livez", method="HEAD"), b"\r\n\r\n"),
    ],
    ids=["an image", "a refusal", "a page", "a head alone"],
)
def test_an_answer_is_one_packet_and_so_is_the_next(packets, sent, end):
    for answer in packets(sent, sent):
        assert len(answer) == 1
        assert answer[0].startswith(b"HTTP/1.1 ")
        assert answer[0].endswith(end)


def test_what_has_not_changed_is_told_by_a_head_alone(packets):
    first = packets(_get("/images/mlp/1.png"))[0][0]
    etag = next(line for line in first.split(b"\r\n") if line.startswith(b"etag: "))[6:].decode()
    ((again,),) = packets(_get("/images/mlp/1.png", f"If-None-Match: {etag}"))
    assert again.startswith(b"HTTP/1.1 304 ")
    assert again.endswith(b"\r\n\r\n")


def test_whoever_asks_before_he_sends_is_told_to_go_on(packets):
    head, body = request({"model": "mlp", "seeds": [1]}, "Expect: 100-continue").split(b"\r\n\r\n")
    go_on, answer = packets(head + b"\r\n\r\n", body)
    assert go_on == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert b"".join(answer).startswith(b"HTTP/1.1 200 ")


class _Transport:
    def __init__(self):
        self.written = []

    def write(self, data):
        self.written.append(data)

    def writelines(self, parts):
        self.written.append(b"".join(parts))

    def close(self):
        self.written.append("closed")


@pytest.mark.parametrize(
    ("writes", "written"),
    [
        ([], ["closed"]),
        ([b"head"], [b"head", "closed"]),
        ([b"head", b""], [b"head", "closed"]),
        ([b"head", b"1", b"2"], [b"head1", b"2", "closed"]),
    ],
)
def test_closing_loses_nothing(writes, written):
    transport = _Transport()
    corked = HeaderCoalescingTransport(transport)
    for data in writes:
        corked.write(data)
    corked.close()
    assert transport.written == written
