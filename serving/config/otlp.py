"""Reads OpenTelemetry's own variables: where spans are sent, if anywhere."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from serving.config.settings import SettingsError

_PROTOCOL = "http/protobuf"

# In the order of precedence that OpenTelemetry's specification gives them.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def sends_spans(environment: Mapping[str, str]) -> bool:
    """Returns whether spans are sent: an endpoint is named, and no variable switches tracing off.

    Raises ``SettingsError`` for an endpoint that is no HTTP address, a protocol that is not spoken, and an exporter
    that is not there. An empty variable counts as unset.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporter == "none":
        return False
    endpoint = _first(_ENDPOINTS, environment)
    if endpoint is None:
        return False
    name, address = endpoint
    if exporter != "otlp":
        raise SettingsError(f"OTEL_TRACES_EXPORTER cannot be {exporter!r}: spans go out by otlp, or not at all (none).")
    if not _is_http(address):
        raise SettingsError(f"{name} cannot be {address!r}: it needs an address like http://collector:4318.")
    if (protocol := _first(_PROTOCOLS, environment)) and protocol[1] != _PROTOCOL:
        raise SettingsError(
            f"{protocol[0]} cannot be {protocol[1]!r}: spans are sent as {_PROTOCOL}; collectors take it on port 4318."
        )
    return True


def _first(names: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Returns the first of these variables that is set, with its value."""
    return next(((name, environment[name]) for name in names if environment.get(name)), None)


def _is_http(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
