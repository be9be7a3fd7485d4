"""How one request went: written once, read by response headers, metrics, log and spans."""

import functools
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

from serving.errors import STATUS, ErrorCode

GENERATION_HEADERS = ("X-Figment-Model", "X-Figment-Version", "X-Figment-Seeds", "Server-Timing")
"""The headers of every response with generated images."""

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass(slots=True, eq=False)
class RequestRecord:
    """One request, from its arrival to the end of its response.

    ``model``, ``version`` and ``images`` are set as soon as they are known, so that a rejected request has them, too.
    ``status`` is 499 until a response starts: the client leaves if none does.
    """

    id: bytes
    method: str | None
    """``None`` for what was rejected before there was a request."""

    route: str
    started: float
    """In seconds of ``time.monotonic``, like ``submitted`` and ``generated``."""

    model: str | None = None
    version: int | None = None
    images: int = 0
    seeds: list[int] | None = None
    body_bytes: int = 0
    """Of the response."""

    status: int = STATUS[ErrorCode.DISCONNECTED]
    reason: ErrorCode | None = None
    submitted: float | None = None
    """When the images entered their queue, and ``generated``: when the device had finished them."""

    generated: float | None = None
    queue_seconds: float = 0.0
    inference_seconds: float = 0.0
    encode_seconds: float = 0.0

    def fail(self, code: ErrorCode) -> None:
        """Records why the request was not answered as asked."""
        self.reason = code
        self.status = STATUS[code]

    def generation_headers(self) -> list[tuple[bytes, bytes]]:
        """Returns ``GENERATION_HEADERS`` with their values."""
        assert self.model is not None
        assert self.version is not None
        timing = b"queue;dur=%.3f, inference;dur=%.3f, encode;dur=%.3f" % (
            self.queue_seconds * 1000,
            self.inference_seconds * 1000,
            self.encode_seconds * 1000,
        )
        return [
            *_model_headers(self.model, self.version),
            (b"x-figment-seeds", ",".join(map(str, self.seeds or ())).encode()),
            (b"server-timing", timing),
        ]


def record_of(scope: Scope) -> RequestRecord:
    """Returns the record of a request that the application is answering."""
    record: RequestRecord = scope["state"]["record"]
    return record


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Returns the client's X-Request-ID if it is 1 … 128 visible characters, otherwise a random one."""
    for name, value in headers:
        if name == b"x-request-id":
            if _REQUEST_ID.fullmatch(value):
                return value
            break
    return b"%032x" % random.getrandbits(128)


@functools.cache
def _model_headers(model: str, version: int) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
    return (b"x-figment-model", model.encode()), (b"x-figment-version", b"%d" % version)
