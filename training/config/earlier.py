"""What settings meant before they existed, for what earlier versions recorded.

A setting is usually added with a default that leaves earlier runs as they were. Those that changed the default for new
runs are listed here.
"""

from typing import Any

from training.config.files import set_key, value_at

BEFORE: dict[str, Any] = {"data.holdout": 0.0}
"""Dotted key → the value under which runs trained before the setting existed."""


def with_earlier_values(recorded: Any) -> Any:
    """Returns a recorded configuration with the settings that are missing because they did not exist yet.

    Anything that is no configuration is returned as it is, for its reader to report.
    """
    if not isinstance(recorded, dict):
        return recorded
    values = {key: dict(group) if isinstance(group, dict) else group for key, group in recorded.items()}
    for key, value in BEFORE.items():
        group, _, name = key.rpartition(".")
        if isinstance(found := value_at(values, group), dict) and name not in found:
            set_key(values, key, value)
    return values
