"""Every way in which a request can be refused, and the one table of the HTTP statuses that go with it."""

import enum
from collections.abc import Iterable
from typing import Any

OIP_ROOT = "/v2"
"""The path of the Open Inference Protocol, whose errors are a sentence and nothing else."""


class ErrorCode(enum.Enum):
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


STATUS: dict[ErrorCode, int] = {
    ErrorCode.NOT_HTTP: 400,
    ErrorCode.NOT_JSON: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.NOT_ACCEPTABLE: 406,
    ErrorCode.TOO_SLOW: 408,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.ADDRESS_TOO_LONG: 414,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.INVALID: 422,
    ErrorCode.HEADERS_TOO_LARGE: 431,
    ErrorCode.QUEUE_FULL: 429,
    # Nobody is left to read this one: it exists for the metrics, under the number that proxies use.
    ErrorCode.DISCONNECTED: 499,
    ErrorCode.BROKEN: 500,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.DEADLINE: 504,
}


class ApiError(Exception):
    """A request is refused.

    ``sentence`` is for the client and names the field and what it may be; ``detail`` lists each fault as
    ``{"loc": [...], "msg": ...}``; ``headers`` go with the answer (``Retry-After``, ``Allow``), and may
    repeat a name.
    """

    def __init__(
        self,
        code: ErrorCode,
        sentence: str,
        *,
        detail: list[dict[str, Any]] | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.detail = detail or []
        self.headers = (*headers,)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        return {"error": self.sentence, "detail": self.detail}


def invalid(field: str, problem: str) -> ApiError:
    """The refusal of one field's value."""
    return ApiError(ErrorCode.INVALID, f"{field}: {problem}.", detail=[{"loc": [field], "msg": problem}])


def retry_later(code: ErrorCode, sentence: str, seconds: int) -> ApiError:
    """A refusal that passes: the client is told after how many seconds to ask again."""
    return ApiError(code, sentence, headers=[("Retry-After", str(seconds))])


def client_gone() -> ApiError:
    """The refusal that nobody is left to read."""
    return ApiError(ErrorCode.DISCONNECTED, "The client has gone.")


def too_slow(seconds: float) -> ApiError:
    """The refusal of a request that does not arrive."""
    sentence = f"A request must arrive within {seconds:g} seconds."
    return ApiError(ErrorCode.TOO_SLOW, sentence, headers=[("Connection", "close")])


def is_oip(path: str) -> bool:
    """Whether a path is one of the protocol's, existing or not."""
    return path == OIP_ROOT or path.startswith(f"{OIP_ROOT}/")


def error_body(error: ApiError, path: str) -> dict[str, Any]:
    """The JSON of a refusal at a path: on the protocol's, errors are a sentence and nothing else."""
    return {"error": error.sentence} if is_oip(path) else error.body
