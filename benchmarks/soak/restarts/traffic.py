"""Sends requests at an even pace through one door, and compares every answer with the right one for its seed."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

_CLIENTS = 4
_SEEDS = 200
_LONG_SEEDS = 4
_ONE_LONG_IN = 40
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Request:
    """A request whose answer is determined by it alone."""

    method: str
    path: str
    accept: str
    body: str | None = None

    def send(self, connection: http.client.HTTPConnection) -> tuple[int, bytes]:
        """Sends the request and returns status and body."""
        headers = {"Accept": self.accept}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        connection.request(self.method, self.path, self.body, headers)
        response = connection.getresponse()
        return response.status, response.read()


@dataclass
class Tally:
    """What became of the requests through one door."""

    right: int = 0
    wrong: int = 0
    failed: int = 0
    slowest: float = 0.0
    """Seconds."""
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """Returns the number of requests: each is right, wrong or failed."""
        return self.right + self.wrong + self.failed


def references(port: int) -> dict[Request, bytes]:
    """Asks one instance for the answers to all requests that will be sent. No two of them may be the same."""
    requests = [_image(seed) for seed in range(_SEEDS)] + [_images(seed) for seed in range(_LONG_SEEDS)]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    expected: dict[Request, bytes] = {}
    for request in requests:
        status, body = request.send(connection)
        if status != 200:
            raise RuntimeError(f"{request} got status {status}: {body[:200]!r}")
        expected[request] = body
    connection.close()
    if len(set(expected.values())) != len(requests):
        raise RuntimeError("two requests have the same answer: a wrong one would not be noticed")
    return expected


def _image(seed: int) -> Request:
    """Returns a short request: half of them are POST, which proxies do not repeat of their own accord."""
    if seed % 2:
        return Request("GET", f"/images/tiny/{seed}.png", "image/png")
    return Request("POST", "/generate", "image/png", json.dumps({"model": "tiny", "seeds": [seed]}))


def _images(seed: int) -> Request:
    """Returns a longer request, which is likely to be in flight at SIGTERM."""
    body = {"model": "tiny", "seeds": list(range(256 * seed, 256 * seed + 256))}
    return Request("POST", "/generate", "application/zip", json.dumps(body))


class Traffic:
    """Some clients with a connection each. Together they send ``requests_per_second``."""

    def __init__(self, port: int, expected: Mapping[Request, bytes], requests_per_second: float) -> None:
        self._port = port
        self._expected = expected
        self._pause = _CLIENTS / requests_per_second
        self._tally = Tally()
        self._lock = threading.Lock()
        self._least: int | None = None
        self._threads = [threading.Thread(target=self._send, args=(index,)) for index in range(_CLIENTS)]

    def start(self) -> None:
        """Starts the clients."""
        for thread in self._threads:
            thread.start()

    def finish(self, least: int) -> Tally:
        """Stops the clients once they have sent ``least`` requests, and returns what became of all."""
        self._least = least
        for thread in self._threads:
            thread.join()
        return self._tally

    def _send(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
        short = itertools.cycle([request for request in self._expected if request.accept == "image/png"])
        long = itertools.cycle([request for request in self._expected if request.accept != "image/png"])
        due = time.monotonic() + client / _CLIENTS * self._pause
        for number in itertools.count(client * _SEEDS // _CLIENTS):
            time.sleep(max(0.0, due - time.monotonic()))
            due += self._pause
            with self._lock:
                if self._least is not None and self._tally.sent >= self._least:
                    break
            self._ask(connection, next(short) if number % _ONE_LONG_IN else next(long))
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection, request: Request) -> None:
        began = time.monotonic()
        try:
            status, body = request.send(connection)
        except (OSError, http.client.HTTPException) as error:
            connection.close()  # it opens again with the next request
            reason = type(error).__name__
        else:
            reason = "" if status == 200 else f"status {status}"
        seconds = time.monotonic() - began
        with self._lock:
            self._tally.slowest = max(self._tally.slowest, seconds)
            if reason:
                self._tally.failed += 1
                self._tally.reasons[reason] += 1
            elif body == self._expected[request]:
                self._tally.right += 1
            else:
                self._tally.wrong += 1
