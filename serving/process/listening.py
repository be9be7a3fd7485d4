"""Checks host and port before BentoML binds them: BentoML fails with a traceback."""

import errno
import ipaddress
import socket

import click
from bentoml._internal.configuration.containers import BentoMLContainer

from serving.config.settings import SettingsError

_MAX_PORT = 65535


def requested_address() -> tuple[str, int] | None:
    """Returns host and port of the ``bentoml serve`` in this process; ``None`` if another program started BentoML."""
    context = click.get_current_context(silent=True)
    if context is None or not {"host", "port"} <= context.params.keys():
        return None
    defaults = BentoMLContainer.http
    # BentoML uses its configuration where neither an option nor a variable gives a value.
    host, port = context.params["host"], context.params["port"]
    return (defaults.host.get() if host is None else host, defaults.port.get() if port is None else port)


def check_address(host: str, port: int) -> None:
    """Raises ``SettingsError`` unless a server could listen on this port of this host right now."""
    if not 1 <= port <= _MAX_PORT:
        # The system takes larger ports modulo 65536, and 0 as any free port.
        raise SettingsError(f"the port must be in 1 … {_MAX_PORT}, not {port}.")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise SettingsError(
            f"the host must be an IP address like 127.0.0.1, or 0.0.0.0 for all, not {host!r}."
        ) from None
    with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6) as probe:
        # The server sets it too. Without it, connections that are still closing block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                problem = f"port {port} is in use by another program: choose another with --port, or PORT= for make."
                raise SettingsError(problem) from None
            raise SettingsError(f"cannot listen on {host}, port {port}: {error.strerror}.") from None
