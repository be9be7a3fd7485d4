"""A request's body, within a limit that holds before anything is parsed, and only if it says that it is JSON."""

from starlette.requests import Request
from starlette.types import Receive

from serving.errors import ApiError, ErrorCode, client_gone

# The room for everything in a body but noise: seeds, labels and names of 1024 images fit many times.
_BASE_BYTES = 64 * 1024

# A float64 written out in full has 24 characters; a comma and some white space go with it.
_BYTES_PER_NUMBER = 32


def body_limit(max_images: int, noise_dim: int) -> int:
    """The bytes that the largest request which makes sense may have."""
    return _BASE_BYTES + max_images * (noise_dim + 1) * _BYTES_PER_NUMBER


def check_is_json(request: Request) -> None:
    """Raises ``ApiError`` unless the body is declared to be JSON, and not compressed."""
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
    """Raises ``ApiError`` if the body is declared to be compressed: it would have to be inflated to be measured."""
    for name, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        if request.headers.get(name, plain).lower() != plain:
            raise ApiError(ErrorCode.UNSUPPORTED_MEDIA_TYPE, f"{name}: the body must not be compressed.")


async def read_body(request: Request, receive: Receive, limit: int) -> bytes:
    """The whole body; whether it comes in time is the connection's to see to.

    Raises ``ApiError`` as soon as it is known to be longer than ``limit`` bytes, from its ``Content-Length`` or
    from what has come, and if the client goes before its end.
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
