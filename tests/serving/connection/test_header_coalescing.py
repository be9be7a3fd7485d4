"""Head and body are written at once; a response without a body is not held back."""

import asyncio

import pytest

from serving.connection.header_coalescing import HeaderCoalescingTransport
from tests.serving.in_process import Client, application, configured, request


@pytest.fixture(scope="module")
def packets(zoo):
    """Returns the packets written for each part. A part is sent once the one before is answered."""
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
            await asyncio.sleep(0.05)  # for packets that must not come
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
    ids=["image", "error", "JSON", "head only"],
)
def test_response_is_one_packet_and_so_is_the_next(packets, sent, end):
    for response in packets(sent, sent):
        assert len(response) == 1
        assert response[0].startswith(b"HTTP/1.1 ")
        assert response[0].endswith(end)


def test_not_modified_is_a_head_only(packets):
    first = packets(_get("/images/mlp/1.png"))[0][0]
    etag = next(line for line in first.split(b"\r\n") if line.startswith(b"etag: "))[6:].decode()
    ((again,),) = packets(_get("/images/mlp/1.png", f"If-None-Match: {etag}"))
    assert again.startswith(b"HTTP/1.1 304 ")
    assert again.endswith(b"\r\n\r\n")


def test_expect_100_continue_gets_an_interim_response(packets):
    head, body = request({"model": "mlp", "seeds": [1]}, "Expect: 100-continue").split(b"\r\n\r\n")
    interim, response = packets(head + b"\r\n\r\n", body)
    assert interim == [b"HTTP/1.1 100 Continue\r\n\r\n"]
    assert b"".join(response).startswith(b"HTTP/1.1 200 ")


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
def test_close_sends_a_held_head(writes, written):
    transport = _Transport()
    coalescing = HeaderCoalescingTransport(transport)
    for data in writes:
        coalescing.write(data)
    coalescing.close()
    assert transport.written == written
