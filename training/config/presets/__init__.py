"""The configurations that ship: one YAML file per preset."""

from pathlib import Path

PRESETS = Path(__file__).parent


def preset_names() -> list[str]:
    """Returns the presets' names, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))
