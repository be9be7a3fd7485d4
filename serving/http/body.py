"""Reads a request's body, within a limit on its length and only of the right media type."""

from starlette.requests import Request
from starlette.types import Receive

from serving.errors import ApiError, ErrorCode, client_gone

JSON_LENGTH_HEADER = "Inference-Header-Content-Length"
"""The length in bytes of the JSON before binary tensors: the name is from Triton's extension of the protocol."""

# For everything but noise: seeds, labels and names of 1024 images fit many times.
_BASE_BYTES = 64 * 1024

# A float64 has 24 characters at most; a comma and some white space follow it.
_BYTES_PER_NUMBER = 32


def body_limit(max_images: int, noise_dim: int) -> int:
    """Returns the most bytes that a valid body can need."""
    return _BASE_BYTES + max_images * (noise_dim + 1) * _BYTES_PER_NUMBER


def check_is_json(request: Request) -> None:
    """Raises ``ApiError`` unless the headers declare JSON that is not compressed."""
    if request.headers.get("content-type") != "application/json" and media_type_of(request) != "application/json":
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Content-Type: the body must be application/json.")
    check_is_plain(request)


def media_type_of(request: Request) -> str:
    """Returns the body's media type, ``""`` without a Content-Type. Raises ``ApiError`` if it is given twice."""
    if len(request.headers.getlist("content-type")) > 1:
        raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, "Content-Type: a body has one type, and several are given.")
    content_type: str = request.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower()


def check_is_plain(request: Request) -> None:
    """Raises ``ApiError`` if the body is compressed: its length would be unknown until it is inflated."""
    for name, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        if request.headers.get(name, plain).lower() != plain:
            raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"{name}: the body must not be compressed.")


async def read_body(request: Request, receive: Receive, limit: int) -> bytes:
    """Returns the whole body. The connection limits the time that it may take.

    Raises ``ApiError`` as soon as ``Content-Length`` or the received bytes exceed ``limit`` bytes, and if the client
    disconnects.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and (len(declared) > 15 or int(declared) > limit):
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise client_gone()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)


def _too_large(limit: int) -> ApiError:
    return ApiError(ErrorCode.TOO_LARGE, f"The body may have at most {limit} bytes.")
