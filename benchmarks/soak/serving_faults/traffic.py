"""Clients that send requests all the time, and an account of how each one ended: none may be missing, none wrong."""

import http.client
import io
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_TIMEOUT_SECONDS = 30

RIGHT = "right"
"""A 200 with the image of its seed, pixel by pixel."""
WRONG = "wrong"
"""A 200 with any other image, or an error without its sentence."""
CLOSED = "closed"
"""The request was sent, and the connection ended without a whole answer."""
SILENT = "silent"
"""No answer within 30 s."""
REFUSED = "refused"
"""There was no connection: the request was not sent."""

References = dict[str, NDArray[np.uint8]]
"""The right images by ``MODEL/VERSION``, uint8 [seeds, H, W]; the seeds are 0, 1, 2, …"""


class Account:
    """How many requests were sent, and how each of them ended."""

    def __init__(self) -> None:
        self.sent = 0
        self.ends: Counter[str] = Counter()
        self.seconds: list[float] = []
        """How long each right answer took."""
        self.examples: dict[str, str] = {}
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Counts a request before its first byte is sent."""
        with self._lock:
            self.sent += 1

    def end(self, kind: str, example: str = "", seconds: float = 0.0) -> None:
        """Counts the end of a request, and keeps the first example of its kind."""
        with self._lock:
            self.ends[kind] += 1
            if kind == RIGHT:
                self.seconds.append(seconds)
            self.examples.setdefault(kind, example)

    def add(self, other: "Account") -> None:
        """Adds the requests of another account."""
        self.sent += other.sent
        self.ends += other.ends
        self.seconds += other.seconds
        self.examples = other.examples | self.examples

    def all_ended(self, *allowed: str) -> bool:
        """Returns whether each request that was sent ended right, or in one of the ``allowed`` ways."""
        accounted = sum(count for kind, count in self.ends.items() if kind != REFUSED)
        return accounted == self.sent and not self.ends.keys() - {RIGHT, REFUSED, *allowed}

    def __str__(self) -> str:
        parts = [f"{self.ends[RIGHT]} right"]
        for kind in sorted(self.ends.keys() - {RIGHT}):
            said = f" ({self.examples[kind]})" if kind in (WRONG, CLOSED) else ""
            parts.append(f"{self.ends[kind]} {kind}{said}")
        missing = self.sent - sum(count for kind, count in self.ends.items() if kind != REFUSED)
        return ", ".join(parts + [f"{missing} WITHOUT AN END"] * (missing != 0))


class Traffic:
    """Clients in threads, each with one connection, that ask for the image of one seed after the other."""

    def __init__(
        self,
        port: int,
        references: References,
        clients: int = 4,
        *,
        versions: Sequence[int] = (1,),
        interval: float = 0.01,
    ) -> None:
        """Clients take the models of ``references`` in turn.

        Requests name a model alone, and the answer names the version: it must be one of ``versions``. Each client sends
        a request at every ``interval`` in seconds, or as soon as the last one has ended.
        """
        self.account = Account()
        self._port = port
        self._references = references
        self._models = sorted({name.partition("/")[0] for name in references})
        self.versions = versions
        self._interval = interval
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._talk, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Lets each client finish its request, and ends them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_SECONDS + 5)

    def wait_for(self, right: int, seconds: float = 30) -> bool:
        """Waits for this number of further right answers; returns whether they came in time."""
        enough, end = self.account.ends[RIGHT] + right, time.monotonic() + seconds
        while self.account.ends[RIGHT] < enough:
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def _talk(self) -> None:
        connection: http.client.HTTPConnection | None = None
        due = time.monotonic() + random.random() * self._interval
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self._interval, time.monotonic() - self._interval)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
                try:
                    connection.connect()
                except OSError:
                    self.account.end(REFUSED)
                    connection = None
                    self._stop.wait(0.05)
                    continue
            if not self._ask(connection):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        """Sends one request, and counts its end. Returns whether the connection can be used again."""
        number = next(self._numbers)
        model = self._models[number % len(self._models)]
        seed = number % len(next(iter(self._references.values())))
        body = json.dumps({"model": model, "seeds": [seed]})
        self.account.begin()
        began = time.monotonic()
        try:
            connection.request("POST", "/generate", body, {"Content-Type": "application/json", "Accept": "image/png"})
            answer = connection.getresponse()
            content = answer.read()
        except TimeoutError:
            self.account.end(SILENT)
            return False
        except (OSError, http.client.HTTPException) as error:
            self.account.end(CLOSED, type(error).__name__)
            return False
        kind, example = self._judge(model, seed, answer, content)
        self.account.end(kind, example, time.monotonic() - began)
        return not answer.will_close

    def _judge(self, model: str, seed: int, answer: http.client.HTTPResponse, content: bytes) -> tuple[str, str]:
        if answer.status != 200:
            return judge_error(answer.status, content)
        version = answer.headers.get("X-Figment-Version", "0")
        if int(version) not in self.versions:
            return WRONG, f"version {version}"
        with Image.open(io.BytesIO(content)) as image:
            same = np.array_equal(np.asarray(image), self._references[f"{model}/{version}"][seed])
        return (RIGHT, "") if same else (WRONG, f"another image than that of seed {seed}")


def judge_error(status: int, content: bytes) -> tuple[str, str]:
    """Returns how a request with an error has ended: its status, or ``WRONG`` for one without a sentence."""
    try:
        sentence = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        sentence = ""
    return (str(status), sentence) if sentence else (WRONG, f"{status} without a sentence")


def ask(port: int, accept: str = "image/png", **body: object) -> tuple[int, bytes]:
    """Sends one request for images, and returns the status and the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    try:
        headers = {"Content-Type": "application/json", "Accept": accept}
        connection.request("POST", "/generate", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
