"""Validates origins against the form that browsers send (RFC 6454): any other form never matches."""

import re

_ORIGIN = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?")
_DEFAULT_PORT = {"http": "80", "https": "443"}


def validate_origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the same origins. Raises ``ValueError`` if one can never match, or if ``*`` is not the only one."""
    if not origins:
        raise ValueError("at least one origin is needed, like https://example.com")
    for origin in origins:
        if origin != "*":
            _check_origin(origin)
        elif len(origins) > 1:
            raise ValueError("* means all origins, and stands alone")
    return origins


def _check_origin(origin: str) -> None:
    shown = repr(origin[:100])
    if origin == "null":
        raise ValueError("null is the origin of any sandboxed frame or file: name origins, or say * for all")
    if "*" in origin:
        raise ValueError(f"{shown} contains a wildcard: name each origin, or say * for all")
    if "://" not in origin:
        raise ValueError(f"{shown} has no scheme: write it like https://example.com")
    match = _ORIGIN.fullmatch(origin)
    if match is None:
        raise ValueError(
            f"browsers send no {shown}; they send a scheme, a host in lower case and perhaps a port, "
            "with no path or slash at the end, like https://example.com:8443"
        )
    if match["port"] is not None and match["port"] == _DEFAULT_PORT.get(match["scheme"]):
        raise ValueError(f"{shown} names its scheme's own port, which browsers omit")
