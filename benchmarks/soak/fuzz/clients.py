"""Attempts by clients that are slow, leave, or never read."""

from collections.abc import Sequence
from random import Random

from benchmarks.soak.fuzz.attempt import Attempt, Expected, Ids, Leave, Step, Then
from benchmarks.soak.fuzz.framing import answer_to, encoded, packets
from benchmarks.soak.fuzz.known import Known

_TOO_SLOW = frozenset({408})


def slow(random: Random, ids: Ids, known: Sequence[Known], deadline: float) -> Attempt:
    """Returns a request that stops at a random place of its head or body, or that comes in drops. Answered with 408."""
    request = random.choice([request for request in known if request.body is not None and request.makes_images])
    request_id = next(ids)
    data = encoded(random, request, request_id)
    cut = random.randrange(1, len(data))
    # A header is read once the next one begins.
    has_id = data.find(b"\r\n", data.find(request_id)) + 2 < cut
    expected = Expected(_TOO_SLOW, request_id if has_id else None)
    steps: list[Step] = [data[:cut]]
    if random.random() < 0.5:
        for byte in range(cut, min(cut + 20, len(data) - 1)):
            steps += [deadline / 8, data[byte : byte + 1]]
    return Attempt("slow requests", tuple(steps), Then.ENDS, (expected,))


def silent(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns a connection without a request, or without a second one: it ends without an answer to nothing."""
    if random.random() < 0.5:
        lines = random.choice([b"", b"\r\n", b"\r\n\r\n"])
        steps: tuple[Step, ...] = (lines,) if lines else ()
        return Attempt("idle connections", steps, Then.ENDS, requests=0)
    request_id = next(ids)
    request = random.choice(known)
    data = (encoded(random, request, request_id), 0.05, b"\r\n")
    return Attempt("idle connections", data, Then.ENDS, (answer_to(request, request_id),))


def leaves(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns requests of a client that leaves at a random place: before, within or behind them, in any of three ways.

    One that half-closes its side behind a complete request gets its answer.
    """
    requests = random.choices(known, k=random.choice([1, 1, 3]))
    expected, data, ends = [], b"", []
    for request in requests:
        request_id = next(ids)
        data += encoded(random, request, request_id)
        ends.append(len(data))
        expected.append(answer_to(request, request_id))
    how = random.choice([*Leave])
    cut = len(data) if random.random() < 0.3 else random.randrange(len(data) + 1)
    pause = random.choice([0.0, 0.001, 0.005, 0.02])
    steps: tuple[Step, ...] = (*packets(data[:cut], []), pause, how) if cut else (pause, how)
    complete = sum(end <= cut for end in ends)
    kind = "clients that leave"
    if how is Leave.HALF_CLOSE:
        return Attempt(
            kind, steps, Then.ENDS, tuple(expected[:complete]), requests=len(requests), may_end=complete == 0
        )
    return Attempt(kind, steps, Then.GONE, requests=len(requests))


def never_reads(random: Random, ids: Ids, known: Sequence[Known], images: int) -> Attempt:
    """Returns requests for some megabytes, of a client that reads nothing of them and never closes."""
    body = b'{"model": "tiny", "seeds": "0-%d", "format": "npy"}' % (images - 1)
    array = Known("POST", "/generate", (("Content-Type", "application/json"),), body)
    document = Known("GET", "/openapi.json")
    requests = random.choices([document, document, array], k=random.randint(100, 150))
    data = b"".join(request.whole(next(ids)) for request in requests)
    return Attempt("clients that never read", (data,), Then.HELD, requests=len(requests), receive_buffer=4096)


def stays(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns a client that stops in any phase, never reads and never closes."""
    request = random.choice(known)
    data = encoded(random, request, next(ids)) + encoded(random, request, next(ids))
    cut = random.choice([0, len(data), random.randrange(len(data)), random.randrange(len(data))])
    steps: list[Step] = [data[:cut]] if cut else []
    if random.random() < 0.3:
        steps.append(Leave.HALF_CLOSE)
    return Attempt("clients that never close", tuple(steps), Then.HELD, requests=2)
