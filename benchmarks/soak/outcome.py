"""What a soak program reports: rows of one table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """One fault: how often it was tried, what was promised, and what happened."""

    fault: str
    tried: str
    """How often, with the unit: ``200 times``, ``100 000 requests``."""
    promised: str
    happened: str
    """In words, with figures."""
    kept: bool
    """Whether the promise was kept."""
