"""What to try against a finding in a run whose settings are known."""

from typing import Any

from pydantic import ValidationError

from training.config.files import apply_settings, value_at
from training.config.schema import Config
from training.doctor.conditions import Attempt, Condition, behind_fit
from training.loop.remedies import changes_of


def fitting_attempts(condition: Condition, config: Config) -> list[str]:
    """Returns what to put behind ``fit`` or ``resume``, the first to try first.

    It is what ``doctor: treat`` would do, whose steps begin at the run's own values, and beside that the usual values
    where the run has not gone as far. What contradicts its other settings is left out.
    """
    fitting = (_fitting(attempt, config) for attempt in condition.attempts)
    return [behind_fit(settings) for settings in fitting if settings]


def _fitting(attempt: Attempt, config: Config) -> tuple[str, ...]:
    if attempt.remedy:
        changes = changes_of(attempt.remedy, config) or {}
        return tuple(f"{key}={_text(after)}" for key, (_, after) in changes.items())
    before, after = config.model_dump(mode="json"), config.model_dump(mode="json")
    apply_settings(after, attempt.settings)
    key = attempt.settings[0].partition("=")[0]
    if attempt.enough(value_at(before, key), value_at(after, key)):
        return ()
    try:
        Config.model_validate(after)
    except ValidationError:  # such as augmentation in two ways
        return ()
    return attempt.settings


def _text(value: Any) -> str:
    """Returns a value as people type it behind ``--set``."""
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
