"""Every error that a request can get, and the one table of their HTTP statuses."""

import enum
from collections.abc import Iterable
from typing import Any

OIP_ROOT = "/v2"
"""The path of the Open Inference Protocol."""


class ErrorCode(enum.Enum):
    """The reason for which a request is rejected or fails."""

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

    @property
    def label(self) -> str:
        """The reason's name in logs and spans."""
        return self.name.lower()


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
    # Sent to no client, which has disconnected: it labels the metrics with the number that proxies use.
    ErrorCode.DISCONNECTED: 499,
    ErrorCode.BROKEN: 500,
    ErrorCode.UNAVAILABLE: 503,
    ErrorCode.DEADLINE: 504,
}


class ApiError(Exception):
    """Rejects a request.

    ``sentence`` tells the client which field is invalid and which values it may have. ``detail`` lists each fault as
    ``{"loc": [...], "msg": ...}``. ``headers`` belong to the response (``Retry-After``, ``Allow``); a name may repeat.
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
    """Returns the error for an invalid value of one field."""
    return ApiError(ErrorCode.INVALID, f"{field}: {problem}.", detail=[{"loc": [field], "msg": problem}])


def retry_later(code: ErrorCode, sentence: str, seconds: int) -> ApiError:
    """Returns a temporary error: ``Retry-After`` tells the client to wait for this many seconds."""
    return ApiError(code, sentence, headers=[("Retry-After", str(seconds))])


def client_gone() -> ApiError:
    """Returns the error for a client that has disconnected."""
    return ApiError(ErrorCode.DISCONNECTED, "The client has disconnected.")


def too_slow(seconds: float) -> ApiError:
    """Returns the error for a request that does not arrive in time."""
    sentence = f"A request must arrive within {seconds:g} seconds."
    return ApiError(ErrorCode.TOO_SLOW, sentence, headers=[("Connection", "close")])


def is_oip(path: str) -> bool:
    """Returns whether a path belongs to the Open Inference Protocol, even if it has no route."""
    return path == OIP_ROOT or path.startswith(f"{OIP_ROOT}/")


def error_body(error: ApiError, path: str) -> dict[str, Any]:
    """Returns an error as JSON; on paths of the Open Inference Protocol it holds only the sentence."""
    return {"error": error.sentence} if is_oip(path) else error.body
