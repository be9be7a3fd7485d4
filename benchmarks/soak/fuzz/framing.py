"""Attempts on the framing of requests: where one ends and the next begins."""

import json
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from benchmarks.soak.fuzz.attempt import Attempt, Expected, Ids, Step, Then
from benchmarks.soak.fuzz.known import Known

# The service sheds load with these, and says so. Any of them may stand for an answer with images.
HONEST = frozenset({429, 503, 504})

_PAUSE = 0.001
"""Seconds between two packets: the service reads the first one alone."""

_OFFERS = (
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"),
    ("Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Key: YQ==", "Sec-WebSocket-Version: 13"),
    ("connection: upgrade", "upgrade: TLS/1.0, HTTP/1.1"),
)

_GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"}\r\n\r\n",
    b"\x00\x00\x00\r\n",
    b"GET /\x00 HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",  # no Host
    b"GET /livez HTTP/1.1\r\nHost: figment\r\nTransfer-Encoding: xchunked\r\n\r\n",
)


def answer_to(known: Known, request_id: bytes) -> Expected:
    """Returns what is due to a request. If its answer is not known, it asks for images."""
    status = 200 if known.answer is None else known.answer.status
    statuses = {status} | (HONEST if known.makes_images else set())
    return Expected(frozenset(statuses), request_id, known if known.answer is not None else None, known.method)


def rejection(*statuses: int, request_id: bytes | None = None) -> Expected:
    """Returns the expectation of an error, whose request may have no identifier that could be read."""
    return Expected(frozenset(statuses), request_id)


def _posts(known: Sequence[Known]) -> list[Known]:
    """Returns the requests with a body that get images."""
    return [one for one in known if one.body is not None and one.answer is not None and one.answer.status == 200]


def packets(data: bytes, cuts: Sequence[int]) -> tuple[Step, ...]:
    """Returns the steps that send bytes in packets, cut at these places."""
    at = sorted({0, *(cut for cut in cuts if 0 < cut < len(data)), len(data)})
    steps: list[Step] = []
    for start, stop in pairwise(at):
        steps += [data[start:stop], _PAUSE]
    return tuple(steps[:-1])


def encoded(random: Random, known: Known, request_id: bytes, *lines: str) -> bytes:
    """Returns a known request with a length or in chunks."""
    if known.body is not None and random.random() < 0.4:
        return known.chunked(request_id, random.choice([1, 7, 1000]), *lines)
    return known.whole(request_id, *lines)


class SplitPackets:
    """Requests cut at every place: each of a few shapes, in two packets. When all are done, into many packets."""

    def __init__(self, known: Sequence[Known]) -> None:
        posts = _posts(known)
        others = [request for request in known if request.method == "HEAD" or request.target.startswith("/images/")]
        self._shapes = (posts[0], posts[0], posts[6], others[0], others[-1])
        self.places = [
            (shape, cut) for shape in range(len(self._shapes)) for cut in range(1, len(self._bytes(shape, Ids(0))[0]))
        ]
        # A short run cuts at places all over the requests.
        Random(0).shuffle(self.places)

    def _bytes(self, shape: int, ids: Ids) -> tuple[bytes, tuple[Expected, ...]]:
        """Returns two requests, one behind the other: the first in the shape, and what is due."""
        known = self._shapes[shape]
        first, second = next(ids), next(ids)
        head = known.chunked(first, 7) if shape == 1 else known.whole(first, *(_OFFERS[0] if shape == 2 else ()))
        follower = self._shapes[3]
        return head + follower.whole(second), (answer_to(known, first), answer_to(follower, second))

    def __call__(self, random: Random, ids: Ids, number: int) -> Attempt:
        """Returns the attempt for the place of a number."""
        if number < len(self.places):
            shape, cut = self.places[number]
            data, expected = self._bytes(shape, ids)
            return Attempt("split packets", packets(data, [cut]), Then.OPEN, expected, requests=2, place=(shape, cut))
        data, expected = self._bytes(random.randrange(len(self._shapes)), ids)
        cuts = [random.randrange(1, len(data)) for _ in range(random.choice([3, 20]))]
        return Attempt("split packets", packets(data, cuts), Then.OPEN, expected, requests=2)


def pipelined(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns many requests sent at once; some expect ``100 Continue``, some end with ``Connection: close``."""
    expected, data = [], b""
    for request in random.choices(known, k=random.randint(2, 20)):
        request_id = next(ids)
        expects = request.body is not None and random.random() < 0.1
        data += encoded(random, request, request_id, *(["Expect: 100-continue"] if expects else []))
        expected.append(answer_to(request, request_id))
    closes = random.random() < 0.3
    if closes:
        last = next(ids)
        data += known[0].whole(last, "Connection: close")
        expected.append(answer_to(known[0], last))
    cuts = [random.randrange(len(data)) for _ in range(random.choice([0, 0, 2]))]
    then = Then.ENDS if closes else Then.OPEN
    return Attempt("pipelined requests", packets(data, cuts), then, tuple(expected), requests=len(expected))


def with_empty_lines(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns requests with empty lines before and between them."""
    expected, data = [], b""
    for request in random.choices(known, k=random.randint(2, 6)):
        request_id = next(ids)
        data += random.choice([b"\r\n", b"\r\n" * 3, b"\r\n" * 40, b"\n"]) + encoded(random, request, request_id)
        expected.append(answer_to(request, request_id))
    cuts = [random.randrange(len(data)) for _ in range(random.choice([0, 3]))]
    return Attempt(
        "empty lines between requests", packets(data, cuts), Then.OPEN, tuple(expected), requests=len(expected)
    )


def garbage_behind(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns requests, and garbage behind them while they are in work. Their answers come first, then one error."""
    expected, data = [], b""
    for request in random.choices([request for request in known if request.makes_images], k=random.randint(1, 3)):
        request_id = next(ids)
        data += encoded(random, request, request_id)
        expected.append(answer_to(request, request_id))
    garbage = random.choice(_GARBAGE)
    steps: tuple[Step, ...] = (data + garbage,) if random.random() < 0.5 else (data, _PAUSE, garbage)
    behind = known[0].whole(next(ids))  # ignored
    return Attempt(
        "garbage behind a request in work",
        (*steps, _PAUSE, behind),
        Then.ENDS,
        (*expected, rejection(400, 505)),
        requests=len(expected) + 1,
    )


def upgrade_offer(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns requests that offer another protocol, which changes no answer."""
    expected, data = [], b""
    for request in random.choices(known, k=random.randint(1, 4)):
        request_id = next(ids)
        data += encoded(random, request, request_id, *random.choice(_OFFERS))
        expected.append(answer_to(request, request_id))
    cuts = [random.randrange(len(data)) for _ in range(random.choice([0, 3]))]
    return Attempt("offers of an upgrade", packets(data, cuts), Then.OPEN, tuple(expected), requests=len(expected))


def wrong_length(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns a request whose ``Content-Length`` is invalid, too long or too short, with another one in its body."""
    post = random.choice(_posts(known))
    request_id, inner, body = next(ids), next(ids), post.body or b""
    kind = "wrong Content-Length"
    invalid = [
        [f"Content-Length: {value}"]
        for value in ("-1", f"+{len(body)}", "0x10", "1e3", "a", "1 2", "1,2", "9" * 30, "٣")
    ]
    size = f"Content-Length: {len(body)}"
    several = [
        [size, f"Content-Length: {len(body) + 1}"],
        ["Transfer-Encoding: chunked", size],
        [size, "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked, identity", size],
        ["Transfer-Encoding: xchunked", size],
    ]
    chosen = random.random()
    if chosen < 0.5:
        head = post.head(request_id, *random.choice(invalid + several))
        smuggled = known[0].whole(inner)
        return Attempt(kind, (head + body + smuggled,), Then.ENDS, (rejection(400, 413),), forbidden=inner, requests=2)
    if chosen < 0.75:  # too long: the service waits for the rest, and the client sends no more
        head = post.head(request_id, f"Content-Length: {len(body) + random.choice([1, 100])}")
        return Attempt(kind, (head + body,), Then.ENDS, (rejection(408, request_id=request_id),))
    # Too short: the JSON is cut, and what is left of it is no request.
    cut = random.randrange(1, min(len(body), 60))
    body = json.dumps({"cut": "z" * 80}).encode() if post.target.startswith("/v2") else body
    head = post.head(request_id, f"Content-Length: {cut}")
    return Attempt(kind, (head + body + b"\r\n\r\n",), Then.ENDS, (rejection(400), rejection(400)), may_end=True)


def wrong_chunks(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns a request in chunks with an error in them, or with parts that are allowed and rarely used."""
    post = random.choice(_posts(known))
    request_id, inner, body = next(ids), next(ids), post.body or b""
    head = post.head(request_id, "Transfer-Encoding: chunked")
    size = b"%x" % len(body)
    valid = (
        size + b";name=value\r\n" + body + b"\r\n0\r\n\r\n",
        b"0" * 10 + size + b"\r\n" + body + b"\r\n0\r\n\r\n",
        size + b"\r\n" + body + b"\r\n0\r\nX-Trailer: a\r\n\r\n",
        size.upper() + b"\r\n" + body + b"\r\n000\r\n\r\n",
    )
    smuggled = known[0].whole(inner)
    wrong = (
        b"zz\r\n" + body,
        b"-5\r\n" + body,
        b"0x5\r\n" + body,
        b"\r\n" + body,
        b"f" * 17 + b"\r\n" + body,
        size + b"\r\n" + body + b"junk0\r\n\r\n",
        size + b" \x00\r\n" + body + b"\r\n0\r\n\r\n",
        b"%x\r\n" % (len(body) - 1) + body + b"\r\n0\r\n\r\n",
        size + b"\r\n" + body + b"\r\n0\r\nX Y: \x00\r\n\r\n",
    )
    if random.random() < 0.3:
        data = head + random.choice(valid)
        steps = packets(data, [random.randrange(len(data))])
        return Attempt("chunk errors", steps, Then.OPEN, (answer_to(post, request_id),))
    data = head + random.choice(wrong) + smuggled
    steps = packets(data, [random.randrange(len(data))])
    return Attempt(
        "chunk errors", steps, Then.ENDS, (rejection(400, request_id=request_id),), forbidden=inner, requests=2
    )
