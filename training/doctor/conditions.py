"""What can be wrong with a run, why, and what to try: one record for each condition."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Attempt:
    """What to try: settings that belong together, as behind ``--set`` of ``fit`` and ``resume``."""

    settings: tuple[str, ...]
    """The first one decides whether a run has it already."""
    remedy: str | None = None
    """The remedy of ``training/loop/remedies.py`` that does the same by steps which fit a run's own settings."""
    enough: Callable[[Any, Any], bool] = lambda own, tried: bool(own == tried)
    """Whether a run's own value does as well as the one to try."""


def _together(*settings: str) -> Attempt:
    return Attempt(settings)


def _as_remedy(remedy: str, *settings: str) -> Attempt:
    return Attempt(settings, remedy)


def _at_least(setting: str) -> Attempt:
    return Attempt((setting,), enough=lambda own, tried: own is not None and own >= tried)


def _at_most(setting: str) -> Attempt:
    return Attempt((setting,), enough=lambda own, tried: own is not None and own <= tried)


def _falling_rates() -> Attempt:
    settings = tuple(f"{player}_optimizer.schedule=cosine" for player in ("generator", "discriminator"))
    return Attempt(settings, enough=lambda own, _: own != "constant")


_NO_MOMENTUM = _together("generator_optimizer.beta1=0", "discriminator_optimizer.beta1=0")
_LOWER_RATES = ("generator_optimizer.learning_rate=0.0001", "discriminator_optimizer.learning_rate=0.0001")


@dataclass(frozen=True)
class Condition:
    """A fault that the doctor can name."""

    name: str
    title: str
    advice: str
    """What to do, with the reason from the literature."""
    attempts: tuple[Attempt, ...]
    """The first to try first."""
    remedies: tuple[str, ...] = ()
    """Names of ``training/loop/remedies.py`` for ``doctor: treat``, the first to try first."""

    def usual_attempts(self) -> list[str]:
        """Returns what to put behind ``fit`` or ``resume`` where the run's own settings are unknown."""
        return [behind_fit(attempt.settings) for attempt in self.attempts]

    def advise(self, attempts: list[str]) -> str:
        """Returns in one line what to do, and what to try."""
        return f"{self.advice} Try one at a time: {'; '.join(attempts)}" if attempts else self.advice


def behind_fit(settings: tuple[str, ...]) -> str:
    """Returns settings as they are typed."""
    return " ".join(f"--set {setting}" for setting in settings)


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition(
            "not_finite",
            "a loss is NaN or infinite",
            "The weights are unusable from here on. Go back to a checkpoint before this step and lower both learning "
            "rates; a rollback alone takes the same steps again.",
            (_as_remedy("slow_down", *_LOWER_RATES), _at_most("generator_optimizer.clip_norm=10")),
            ("slow_down", "regularise", "slow_discriminator"),
        ),
        Condition(
            "divergence",
            "the losses run away",
            "Lower both learning rates, set beta1 to 0, and bound the discriminator's slope: R1 makes the game locally "
            "convergent (Mescheder et al. 2018).",
            (
                _as_remedy("slow_down", *_LOWER_RATES),
                _NO_MOMENTUM,
                _as_remedy("regularise", "regularization.r1=1"),
            ),
            ("regularise", "slow_down", "augment"),
        ),
        Condition(
            "discriminator_overpowers",
            "the discriminator wins",
            "The generator learns nothing from a discriminator that is always right (Arjovsky and Bottou 2017). Take "
            "the best checkpoint so far. Then penalise the discriminator's slope (Mescheder et al. 2018), augment what "
            "it sees (Zhao et al. 2020), or lower its learning rate.",
            (
                _as_remedy("regularise", "regularization.r1=1"),
                _as_remedy("augment", "augmentation.diff_augment=[translation]"),
                _as_remedy("slow_discriminator", "discriminator_optimizer.learning_rate=0.0001"),
            ),
            ("regularise", "slow_discriminator", "augment"),
        ),
        Condition(
            "discriminator_overfits",
            "the discriminator has memorised the images",
            "Augment what the discriminator sees: on few images it learns them by heart, and its gradient then says "
            "nothing (Karras et al. 2020). A larger R1 or more images help, too.",
            (
                _at_most("augmentation.adaptive.target=0.6"),
                _as_remedy("augment", "augmentation.diff_augment=[translation]"),
                _as_remedy("regularise", "regularization.r1=1"),
            ),
            ("augment", "regularise", "slow_discriminator"),
        ),
        Condition(
            "discriminator_too_weak",
            "the discriminator cannot tell",
            "The generator gets no signal: both losses stay at the values of a coin toss. Give the discriminator a "
            "higher learning rate (Heusel et al. 2017), more steps, or less regularisation.",
            (
                _at_least("discriminator_optimizer.learning_rate=0.0004"),
                _at_least("discriminator_steps=2"),
                _at_most("regularization.r1=0.1"),
            ),
        ),
        Condition(
            "vanished_gradient",
            "the generator's gradient has vanished",
            "A saturating loss has no gradient where the discriminator is sure. Take the non-saturating loss "
            "(Goodfellow et al. 2014, section 3), and regularise the discriminator.",
            (_together("loss=non_saturating"), _as_remedy("regularise", "regularization.r1=1")),
            ("regularise", "slow_discriminator"),
        ),
        Condition(
            "oscillation",
            "the players swing around each other",
            "Momentum drives the swings: set beta1 to 0 (Gidel et al. 2019) and lower both learning rates. Where it is "
            "0 and one swing broke the run, a beta2 of 0.99 lets Adam's steps shrink in time. R1 damps swings "
            "(Mescheder et al. 2018), and a longer EMA averages them out.",
            (
                _NO_MOMENTUM,
                _at_most("discriminator_optimizer.beta2=0.99"),
                _as_remedy("slow_down", *_LOWER_RATES),
                _as_remedy("regularise", "regularization.r1=1"),
            ),
            ("regularise", "slow_down"),
        ),
        Condition(
            "critic_drift",
            "the critic no longer measures a distance",
            "Bound the critic's slope by a gradient penalty (Gulrajani et al. 2017), take more critic steps per "
            "generator step, and lower the learning rates.",
            (
                _as_remedy("regularise", "regularization.gradient_penalty=10"),
                _at_least("discriminator_steps=5"),
                _together("discriminator_optimizer.beta1=0"),
                _as_remedy("slow_down", *_LOWER_RATES),
            ),
            ("regularise", "slow_down"),
        ),
        Condition(
            "mode_collapse",
            "the generator has lost part of the images",
            "Go back to the best checkpoint. A relativistic loss with R1 and R2 keeps modes (Huang et al. 2024), and "
            "larger batches help (Brock et al. 2019).",
            (_together("loss=relativistic", "regularization.r1=0.1", "regularization.r2=0.1"),),
            ("roll_back", "regularise", "slow_down"),
        ),
        Condition(
            "late_degradation",
            "the best is over",
            "Export the best checkpoint, not the last. To train longer, let the learning rates fall, and augment if "
            "the images are few.",
            (_falling_rates(), _as_remedy("augment", "augmentation.diff_augment=[translation]")),
            ("slow_down",),
        ),
        Condition(
            "data_fault",
            "nothing changes",
            "Both losses stay exactly the same. Either the discriminator is dead: since a step that was too large, its "
            "rectifiers pass on nothing, and every image gets one logit (Lu et al. 2019). Then go back to a checkpoint "
            "before this step, and lower both learning rates. Or the images or the log are at fault: look at the real "
            "images of the first grid.",
            (_as_remedy("slow_down", *_LOWER_RATES),),
            ("slow_down", "regularise"),
        ),
    )
}
"""Name → condition."""
