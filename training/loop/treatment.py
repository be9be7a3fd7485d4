"""What the doctor may decide about a run while it trains. The loop carries it out, in all processes alike."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from training.config.files import parse_config, set_key, value_at
from training.config.schema import Config


@dataclass(frozen=True)
class Treatment:
    """One change of a run that goes wrong: settings, or earlier networks, or both."""

    images_seen: int
    condition: str
    remedy: str
    settings: dict[str, list[Any]] = field(default_factory=dict)
    """Dotted key → its value before and after."""
    returned_to: int | None = None
    """Images seen by the networks that the run goes on with; None if it keeps those that it has."""

    def __str__(self) -> str:
        parts = [f"{key} {before} → {after}" for key, (before, after) in self.settings.items()]
        if self.returned_to is not None:
            parts.append(f"goes on from the networks of {self.returned_to} images")
        return f"{self.remedy} against {self.condition}: {', '.join(parts)}"


@dataclass(frozen=True)
class GiveUp:
    """The end of a run that is lost."""

    reason: str


Decision = Treatment | GiveUp


def treated_config(config: Config, treatments: Iterable[Treatment]) -> Config:
    """Returns the settings under which a treated run goes on.

    A setting that ``resume --set`` has changed since its treatment keeps the user's value. Raises ``TrainingError`` if
    the result is invalid.
    """
    treatments = tuple(treatments)
    if not treatments:
        return config
    values = config.model_dump(mode="json")
    for treatment in treatments:
        for key, (before, after) in treatment.settings.items():
            if value_at(values, key) == before:
                set_key(values, key, after)
    return parse_config(values, "the treated run")
