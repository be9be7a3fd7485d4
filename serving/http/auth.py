"""Authentication by API keys, and limits on the lengths of address and headers."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Collection, Sequence
from itertools import chain

from starlette.types import Scope

from serving.errors import ApiError, ErrorCode

MAX_ADDRESS_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024


class Authenticator:
    """Checks the head of every request before anything else of it is read."""

    def __init__(self, api_keys: Sequence[str], public_paths: Collection[str]) -> None:
        """Without ``api_keys`` no request needs a key; a request for a path in ``public_paths`` never does."""
        # Digests have one length, so that the time of a comparison does not reveal a key's length.
        self._keys = [_digest(key.encode()) for key in api_keys]
        self._public = public_paths

    def check(self, scope: Scope) -> None:
        """Raises ``ApiError`` if address or headers are too long, or if the request needs a key and has none."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
            raise address_too_long()
        if sum(map(len, chain.from_iterable(headers))) > MAX_HEADER_BYTES:
            raise headers_too_large()
        if self._keys and scope["path"] not in self._public:
            self._check_key([value for name, value in headers if name == b"authorization"])

    def _check_key(self, given: list[bytes]) -> None:
        key = _key_in(given[0]) if len(given) == 1 else None
        if key is None:
            raise _unauthorized("Authorization: this service needs a key, as in 'Bearer KEY'.", "")
        digest = _digest(key)
        # All keys are compared, even after a match: the time does not reveal which one fits.
        if not sum(hmac.compare_digest(digest, known) for known in self._keys):
            raise _unauthorized("Authorization: this key is not known here.", ', error="invalid_token"')


def _key_in(authorization: bytes) -> bytes | None:
    """Returns a Bearer token (RFC 6750), or the password of Basic credentials, which browsers ask for (RFC 7617)."""
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    if scheme.lower() == b"basic":
        try:
            _, colon, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
        except binascii.Error:
            return None
        return password if colon else None
    return None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _unauthorized(sentence: str, error: str) -> ApiError:
    # Each scheme has its own header: browsers read only the first scheme of one, and can only ask for a password.
    challenges = [f'Bearer realm="figment"{error}', 'Basic realm="figment", charset="UTF-8"']
    headers = [("WWW-Authenticate", challenge) for challenge in challenges]
    return ApiError(ErrorCode.UNAUTHORIZED, sentence, headers=headers)


def address_too_long() -> ApiError:
    """Returns the error for an address over its limit."""
    return ApiError(ErrorCode.ADDRESS_TOO_LONG, f"An address may have at most {MAX_ADDRESS_BYTES} bytes.")


def headers_too_large() -> ApiError:
    """Returns the error for headers over their limit."""
    return ApiError(ErrorCode.HEADERS_TOO_LARGE, f"The headers may have at most {MAX_HEADER_BYTES} bytes.")
