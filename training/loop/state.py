"""Everything that decides the next training step."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn

from models.bundle import ImageSpec
from models.networks import build_discriminator, build_generator, family_of
from training.augment.adaptive import AdaptiveProbability
from training.config.schema import Config, OptimizerConfig, RegularizationConfig
from training.errors import DivergenceError, TrainingError
from training.loop.ema import ema_copy
from training.loop.matching import Weights, load_matching
from training.loop.treatment import Treatment, treated_config
from training.objective.losses import LOSSES
from training.objective.regularizers import lazy_adam
from training.objective.styles import PATH_LENGTH_INTERVAL, PathLength

Player = Literal["discriminator", "generator"]


@dataclass(frozen=True)
class Best:
    """The EMA generator with the judge's best score so far."""

    score: float
    images_seen: int
    half_life: int


def check_freezing(config: Config, trained: bool) -> None:
    """Raises ``TrainingError`` if layers are to be frozen and the networks have not been ``trained`` before the run."""
    if config.freeze_discriminator and not trained:
        raise TrainingError(
            f"freeze_discriminator {config.freeze_discriminator} keeps layers as they are, and those of a run that "
            "starts from random networks have learnt nothing: add --init-from RUN, or set freeze_discriminator to 0"
        )


class TrainingState:
    """Both networks, their optimisers, the EMA generators, and the number of real images seen."""

    def __init__(self, config: Config, num_labels: int, device: torch.device) -> None:
        """Initialises the networks from the configuration's seed; ``num_labels`` is 0 for an unconditional run.

        Raises ``TrainingError`` if the family cannot generate images of that size, or the discriminator has fewer
        layers than are to be frozen.
        """
        side = config.data.resolution
        image = ImageSpec(height=side, width=side, channels=config.data.channels)
        torch.manual_seed(config.seed)
        try:
            generator = build_generator(config.network, image, num_labels)
            discriminator = build_discriminator(config.network, image, num_labels)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        self.config = config
        self.device = device
        self.generator = _to_device(generator, device)
        self.discriminator = _to_device(discriminator, device)
        self.frozen = _frozen_weights(config, self.discriminator)
        """The discriminator's weights that no step changes."""
        self.emas = {half_life: ema_copy(self.generator) for half_life in config.ema.half_lives}
        """Half-life in images → the EMA generator."""
        self.generator_optimizer = _adam(
            self.generator, config.generator_optimizer, lazy_interval("generator", config.regularization)
        )
        self.discriminator_optimizer = _adam(
            self.discriminator, config.discriminator_optimizer, lazy_interval("discriminator", config.regularization)
        )
        self.path_length = PathLength(device) if config.regularization.path_length else None
        adaptive, decision_threshold = config.augmentation.adaptive, LOSSES[config.loss].decision_threshold
        self.augmentation = (
            AdaptiveProbability(
                target=adaptive.target,
                images_to_one=adaptive.images_to_one,
                max_probability=adaptive.max_probability,
                decision_threshold=decision_threshold,
                device=device,
            )
            if adaptive and decision_threshold is not None
            else None
        )
        self.images_seen = 0
        self.images_before = 0
        """Images that the networks had seen before this run, in the run that they come from; 0 for random networks."""
        self.best: Best | None = None
        self.treatments: list[Treatment] = []
        """What the doctor has changed, oldest first."""
        self.return_point: dict[str, Any] | None = None
        """Networks and optimisers of an earlier step, for a treatment; None unless the doctor may treat the run."""
        self.given_up: str | None = None
        """Why the doctor has ended the run. No checkpoint holds it: a run that goes on is not given up."""
        self.logged: dict[str, int] = {}
        """File of the run → its lines when the checkpoint was written that this state comes from or has gone into."""

    def start_from(self, generator: Weights, discriminator: Weights, emas: Mapping[int, Weights], images: int) -> str:
        """Takes over what fits of networks that have seen ``images`` images; returns in words what does not.

        ``emas`` are EMAs of the generator by their half-life. Each EMA here takes the one of the nearest half-life: it
        is of the same moment as the generator, so their weights fit together. Optimisers stay fresh.

        Raises ``TrainingError`` if no layer of a network fits.
        """
        left: list[str] = []
        for name, network, weights in (
            ("generator", self.generator, generator),
            ("discriminator", self.discriminator, discriminator),
        ):
            try:
                found = load_matching(network, weights)
            except ValueError as error:
                raise TrainingError(
                    f"{error} the {name}: another version of the trainer must have written it"
                ) from error
            left += [f"{name}.{layer}".rstrip(".") + f" ({difference})" for layer, difference in found.items()]
        for half_life, ema in self.emas.items():
            ema.load_state_dict(self.generator.state_dict())  # for what does not fit
            nearest = min(emas, key=lambda other: abs(math.log(other / half_life)))
            load_matching(ema, emas[nearest])
        self.images_before = images
        return "; ".join(left)

    @property
    def ema(self) -> nn.Module:
        """The EMA generator of the first half-life: the one to use if no judge has chosen."""
        return self.emas[self.config.ema.half_lives[0]]

    @torch.no_grad()
    def check_finite(self) -> None:
        """Raises ``DivergenceError`` if a weight is NaN or infinite.

        A step with finite losses can still break the weights by its gradient. The losses show that one step later.
        """
        networks = [("generator", self.generator), ("discriminator", self.discriminator)]
        networks += [("EMA generator", network) for network in self.emas.values()]
        for name, network in networks:
            values = [value for value in network.state_dict().values() if value.is_floating_point()]
            if not torch.stack([torch.isfinite(value).all() for value in values]).all():
                raise DivergenceError(
                    f"the {name} has NaN or infinite weights after {self.images_seen} images: the training has diverged"
                )

    @property
    def current_config(self) -> Config:
        """The settings of the next step: those of the run, and what treatments have changed."""
        return treated_config(self.config, self.treatments)

    def remember(self) -> None:
        """Makes this step the one that a treatment may go back to."""
        parts = {name: _copy_on_cpu(part.state_dict()) for name, part in self._parts().items()}
        self.return_point = {"images_seen": self.images_seen, "parts": parts}

    def treat(self, treatment: Treatment, return_point: dict[str, Any] | None) -> None:
        """Applies a treatment. The images seen stay, so the steps from here on draw other noise and other images.

        ``return_point`` is that of the first process; others may have none.
        """
        self.treatments.append(treatment)
        if treatment.returned_to is not None:
            assert return_point is not None
            assert return_point["images_seen"] == treatment.returned_to
            for name, part in self._parts().items():
                part.load_state_dict(copy.deepcopy(return_point["parts"][name]))  # an optimiser keeps what it is given
        self._follow_config()

    def _follow_config(self) -> None:
        """Sets the learning rates and betas of both optimisers to those of the current settings."""
        config = self.current_config
        for player, optimizer, settings in (
            ("generator", self.generator_optimizer, config.generator_optimizer),
            ("discriminator", self.discriminator_optimizer, config.discriminator_optimizer),
        ):
            rate, betas = _rate_and_betas(settings, lazy_interval(player, config.regularization))  # type: ignore[arg-type]
            optimizer.defaults.update({"lr": rate, "betas": betas})
            for group in optimizer.param_groups:
                group.update({"lr": rate, "betas": betas})

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that ``load_state_dict`` restores, as a checkpoint stores it."""
        treated = {"treatments": [asdict(treatment) for treatment in self.treatments]} if self.treatments else {}
        returning = {"return_point": self.return_point} if self.return_point else {}
        return {
            **treated,
            **returning,
            **{name: part.state_dict() for name, part in self._parts().items()},
            "images_seen": self.images_seen,
            "images_before": self.images_before,
            "best": asdict(self.best) if self.best else None,
            "logged": self.logged,
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        """Restores the state of a checkpoint. Learning rates and betas stay those of the configuration."""
        for name, part in self._parts().items():
            if name == "path_length" and name not in content:
                continue  # this resume has switched it on: it starts as in a new run
            part.load_state_dict(content[name])
        self.treatments = [Treatment(**treatment) for treatment in content.get("treatments", ())]
        self.return_point = content.get("return_point")
        # Adam's moments come from the checkpoint, its settings from the configuration: a resume may change them.
        self._follow_config()
        self.images_seen = content["images_seen"]
        self.images_before = content.get("images_before", 0)  # version 0.1 wrote none
        self.best = Best(**content["best"]) if content["best"] else None
        self.logged = dict(content.get("logged", {}))  # earlier versions wrote none

    def _parts(self) -> dict[str, Any]:
        """Returns key in a checkpoint → part of the state."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            **{f"average_{half_life}": network for half_life, network in self.emas.items()},
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            **({"augmentation": self.augmentation} if self.augmentation else {}),
            **({"path_length": self.path_length} if self.path_length else {}),
        }


def _frozen_weights(config: Config, discriminator: nn.Module) -> list[nn.Parameter]:
    """Returns the weights of the discriminator's first ``freeze_discriminator`` layers.

    FreezeD (Mo et al. 2020, arXiv:2002.10964): what the lower layers know of images in general is kept.
    """
    layers = family_of(config.network).discriminator_layers(discriminator)
    if config.freeze_discriminator > len(layers):
        raise TrainingError(
            f"freeze_discriminator is {config.freeze_discriminator}, but this discriminator has {len(layers)} layers "
            f"below its head: take 0 … {len(layers)}"
        )
    return [weight for layer in layers[: config.freeze_discriminator] for part in layer for weight in part.parameters()]


def lazy_interval(player: Player, regularization: RegularizationConfig) -> int | None:
    """Returns the steps of a player from one lazy penalty to the next; None without a lazy penalty."""
    if player == "generator":
        return PATH_LENGTH_INTERVAL if regularization.path_length else None
    return regularization.interval if regularization.lazy else None


def _to_device(network: nn.Module, device: torch.device) -> nn.Module:
    # Convolutions on CPUs and GPUs compute in channels last; this layout saves a conversion per layer. On a CPU no
    # family is slower for it, in float32 or in bfloat16 (measured: docs/training.md, "Know the cost").
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def _rate_and_betas(config: OptimizerConfig, interval: int | None) -> tuple[float, tuple[float, float]]:
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    return lazy_adam(rate, *betas, interval) if interval else (rate, betas)


def _adam(network: nn.Module, config: OptimizerConfig, interval: int | None) -> torch.optim.Adam:
    rate, betas = _rate_and_betas(config, interval)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=betas, fused=True)


def _copy_on_cpu(value: Any) -> Any:
    """Returns a copy of nested dictionaries, lists and tensors that later steps do not change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copy_on_cpu(nested) for key, nested in value.items()}
    return [_copy_on_cpu(nested) for nested in value] if isinstance(value, list) else value
