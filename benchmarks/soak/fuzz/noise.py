"""Attempts with random paths and random bytes."""

from collections.abc import Sequence
from random import Random

from benchmarks.soak.fuzz.attempt import Attempt, Expected, Ids, Then
from benchmarks.soak.fuzz.framing import encoded, packets
from benchmarks.soak.fuzz.known import Known
from serving.routes import ROUTES

NO_SERVER_ERROR = frozenset(range(200, 500)) | {503, 504}
"""The statuses that an arbitrary request may get."""

_VALID = [*"abcXYZ019-._~!$&'()*+,;=:@/", "%00", "%2f", "%2e", "%5c", "%ff", "%e2%82%ac", "%0d%0a", "//", "/./", "/../"]
_VALID += ["?", "tiny", "g32"]
_ANY = [*_VALID, *'{}|\\^`<>"[]# \t\x00\x7fé', "%", "%zz", "{model}"]


def random_path(random: Random) -> bytes:
    """Returns a target: made up, or a route's with some changes; up to 20 000 characters, perhaps no valid one."""
    length = random.choice([1, 3, 10, 10, 30, 300, 8192, 20_000])
    alphabet = random.choice([_VALID, _ANY])
    if random.random() < 0.5:
        text = "/" + "".join(random.choices(alphabet, k=length))[:length]
    else:
        text = random.choice(ROUTES).template.replace("{model}", "tiny").replace("{seed}", "1")
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text) + 1)
            text = text[:at] + random.choice(alphabet) + text[at + random.choice([0, 0, 1]) :]
    return text.encode()


def unknown_path(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns a request for a random path. It has an answer that is no server error, or, if no request, a rejection."""
    method, request_id = random.choice(["GET", "GET", "POST", "PUT", "OPTIONS", "DELETE"]), next(ids)
    target = random_path(random)
    data = method.encode() + b" " + target + b" HTTP/1.1\r\nHost: figment\r\nX-Request-ID: " + request_id + b"\r\n\r\n"
    return Attempt("random paths", (data,), Then.ANY, (Expected(NO_SERVER_ERROR),))


def damaged(random: Random, ids: Ids, known: Sequence[Known]) -> Attempt:
    """Returns requests with some bytes changed, removed, repeated or added."""
    requests = random.choices([request for request in known if request.method != "HEAD"], k=random.choice([1, 1, 2]))
    data = bytearray(b"".join(encoded(random, request, next(ids)) for request in requests))
    for _ in range(random.choice([1, 1, 2, 8])):
        at = random.randrange(len(data))
        change = random.randrange(4)
        if change == 0:
            data[at] = random.randrange(256)
        elif change == 1:
            del data[at : at + random.choice([1, 2, 30])]
        elif change == 2:
            data[at:at] = data[at : at + random.choice([1, 20])] * random.choice([1, 50])
        else:
            data[at:at] = random.randbytes(random.choice([1, 4, 100]))
        if not data:
            data += b"\x00"
    steps = packets(bytes(data), [random.randrange(len(data))])
    return Attempt("damaged requests", steps, Then.ANY, (Expected(NO_SERVER_ERROR),), requests=len(requests))
