"""Distinguishes variables that Kubernetes and Docker set for a service named figment from misspelt settings.

Kubernetes gives every container the address of each Service in its namespace (``FIGMENT_SERVICE_HOST``,
``FIGMENT_PORT_3000_TCP``, …); Docker's ``--link`` gives the address of each linked container. A name alone may be a
misspelt setting, so the value must match as well.
"""

import re
from collections.abc import Mapping

_OWNER = r"FIGMENT(?:_[A-Z0-9_]+)?"
_ADDRESS = r"(?:tcp|udp|sctp)://\S+"
_NUMBER = r"[0-9]{1,5}"

# Patterns of the end of a name, each with the pattern of its value.
_LINK_PATTERNS = {
    r"_SERVICE_HOST": r"[0-9A-Za-z.:_-]+",
    r"_SERVICE_PORT(?:_[A-Z0-9_]+)?": _NUMBER,
    r"_PORT": _ADDRESS,
    r"_PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_START|_END)?": _ADDRESS,
    r"_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PROTO": r"tcp|udp|sctp",
    r"_PORT_[0-9]+_(?:TCP|UDP|SCTP)_PORT(?:_START|_END)?": _NUMBER,
    r"_PORT_[0-9]+_(?:TCP|UDP|SCTP)_ADDR": r"[0-9A-Za-z.:_-]+",
    r"_NAME": r"/\S+/\S+",
}
_LINKS = [(re.compile(_OWNER + name), re.compile(value)) for name, value in _LINK_PATTERNS.items()]
_LINKED_ENV = re.compile(rf"(?P<owner>{_OWNER}?)_ENV_.+", re.DOTALL)


def is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    """Returns whether Kubernetes or Docker set this variable for a service named figment or figment-something.

    ``FIGMENT_…_ENV_…`` holds a linked container's own variables. It counts only beside Docker's ``FIGMENT_…_NAME``.
    """
    if any(names.fullmatch(name) and values.fullmatch(environment[name]) for names, values in _LINKS):
        return True
    linked = _LINKED_ENV.fullmatch(name)
    if linked is None:
        return False
    link_name = environment.get(f"{linked['owner']}_NAME", "")
    return re.fullmatch(_LINK_PATTERNS["_NAME"], link_name) is not None
