"""The errors for data that is no acceptable HTTP request: created before a request exists."""

import re

from serving.errors import ApiError, ErrorCode

# RFC 9112, 3.2: a name or an address (in brackets, if it is IPv6), and perhaps a port.
_HOST = re.compile(rb"(?:\[[\w.:%~-]+\]|[\w.~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)


def is_valid_host(host: bytes) -> bool:
    """Returns whether the value of a ``Host`` header is well-formed."""
    return _HOST.fullmatch(host) is not None


def not_http() -> ApiError:
    """Returns the error for bytes that are no HTTP/1.1 request."""
    return ApiError(ErrorCode.NOT_HTTP, "This is not a request that HTTP/1.1 allows.")


def invalid_host() -> ApiError:
    """Returns the error for a request with a missing, repeated or malformed ``Host`` header."""
    return ApiError(
        ErrorCode.NOT_HTTP, "Host: HTTP/1.1 needs one such header, a name or an address, and perhaps a port."
    )


def not_a_proxy() -> ApiError:
    """Returns the error for a ``CONNECT`` request."""
    headers = [("Allow", "GET, HEAD, POST")]
    return ApiError(ErrorCode.METHOD_NOT_ALLOWED, "CONNECT: this service is no proxy.", headers=headers)
