"""Every way in which a request can be refused, and the one table of the HTTP statuses that go with it."""

import enum
from collections.abc import Iterable
from typing import Any


class Refusal(enum.Enum):
    """Why a request gets no images."""

    NOT_HTTP = enum.auto()
    NOT_JSON = enum.auto()
    UNAUTHORIZED = enum.auto()
    NOT_FOUND = enum.auto()
    METHOD_NOT_ALLOWED = enum.auto()
    NOT_ACCEPTABLE = enum.auto()
    TOO_SLOW = enum.auto()
    TOO_LARGE = enum.auto()
    ADDRESS_TOO_LONG = enum.auto()
    UNSUPPORTED_MEDIA_TYPE = enum.auto()
    INVALID = enum.auto()
    HEADERS_TOO_LARGE = enum.auto()
    QUEUE_FULL = enum.auto()
    DISCONNECTED = enum.auto()
    BROKEN = enum.auto()
    UNAVAILABLE = enum.auto()
    DEADLINE = enum.auto()


STATUS: dict[Refusal, int] = {
    Refusal.NOT_HTTP: 400,
    Refusal.NOT_JSON: 400,
    Refusal.UNAUTHORIZED: 401,
    Refusal.NOT_FOUND: 404,
    Refusal.METHOD_NOT_ALLOWED: 405,
    Refusal.NOT_ACCEPTABLE: 406,
    Refusal.TOO_SLOW: 408,
    Refusal.TOO_LARGE: 413,
    Refusal.ADDRESS_TOO_LONG: 414,
    Refusal.UNSUPPORTED_MEDIA_TYPE: 415,
    Refusal.INVALID: 422,
    Refusal.HEADERS_TOO_LARGE: 431,
    Refusal.QUEUE_FULL: 429,
    # Nobody is left to read this one: it exists for the metrics, under the number that proxies use.
    Refusal.DISCONNECTED: 499,
    Refusal.BROKEN: 500,
    Refusal.UNAVAILABLE: 503,
    Refusal.DEADLINE: 504,
}


class RequestError(Exception):
    """A request is refused.

    ``sentence`` is for the client and names the field and what it may be; ``detail`` lists each fault as
    ``{"loc": [...], "msg": ...}``; ``headers`` go with the answer (``Retry-After``, ``Allow``), and may
    repeat a name.
    """

    def __init__(
        self,
        refusal: Refusal,
        sentence: str,
        *,
        detail: list[dict[str, Any]] | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(sentence)
        self.refusal = refusal
        self.sentence = sentence
        self.detail = detail or []
        self.headers = (*headers,)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.refusal]

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": self.sentence, "detail": self.detail}


def invalid(field: str, problem: str) -> RequestError:
    """The refusal of one field's value."""
    return RequestError(Refusal.INVALID, f"{field}: {problem}.", detail=[{"loc": [field], "msg": problem}])


def retry_later(refusal: Refusal, sentence: str, seconds: int) -> RequestError:
    """A refusal that passes: the client is told after how many seconds to ask again."""
    return RequestError(refusal, sentence, headers=[("Retry-After", str(seconds))])


def client_gone() -> RequestError:
    """The refusal that nobody is left to read."""
    return RequestError(Refusal.DISCONNECTED, "The client has gone.")


def too_slow(seconds: float) -> RequestError:
    """The refusal of a request that does not arrive."""
    sentence = f"A request must arrive within {seconds:g} seconds."
    return RequestError(Refusal.TOO_SLOW, sentence, headers=[("Connection", "close")])
