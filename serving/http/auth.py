"""Who is let in, before anything of a request but its head is read: keys, and the lengths of address and headers."""

import base64
import binascii
import hashlib
import hmac
from itertools import chain

from starlette.types import Scope

from serving.config.settings import Settings
from serving.errors import ApiError, ErrorCode

MAX_ADDRESS_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024

# Whoever starts and watches containers has no key.
_HEALTH = frozenset({"/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready"})


class Authenticator:
    """The door."""

    def __init__(self, settings: Settings) -> None:
        # Digests are of one length, so that comparing them tells nothing of a key's.
        self._keys = [_digest(key.encode()) for key in settings.api_keys]
        self._public = _HEALTH | ({"/metrics"} if settings.public_metrics else set())

    def check(self, scope: Scope) -> None:
        """Raises ``ApiError`` for a request that is not let in."""
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
        # Every key is compared, whichever fits: the time tells nothing.
        if not sum(hmac.compare_digest(digest, known) for known in self._keys):
            raise _unauthorized("Authorization: this key is not known here.", ', error="invalid_token"')


def _key_in(authorization: bytes) -> bytes | None:
    """The key of a program (RFC 6750), or the password that a browser asked its user for (RFC 7617)."""
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
    # In two headers: browsers look no further than the first scheme of one, and can only ask for a password.
    challenges = [f'Bearer realm="figment"{error}', 'Basic realm="figment", charset="UTF-8"']
    headers = [("WWW-Authenticate", challenge) for challenge in challenges]
    return ApiError(ErrorCode.UNAUTHORIZED, sentence, headers=headers)


def address_too_long() -> ApiError:
    """The refusal of an address over its limit."""
    return ApiError(ErrorCode.ADDRESS_TOO_LONG, f"An address may have at most {MAX_ADDRESS_BYTES} bytes.")


def headers_too_large() -> ApiError:
    """The refusal of headers over their limit."""
    return ApiError(ErrorCode.HEADERS_TOO_LARGE, f"The headers may have at most {MAX_HEADER_BYTES} bytes.")
