"""The search spaces that ship: one YAML file per space."""

from pathlib import Path

SPACES = Path(__file__).parent


def space_names() -> list[str]:
    """Returns the spaces' names, sorted."""
    return sorted(path.stem for path in SPACES.glob("*.yaml"))
