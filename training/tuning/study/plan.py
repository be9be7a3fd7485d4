"""What a study was started with: its space, its budget, and how settings are proposed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from training.config.earlier import BEFORE
from training.config.files import parse_config
from training.config.schema import Config
from training.tuning.space.space import Space, Values
from training.tuning.trial.run import fixed_settings

SamplerName = Literal["tpe", "random"]


@dataclass(frozen=True)
class StudyPlan:
    """Trials compare only within one plan."""

    space: Space
    images: int
    """The budget of each run."""
    sampler: SamplerName
    prune: bool
    precision: str
    """Of this machine's convolutions; other machines of the study may use another."""
    earlier: bool = False
    """Whether an earlier version began the study. Its trials compare only with runs under the settings of that time."""

    @property
    def before(self) -> Values:
        """The settings that did not exist when the study began, as its runs were trained."""
        return BEFORE if self.earlier else {}

    @cached_property
    def base(self) -> Config:
        """The preset with the space's settings and the study's budget. Raises ``TrainingError``."""
        return self.config({})

    def config(self, drawn: Values, seed: int | None = None, images: int | None = None) -> Config:
        """Returns the configuration of a run, with the study's budget or ``images``. Raises ``TrainingError``."""
        own = {} if seed is None else {"seed": seed}
        fixed = fixed_settings(images or self.images)
        values = self.space.values_of({**self.before, **drawn, **fixed, "precision": self.precision, **own})
        return parse_config(values, f"space over preset {self.space.preset}")
