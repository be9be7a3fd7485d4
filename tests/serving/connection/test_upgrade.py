"""A client may offer an upgrade to another protocol, as Java's does by default: the offer changes nothing."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.serving.in_process import Client, application, configured, queue_of

OFFERS = [
    "",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Key: YQ==\r\nSec-WebSocket-Version: 13\r\n",
    "connection: upgrade\r\nupgrade: TLS/1.0, HTTP/1.1\r\n",
    "Upgrade: h2c\r\n",
    "Connection: Upgrade\r\n",
]

# A body that would be another request if the parser lost its place.
SMUGGLED = b"GET /livez HTTP/1.1\r\nHost: figment\r\nX-Request-ID: smuggled\r\n\r\n"
BODIES = {
    "rejected by a full queue": b'{"model": "mlp", "seeds": [1, 2]}',
    "generated": b'{"model": "conv", "seeds": [3], "format": "npy"}',
    "not JSON": SMUGGLED,
}


def post(body, offer, chunks, offer_comes_last):
    """Returns the bytes of a request. ``chunks`` is the length of each chunk; 0: with a ``Content-Length``."""
    lines = "POST /generate HTTP/1.1\r\nHost: figment\r\nX-Request-ID: mine\r\nContent-Type: application/json\r\n"
    framing = "Transfer-Encoding: chunked\r\n" if chunks else f"Content-Length: {len(body)}\r\n"
    head = lines + (framing + offer if offer_comes_last else offer + framing) + "\r\n"
    if chunks:
        parts = [body[start : start + chunks] for start in range(0, len(body), chunks)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    return head.encode() + body


def get(path, offer):
    return f"GET {path} HTTP/1.1\r\nHost: figment\r\nX-Request-ID: mine\r\n{offer}\r\n".encode()


def requests(offers):
    """Generates pairs: a request with an offer, and the same without."""

    def with_and_without(make):
        return offers.map(lambda offer: (make(offer), make("")))

    posts = st.tuples(st.sampled_from([*BODIES.values()]), st.sampled_from([0, 1, 7, 1000]), st.booleans())
    gets = st.sampled_from(["/livez", "/nowhere", "/models/mlp"])
    return st.one_of(
        posts.flatmap(lambda given: with_and_without(lambda offer: post(given[0], offer, given[1], given[2]))),
        gets.flatmap(lambda path: with_and_without(lambda offer: get(path, offer))),
    )


@pytest.fixture(scope="module")
def send_parts(zoo):
    """Sends parts over one connection to a service with one full queue, and returns ``times`` responses."""
    loop = asyncio.new_event_loop()
    opened = application(zoo)
    served, runtime = loop.run_until_complete(opened.__aenter__())
    queue = queue_of(runtime, "mlp")
    queue.images = 4

    async def exchange(parts, times):
        client = Client(configured(served))
        for part in parts:
            client.send(part)
            await asyncio.sleep(0)
        answers = await client.answered(times)
        await asyncio.sleep(0)
        client.leave()
        return [
            (status, body, {name: headers.get(name) for name in ("content-type", "connection", "x-request-id")})
            for status, headers, body in answers
        ]

    yield lambda parts, times: loop.run_until_complete(exchange(parts, times))
    queue.images = 0
    loop.run_until_complete(opened.__aexit__(None, None, None))
    runtime.close()
    loop.close()


@settings(deadline=None)
@given(
    pairs=st.lists(requests(st.sampled_from(OFFERS)), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_responses_are_the_same_without_the_offer_however_bytes_are_split(send_parts, pairs, cuts):
    data = b"".join(offering for offering, _ in pairs)
    at = sorted({0, *(cut for cut in cuts if cut < len(data)), len(data)})
    answers = send_parts([data[start:stop] for start, stop in pairwise(at)], len(pairs))
    assert answers == [send_parts([plain], 1)[0] for _, plain in pairs]


@pytest.mark.parametrize("offer", OFFERS)
def test_body_in_its_own_packet_is_no_request(send_parts, offer):
    for smuggled in (SMUGGLED, SMUGGLED + SMUGGLED):
        head = post(smuggled, offer, 0, True).removesuffix(smuggled)
        rejected, following = send_parts([head, smuggled, get("/nowhere", "")], 2)
        assert rejected[0] == 400
        assert b"not valid JSON" in rejected[1]
        assert (following[0], following[2]["x-request-id"]) == (404, "mine")


@pytest.mark.parametrize("cut", [None, -3, -40])
def test_last_request_of_a_connection_may_offer_an_upgrade(send_parts, cut):
    """After a head with close and upgrade, llhttp would skip the body and all that follows."""
    offering = post(BODIES["generated"], "Connection: close, Upgrade\r\nUpgrade: h2c\r\n", 0, True)
    (answer,) = send_parts([offering[:cut], offering[len(offering[:cut]) :]], 1)
    assert (answer[0], answer[2]["connection"]) == (200, "close")


@pytest.mark.parametrize("whole", [True, False])
def test_connect_is_rejected_and_its_data_is_ignored(send_parts, whole):
    connect = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    parts = [connect + SMUGGLED] if whole else [connect, SMUGGLED]
    (answer,) = send_parts(parts, 1)
    assert answer[0] == 405
    assert b"no proxy" in answer[1]
    assert answer[2]["connection"] == "close"
