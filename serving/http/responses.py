"""Starlette's request and response without the parts that take longer than a small image; errors and ETags."""

import hashlib
import json
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from serving.errors import ApiError, error_body


class IndexedHeaders(Headers):
    """Headers in a dictionary; ``get`` joins the lines of one name with ", " (RFC 9110, 5.3).

    If a header that is not a list has two lines, its joined value is invalid: a proxy may have read the other line.
    """

    def __init__(self, scope: Scope) -> None:
        raw: list[tuple[bytes, bytes]] = scope["headers"]
        super().__init__(raw=raw)
        self._values = dict(raw)
        if len(self._values) < len(raw):
            for name in self._values:
                self._values[name] = b", ".join([value for other, value in raw if other == name])

    def get(self, key: str, default: Any = None) -> Any:
        """Returns the header's value, or ``default``."""
        value = self._values.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class IndexedRequest(Request):
    """A request with ``IndexedHeaders``."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._headers = IndexedHeaders(scope)  # the attribute that Starlette's own property reads


class RawResponse(Response):
    """A response whose body and headers are ready to be sent."""

    def __init__(self, body: bytes, media_type: str, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [
            *headers,
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(body)),
        ]


class RawJSONResponse(RawResponse):
    """A response in JSON."""

    def __init__(self, content: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(_ENCODE(content).encode(), "application/json", headers, status)


_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def error_response(error: ApiError, path: str) -> Response:
    """Returns an error as the response to a request at a path."""
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers]
    return RawJSONResponse(error_body(error, path), error.status, headers)


class CachedContent:
    """Content that stays the same while the service runs, with its ETag and its other headers."""

    def __init__(self, body: bytes, media_type: str, headers: dict[str, str]) -> None:
        self._body = body
        self._media_type = media_type
        self._etag = etag_of(body)
        self._headers = headers | {"ETag": self._etag}

    def response(self, request: Request) -> Response:
        """Returns the content, or 304 to a client that has it already."""
        if etag_matches(self._etag, request):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers, media_type=self._media_type)


def etag_of(body: bytes) -> str:
    """Returns a body's strong ETag."""
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def etag_matches(etag: str, request: Request) -> bool:
    """Returns whether the client has this content already, by its ``If-None-Match`` (RFC 9110, 13.1.2)."""
    candidates = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return "*" in candidates or etag in candidates
