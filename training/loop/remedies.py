"""What ``doctor: treat`` may change, in bounded steps: one function for each remedy, from settings to changed ones."""

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from models.networks import family_of
from training.config.files import set_key, value_at
from training.config.schema import Config

Settings = dict[str, Any]
"""Dotted key → its new value."""

FIRST_R1, FIRST_GRADIENT_PENALTY = 1.0, 10.0
"""γ and λ where there was none: the scale of Mescheder et al. 2018 (1 … 10), and λ of Gulrajani et al. 2017."""
STRONGER, SLOWER = 4.0, 0.25
"""Factors of one step. A half would rarely tell in the rest of a budget."""
MAX_PENALTY, MIN_RATE = 100.0, 1e-6
PLAYERS = ("generator", "discriminator")


def regularise(config: Config) -> Settings | None:
    """Returns a stronger penalty of the discriminator's slope, or a first one; a critic with only R1 gets its own.

    None for a discriminator that normalises over the batch: each image's gradient then depends on the others
    (Gulrajani et al. 2017, section 4).
    """
    if family_of(config.network).normalises_over_batch(config.network):
        return None
    if config.loss == "wasserstein" and not config.regularization.gradient_penalty:
        return {"regularization.gradient_penalty": FIRST_GRADIENT_PENALTY}
    given = _penalties(config)
    if not given:
        return {"regularization.r1": FIRST_R1}
    values = {name: max(getattr(config.regularization, name) * STRONGER, _first(name, given)) for name in given}
    return None if max(values.values()) > MAX_PENALTY else {f"regularization.{name}": values[name] for name in values}


def _penalties(config: Config) -> list[str]:
    return [name for name in ("r1", "r2", "gradient_penalty") if getattr(config.regularization, name)]


def _first(name: str, given: list[str]) -> float:
    # An R1 of one millionth, multiplied by four, would still be none. R1 and R2 together have scales of their own.
    return 0.1 * FIRST_R1 if given == ["r1"] and name == "r1" else 0.0


def slow_down(config: Config) -> Settings | None:
    """Returns lower learning rates of both networks.

    Their ratio stays. With the faster one slowed alone, two of four good runs of ``doctor_treat.py`` broke.
    """
    rates = {
        f"{name}_optimizer.learning_rate": SLOWER * getattr(config, f"{name}_optimizer").learning_rate
        for name in PLAYERS
    }
    return rates if min(rates.values()) >= MIN_RATE else None


def slow_discriminator(config: Config) -> Settings | None:
    """Returns a lower learning rate of the discriminator (two time scales: Heusel et al. 2017)."""
    rate = SLOWER * config.discriminator_optimizer.learning_rate
    return {"discriminator_optimizer.learning_rate": rate} if rate >= MIN_RATE else None


def augment(config: Config) -> Settings | None:
    """Returns differentiable augmentation, which has no state (Zhao et al. 2020), where there is none yet.

    Translation alone: for photographs, changes of colour cost more than they taught (``docs/small-data.md``).
    """
    augmentation = config.augmentation
    if augmentation.diff_augment or augmentation.adaptive or augmentation.scheduled:
        return None
    return {"augmentation.diff_augment": ["translation"]}


def roll_back(config: Config) -> Settings | None:
    """Returns no change: the run goes on from earlier networks, on other noise."""
    return {}


REMEDIES: dict[str, Callable[[Config], Settings | None]] = {
    remedy.__name__: remedy for remedy in (regularise, slow_down, slow_discriminator, augment, roll_back)
}
"""Name → remedy. It returns None where it cannot be applied, or has reached its bound."""


def changes_of(remedy: str, config: Config) -> dict[str, list[Any]] | None:
    """Returns dotted key → value before and after; None where the remedy cannot be applied to these settings."""
    settings = REMEDIES[remedy](config)
    if settings is None:
        return None
    before, after = config.model_dump(mode="json"), config.model_dump(mode="json")
    for key, value in settings.items():
        set_key(after, key, value)
    try:
        Config.model_validate(after)
    except ValidationError:  # two settings contradict each other, such as augmentation in two ways
        return None
    return {key: [value_at(before, key), value] for key, value in settings.items()}
