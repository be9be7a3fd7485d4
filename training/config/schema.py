"""The configuration of a run: checked before anything starts, and written beside the result.

Amounts are counted in real images that the discriminator has seen, so runs of different batch sizes compare.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from models.bundle import Name
from models.colour import COLOUR_PATTERN
from models.networks import FAMILIES, NetworkConfig, family_of
from models.strict import StrictModel
from training.augment.augmentation import Policy
from training.objective.losses import LOSSES, LossName
from training.objective.schedules import Schedule

Labels = Literal["first_folder", "last_folder", "none"]
"""Which of an image's folders is its label."""
Images = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


def _colour(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(COLOUR_PATTERN, value.lower()):
        return value.lower()
    # Tests the type, since a bool is an int in Python.
    levels = [level for level in value if type(level) is int and 0 <= level <= 255] if type(value) is list else []
    if levels == value and len(levels) == 3:
        return "#{:02x}{:02x}{:02x}".format(*levels)
    raise ValueError(
        "must be white, black, '#rrggbb' (in quotes, since # begins a comment in YAML) or three numbers of 0 … 255 "
        "such as [255, 255, 255]"
    )


class DataConfig(StrictModel):
    """How images of the data set become training images: size, channels, labels."""

    resolution: Annotated[int, Field(ge=8, le=1024, description="side of the square training images, in pixels")]
    channels: Annotated[Literal[1, 3, 4], Field(description="1 = grey, 3 = RGB, 4 = RGBA, which keeps transparency")]
    fit: Annotated[
        Literal["pad", "crop"],
        Field(
            description="pad = centre on black (with 4 channels: on transparency), nothing resampled; "
            "crop = centre square, resized (Lanczos)"
        ),
    ]
    broken_share: Annotated[
        float, Field(ge=0, lt=1, description="skip files that cannot be decoded, up to this share of all files")
    ] = 0.01
    background: Annotated[
        str, BeforeValidator(_colour), Field(description="the colour behind transparent images, for 1 and 3 channels")
    ] = "white"
    labels: Annotated[
        Labels,
        Field(
            description="which folder is an image's label: the first below DATA, or the last; none = no labels, "
            "for Parquet files and the Hub too"
        ),
    ] = "first_folder"
    image_column: Annotated[
        str | None, Field(description="for Parquet files and the Hub, if several columns hold images")
    ] = None
    label_column: Annotated[
        str | None, Field(description="for Parquet files and the Hub, if several columns hold labels")
    ] = None

    balance: Annotated[
        bool, Field(description="draw every label equally often, however many images it has; needs labels")
    ] = False
    holdout: Annotated[
        float,
        Field(
            ge=0,
            le=0.5,
            description="share of the images that the generator never sees, so that copies of the others are told "
            "apart; 0 = it trains on all",
        ),
    ] = 0.1

    @model_validator(mode="after")
    def _check_background(self) -> "DataConfig":
        levels = re.findall("..", self.background[1:]) if self.background.startswith("#") else []
        if self.channels == 1 and len(set(levels)) > 1:
            raise ValueError(f"background {self.background} is a colour, and data.channels 1 holds grey images only")
        if self.channels == 4 and self.background != "white":
            raise ValueError(
                f"background {self.background} is laid behind transparent images, and data.channels 4 keeps them "
                "transparent: remove it, or set data.channels to 3"
            )
        return self


class RegularizationConfig(StrictModel):
    """Regularisation of both networks. 0 switches a term off."""

    r1: Annotated[
        float,
        Field(
            ge=0,
            description="γ of ½ γ E‖∇D(x)‖² on reals (Mescheder et al. 2018); auto = 0.0002 · resolution² / batch_size",
        ),
    ] = 0
    r2: Annotated[float, Field(ge=0, description="γ of the same penalty on fakes")] = 0
    gamma_schedule: Annotated[Schedule, Field(description="of γ of R1 and R2, from 1 to gamma_final_share")] = (
        "constant"
    )
    gamma_final_share: Annotated[
        Share, Field(description="share of γ at the end of its schedule (0.1: Huang et al. 2024)")
    ] = 0.1
    interval: Annotated[
        int, Field(ge=1, le=64, description="steps from one R1 and R2 to the next (lazy: Karras et al. 2020)")
    ] = 1
    gradient_penalty: Annotated[float, Field(ge=0, description="λ of λ E(‖∇D‖ - 1)² (Gulrajani et al. 2017)")] = 0
    label_smoothing: Annotated[
        float, Field(ge=0, le=0.5, description="subtracted from the target 1 of reals; one-sided")
    ] = 0
    instance_noise: Annotated[
        float, Field(ge=0, le=2, description="σ of noise on every image that the discriminator sees; pixels are -1 … 1")
    ] = 0
    instance_noise_until: Annotated[Share, Field(description="share of the budget at which σ reaches 0")] = 0.5
    style_mixing: Annotated[
        float, Field(ge=0, le=1, description="probability that an image mixes two styles (Karras et al. 2019)")
    ] = 0
    path_length: Annotated[
        float,
        Field(
            ge=0,
            description="weight of (‖∂G/∂w‖ - a)², on half of the images of every 4th generator step "
            "(Karras et al. 2020, eq. 4)",
        ),
    ] = 0

    @field_validator("r1", mode="before")
    @classmethod
    def _name_auto(cls, value: Any) -> Any:
        try:
            return float(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("must be a number, or auto where data.resolution and batch_size are numbers") from None

    @property
    def lazy(self) -> bool:
        """Whether R1 and R2 have a phase of their own, with its own step of the optimiser."""
        return self.interval > 1 and bool(self.r1 or self.r2)


class AdaptiveConfig(StrictModel):
    """Augmentation whose probability follows the discriminator's overfitting (ADA: Karras et al. 2020)."""

    target: Annotated[float, Field(gt=0, lt=1, description="target of E sign(D(x)) on reals")] = 0.6
    images_to_one: Annotated[Images, Field(description="images in which the probability can rise from 0 to 1")] = (
        500_000
    )
    max_probability: Annotated[Share, Field(description="beyond about 0.8 augmentations leak into the images")] = 0.8


class ScheduledConfig(StrictModel):
    """ADA's augmentation with a probability that follows a schedule instead (R3GAN: Huang et al. 2024)."""

    probability: Annotated[Share, Field(description="the probability at the end of the schedule")]
    schedule: Annotated[Schedule, Field(description="how the probability rises from 0; constant = never below")] = (
        "constant"
    )


class AugmentationConfig(StrictModel):
    """Augmentation of the images, for small data sets."""

    flip: Annotated[bool, Field(description="mirror reals at random; for data where left and right are equal")] = False
    diff_augment: Annotated[
        tuple[Policy, ...], Field(description="on every image that the discriminator sees (Zhao et al. 2020)")
    ] = ()
    adaptive: AdaptiveConfig | None = None
    scheduled: ScheduledConfig | None = None


class OptimizerConfig(StrictModel):
    """Adam (Kingma and Ba 2015), its learning-rate schedule, and gradient clipping."""

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]
    schedule: Annotated[Schedule, Field(description="of the learning rate, from 1 to final_share")] = "constant"
    final_share: Annotated[
        float, Field(ge=0, le=1, description="share of the learning rate at the end of the schedule")
    ] = 0
    final_beta2: Annotated[
        float | None, Field(ge=0, lt=1, description="beta2 at the end of the schedule; null = beta2 throughout")
    ] = None
    clip_norm: Annotated[float | None, Field(gt=0, description="scale longer gradients to this norm")] = None

    @model_validator(mode="after")
    def _check_final_beta2(self) -> "OptimizerConfig":
        if self.final_beta2 is not None and self.schedule == "constant":
            raise ValueError(
                "final_beta2 is never reached under a constant schedule: set schedule, or final_beta2 null"
            )
        return self


class EmaConfig(StrictModel):
    """Exponential moving averages (EMA) of the generator's weights. One of them is exported."""

    half_lives: Annotated[
        tuple[Images, ...],
        Field(min_length=1, description="images after which a weight's share in the average has halved; one per EMA"),
    ]
    ramp: Annotated[Share, Field(description="limits each half-life to this share of the images seen so far")]
    growth: Annotated[
        Schedule, Field(description="how each half-life grows from 0; constant = never below, but for the ramp")
    ] = "constant"

    @model_validator(mode="after")
    def _distinct(self) -> "EmaConfig":
        if len(set(self.half_lives)) != len(self.half_lives):
            raise ValueError("half_lives must differ from each other")
        return self


class JudgeConfig(StrictModel):
    """How often the data set's own judge scores the EMA generators, and on how many images."""

    every: Annotated[Images, Field(description="images seen from one scoring to the next")]
    samples: Annotated[int, Field(ge=500, le=50_000, description="images generated for each score")] = 2_000


class PaceConfig(StrictModel):
    """Intervals, in images seen, at which the run reports and saves."""

    tick: Annotated[Images, Field(description="from one line of metrics to the next")]
    samples: Annotated[Images, Field(description="from one sample grid to the next, with the plots")]
    checkpoint: Annotated[Images, Field(description="from one checkpoint to the next")]


class AboutConfig(StrictModel):
    """Texts for the card of the exported generator."""

    licence: str
    intended_use: str


class Config(StrictModel):
    """A whole training run."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    images: Annotated[Images, Field(description="the budget: real images seen by the discriminator")]
    burn_in: Annotated[
        Share, Field(description="share of the budget at which every schedule ends; its final value stays")
    ] = 1
    batch_size: Annotated[int, Field(ge=2, le=65536, description="images per step, over all processes together")]
    micro_batch: Annotated[
        int | None,
        Field(ge=2, description="images that a process computes at once, for small memory; null = its whole share"),
    ] = None
    discriminator_steps: Annotated[int, Field(ge=1, le=20, description="discriminator steps per generator step")] = 1
    freeze_discriminator: Annotated[
        int, Field(ge=0, description="layers of D, from the image on, that keep their weights (Mo et al. 2020)")
    ] = 0
    conditional: Annotated[bool, Field(description="whether labels condition the generator")]
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"],
        Field(description="of convolutions; auto = the faster one in a measurement of a few steps"),
    ] = "auto"
    data: DataConfig
    network: NetworkConfig
    compile: Annotated[bool, Field(description="torch.compile for both networks' first-order passes")] = False
    loss: LossName
    regularization: RegularizationConfig = RegularizationConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    generator_optimizer: OptimizerConfig
    discriminator_optimizer: OptimizerConfig
    ema: EmaConfig
    judge: JudgeConfig | None = None
    doctor: Annotated[
        Literal["watch", "stop", "treat"],
        Field(
            description="about a run that goes wrong: watch = say so; stop = also end it once it is lost; treat = also "
            "change settings or go back to the best, three times at most, and then stop"
        ),
    ] = "watch"
    pace: PaceConfig
    about: AboutConfig

    @model_validator(mode="before")
    @classmethod
    def _resolve_r1(cls, values: Any) -> Any:
        """Replaces ``r1: auto`` by StyleGAN2-ADA's heuristic, 0.0002 · resolution² / batch size (its ``train.py``)."""
        match values:
            case {
                "regularization": {"r1": "auto"} as regularization,
                "data": {"resolution": int(resolution)},
                "batch_size": int(batch_size),
            } if batch_size > 0:
                return {**values, "regularization": {**regularization, "r1": 0.0002 * resolution**2 / batch_size}}
        return values

    @model_validator(mode="after")
    def _check_contradictions(self) -> "Config":
        contradictions = list(_contradictions(self))
        if contradictions:
            raise ValueError("; ".join(contradictions))
        return self


def _contradictions(config: Config) -> list[str]:
    """Returns combinations that cannot work, each with the reason and a remedy."""
    loss, regularization, augmentation = LOSSES[config.loss], config.regularization, config.augmentation
    family, found = family_of(config.network), []
    if regularization.gradient_penalty and family.normalises_over_batch(config.network):
        found.append(
            "regularization.gradient_penalty bounds the gradient of each image by itself, but batch normalisation "
            "makes every logit depend on the whole batch (Gulrajani et al. 2017, section 4): set "
            "network.discriminator_norm to none or spectral"
        )
    bounded = family.bounds_slope(config.network) or regularization.gradient_penalty or regularization.r1
    if loss.needs_slope_bound and not bounded:
        found.append(
            f"loss {loss.name} grows without bound unless something bounds the critic's slope: set "
            "regularization.gradient_penalty or regularization.r1, or a spectral norm"
        )
    if regularization.label_smoothing and not loss.smoothable:
        found.append(f"regularization.label_smoothing softens a target, and loss {loss.name} has none")
    if augmentation.adaptive and loss.decision_threshold is None:
        found.append(
            f"augmentation.adaptive steers by the sign of D(x), which says nothing under loss {loss.name}: its "
            "logits have no zero; take augmentation.diff_augment"
        )
    if config.micro_batch and config.batch_size % config.micro_batch:
        found.append(
            f"micro_batch {config.micro_batch} does not divide batch_size {config.batch_size}: take "
            f"{nearest_divisor(config.batch_size, config.micro_batch)}, or another batch_size"
        )
    ways = [way for way in ("adaptive", "diff_augment", "scheduled") if getattr(augmentation, way)]
    if len(ways) > 1:
        named = " and ".join(f"augmentation.{way}" for way in ways)
        found.append(f"{named} are {'two' if len(ways) == 2 else 'three'} ways to do the same: set one")
    for setting in ("style_mixing", "path_length"):
        if getattr(regularization, setting) and not family.has_styles:
            with_styles = " or ".join(other.name for other in FAMILIES.values() if other.has_styles)
            found.append(
                f"regularization.{setting} works on the styles of {with_styles}, and {family.name} has none: "
                "set it to 0"
            )
    if config.micro_batch and config.batch_size % config.micro_batch:
        found.append(
            f"micro_batch {config.micro_batch} does not divide batch_size {config.batch_size}: take "
            f"{nearest_divisor(config.batch_size, config.micro_batch)}, or another batch_size"
        )
    if config.discriminator_steps * config.batch_size > config.images:
        found.append(
            f"a budget of {config.images} images is spent before the generator's first step, after "
            f"{config.discriminator_steps * config.batch_size}"
        )
    return found


def nearest_divisor(size: int, wanted: int) -> int | None:
    """Returns the divisor of ``size`` from 2 on that is nearest to ``wanted``; None if there is none."""
    divisors = [divisor for divisor in range(2, size + 1) if size % divisor == 0]
    return min(divisors, key=lambda divisor: abs(divisor - wanted), default=None)
