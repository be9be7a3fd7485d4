"""Starlette's request and response without what a small image's few microseconds cannot pay for."""

import json
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope


class IndexedHeaders(Headers):
    """Headers that are looked up, not searched; ``get`` joins lines of one name with ", " (RFC 9110, 5.3).

    Two lines of a header that is no list make a value that its reader refuses: a proxy may have read the other line.
    """

    def __init__(self, scope: Scope) -> None:
        raw: list[tuple[bytes, bytes]] = scope["headers"]
        super().__init__(raw=raw)
        self._values = dict(raw)
        if len(self._values) < len(raw):
            for name in self._values:
                self._values[name] = b", ".join([value for other, value in raw if other == name])

    def get(self, key: str, default: Any = None) -> Any:
        """The header's value, or ``default``."""
        value = self._values.get(key.lower().encode("latin-1"))
        return default if value is None else value.decode("latin-1")


class IndexedRequest(Request):
    """A request with such headers."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._headers = IndexedHeaders(scope)  # where Starlette's keeps them


class RawResponse(Response):
    """An answer with a body and headers that are ready to be sent."""

    def __init__(self, body: bytes, media_type: str, headers: list[tuple[bytes, bytes]], status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        about = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
        self.raw_headers = headers + about


class RawJSONResponse(RawResponse):
    """An answer in JSON."""

    def __init__(self, content: Any, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        super().__init__(_ENCODE(content).encode(), "application/json", headers, status)


_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
