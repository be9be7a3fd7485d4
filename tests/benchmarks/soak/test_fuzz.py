"""The fuzz program: its short form against the service, and that it sees each fault of a service that has one."""

import asyncio
from random import Random

import pytest

from benchmarks.serving.answers import Answer
from benchmarks.soak import fuzz
from benchmarks.soak.fuzz.attempt import Attempt, Expected, Ids, Then
from benchmarks.soak.fuzz.framing import SplitPackets, answer_to, garbage_behind, wrong_length
from benchmarks.soak.fuzz.known import Known
from benchmarks.soak.fuzz.play import judge, play

ANSWER = Answer(200, {"content-type": "image/png", "content-length": "3"}, b"abc")
KNOWN = Known("GET", "/images/tiny/1.png", (), None, ANSWER, makes_images=True)
POST = Known("POST", "/generate", (), b'{"seeds": [1]}' * 5, ANSWER, makes_images=True)


def test_the_short_form(tmp_path):
    outcomes = fuzz.run(True, tmp_path)
    assert [outcome for outcome in outcomes if not outcome.kept] == []


def answered(request_id, body=b"abc", status=200, kind="image/png"):
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nx-request-id: {request_id}\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def verdict(attempt, reply, closes=False, seconds=0.3):
    """Plays an attempt against a server that sends ``reply`` to the first bytes, and judges it."""

    async def serve(reader, writer):
        await reader.read(1)
        writer.write(reply)
        if closes:
            writer.close()
        else:
            await reader.read()
            writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await play(server.sockets[0].getsockname()[1], attempt, seconds)

    return judge(attempt, asyncio.run(main()))


def one(then=Then.OPEN):
    return Attempt("a", (KNOWN.whole(b"id-1"),), then, (answer_to(KNOWN, b"id-1"),))


def two():
    data = KNOWN.whole(b"id-1") + KNOWN.whole(b"id-2")
    return Attempt("a", (data,), Then.OPEN, (answer_to(KNOWN, b"id-1"), answer_to(KNOWN, b"id-2")))


def test_right_answers_pass():
    assert verdict(one(), answered("id-1")) is None
    assert verdict(two(), answered("id-1") + answered("id-2")) is None
    assert verdict(one(Then.ENDS), answered("id-1"), closes=True) is None
    assert verdict(one(), answered("id-1", b"{}", 503, "application/json")) is None


@pytest.mark.parametrize(
    ("attempt", "reply", "closes", "problem"),
    [
        (one(), answered("id-1", b"abd"), False, "another one"),
        (one(), answered("id-1", kind="image/webp"), False, "content-type"),
        (one(), answered("id-2"), False, "X-Request-ID"),
        (one(), answered("id-1", b"{}", 500, "application/json"), False, "status 500"),
        (two(), answered("id-2") + answered("id-1"), False, "X-Request-ID"),
        (two(), answered("id-1") + answered("id-2") * 2, False, "3 answers to 2"),
        (two(), answered("id-1"), True, "ended after 1 of 2"),
        (two(), answered("id-1"), False, "hang: 1 of 2"),
        (one(), answered("id-1")[:-1], True, "ended after 0 of 1"),
        (one(), b"garbage\r\n\r\n", False, "no HTTP"),
        (one(Then.ENDS), answered("id-1"), False, "hang"),
        (Attempt("a", (b"x",), Then.ANY, (Expected(frozenset({400})),)), answered("id-1", status=400), True, "another"),
    ],
)
def test_each_fault_is_seen(attempt, reply, closes, problem):
    assert problem in (verdict(attempt, reply, closes) or "")


def test_a_smuggled_request_is_seen():
    for number in range(20):
        attempt = wrong_length(Random(number), Ids(number), [KNOWN, POST])
        if attempt.forbidden is not None:
            assert verdict(attempt, answered(attempt.forbidden.decode(), status=400), closes=True)
            return
    raise AssertionError("no attempt smuggles")


def test_an_attempt_follows_from_seed_and_number():
    first, second = (garbage_behind(Random("20:garbage:7"), Ids(7), [KNOWN, POST]) for _ in range(2))
    assert first == second
    assert garbage_behind(Random("20:garbage:8"), Ids(8), [KNOWN, POST]) != first


def test_every_place_is_cut_once():
    head = Known("HEAD", "/images/tiny/1.png", (), None, ANSWER)
    split = SplitPackets([POST] * 7 + [KNOWN, head])
    attempts = [split(Random(0), Ids(number), number) for number in range(len(split.places))]
    assert len({attempt.place for attempt in attempts}) == len(attempts) > 500
    assert all(len([step for step in attempt.steps if isinstance(step, bytes)]) == 2 for attempt in attempts)
