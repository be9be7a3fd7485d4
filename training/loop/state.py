"""Everything that decides the next training step, and how it goes to disk and comes back."""

import copy
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from models.bundle import ImageSpec
from models.networks import build_discriminator, build_generator
from training.augment.adaptive import AdaptiveProbability
from training.config.changeable import CHANGEABLE, DATA_SELECTION, FREE_TO_CHANGE
from training.config.schema import Config, OptimizerConfig
from training.errors import DivergenceError, TrainingError
from training.objective.losses import LOSSES
from training.objective.regularizers import lazy_adam

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Best:
    """The averaged generator that the judge has liked best so far."""

    score: float
    images_seen: int
    half_life: int


class TrainingState:
    """The players, their optimisers, the averaged generators, and how many real images have been seen."""

    def __init__(self, config: Config, labels: int, device: torch.device) -> None:
        """Fresh networks, drawn from the configuration's seed. Raises ``TrainingError`` if they do not fit."""
        side = config.data.resolution
        image = ImageSpec(height=side, width=side, channels=config.data.channels)
        torch.manual_seed(config.seed)
        try:
            generator = build_generator(config.network, image, labels)
            discriminator = build_discriminator(config.network, image, labels)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        self._config = config
        self.device = device
        self.generator = _on(device, generator)
        self.discriminator = _on(device, discriminator)
        self.emas = {half_life: copy_of(self.generator) for half_life in config.ema.half_lives}
        """Half-life in images → the generator with averaged weights."""
        self.generator_optimizer = _adam(self.generator, config.generator_optimizer)
        interval = config.regularization.interval if config.regularization.lazy else None
        self.discriminator_optimizer = _adam(self.discriminator, config.discriminator_optimizer, interval)
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
        self.best: Best | None = None

    @property
    def ema(self) -> nn.Module:
        """The averaged generator of the first half-life: the one to show where no judge has chosen."""
        return self.emas[self._config.ema.half_lives[0]]

    @torch.no_grad()
    def update_ema(self, half_life: int, keep: float) -> None:
        """Moves an averaged generator towards the present one: average ← keep · average + (1 - keep) · present.

        Batch statistics are averaged like weights, so that they belong to the averaged weights.
        """
        present = self.generator.state_dict()
        moved, targets = [], []
        for name, value in self.emas[half_life].state_dict().items():
            if value.is_floating_point():
                moved.append(value)
                targets.append(present[name])
            else:
                value.copy_(present[name])
        torch._foreach_lerp_(moved, targets, 1 - keep)

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            **{f"average_{half_life}": network for half_life, network in self.emas.items()},
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
            **({"augmentation": self.augmentation} if self.augmentation else {}),
        }

    def save(self, folder: Path) -> None:
        """Writes ``folder/IMAGES.pt`` whole or not at all, and removes all but the newest few.

        Raises ``DivergenceError`` if a weight is no number, and ``TrainingError`` if the file cannot be written.
        """
        self.check_finite()
        folder.mkdir(exist_ok=True)
        content = {name: part.state_dict() for name, part in self._parts().items()}
        content["images_seen"] = self.images_seen
        content["best"] = asdict(self.best) if self.best else None
        content["configuration"] = self._config.model_dump(mode="json")
        write_tensors(folder / f"{self.images_seen:012d}.pt", content)
        for old in checkpoints(folder)[:-KEPT_CHECKPOINTS]:
            old.unlink()

    @torch.no_grad()
    def check_finite(self) -> None:
        """Raises ``DivergenceError`` if a weight is no number.

        A step whose losses are sound can spoil the weights by its gradient, which shows in the next losses only.
        """
        networks = [("generator", self.generator), ("discriminator", self.discriminator)]
        networks += [("averaged generator", network) for network in self.emas.values()]
        for name, network in networks:
            values = [value for value in network.state_dict().values() if value.is_floating_point()]
            if not torch.stack([torch.isfinite(value).all() for value in values]).all():
                raise DivergenceError(
                    f"the {name} has weights that are no numbers after {self.images_seen} images: "
                    "the training has diverged"
                )

    def load(self, content: dict[str, Any]) -> None:
        """Becomes what a checkpoint says.

        Raises ``TrainingError`` if the configuration is another one than the checkpoint was written under.
        """
        check_same_run(content["configuration"], self._config)
        for name, part in self._parts().items():
            part.load_state_dict(content[name])
        for optimizer in (self.generator_optimizer, self.discriminator_optimizer):
            # The moments are the checkpoint's; how they move on is the configuration's.
            for group in optimizer.param_groups:
                group.update({name: optimizer.defaults[name] for name in ("lr", "betas")})
        self.images_seen = content["images_seen"]
        self.best = Best(**content["best"]) if content["best"] else None


def read_newest(folder: Path) -> dict[str, Any]:
    """The newest readable checkpoint in a folder; one that is torn is told of and passed over.

    Raises ``TrainingError`` where there is none.
    """
    if not checkpoints(folder):
        raise TrainingError(
            f"{folder} holds no checkpoint yet; go on with the run: python -m training resume {folder.parent}"
        )
    for path in reversed(checkpoints(folder)):
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever its archive reader does
            reason = " ".join(str(error).split())[:200]
            print(f"passing over the unreadable checkpoint {path.name}: {reason}", file=sys.stderr)
            continue
        return content
    raise TrainingError(
        f"no checkpoint in {folder} can be read; put back copies of them, or begin anew with another --out: "
        f"python -m training fit {folder.parent / 'config.yaml'}"
    )


def check_same_run(before: dict[str, Any], config: Config) -> None:
    """Raises ``TrainingError`` naming each setting that changed since a checkpoint and would change its course."""
    now = config.model_dump(mode="json")
    with suppress(ValidationError):  # where a setting is gone, the comparison names it
        # A checkpoint that is older than a setting was written under the setting's default.
        before = Config.model_validate(before).model_dump(mode="json")
    before, now = _without_reading(before), _without_reading(now)
    changed = [
        f"{key} was {_brief(before.get(key))}, is {_brief(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if key not in FREE_TO_CHANGE and before.get(key) != now.get(key)
    ]
    if changed:
        raise TrainingError(
            f"config.yaml is not the one this run began with: {'; '.join(changed)}. Put it back, or begin a new run; "
            f"resume --set changes {', '.join(sorted(CHANGEABLE))}"
        )


def _without_reading(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "data": {key: value for key, value in settings["data"].items() if key not in DATA_SELECTION}}


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Writes a file of tensors whole or not at all. Raises ``TrainingError`` if it cannot.

    A run has one writer, so the draft's name is always the same: one that a kill leaves behind is written over.
    """
    draft = path.with_suffix(".tmp")
    try:
        with draft.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, RuntimeError) as error:  # torch's archive writer turns a full disk into a RuntimeError
        draft.unlink(missing_ok=True)
        raise TrainingError(
            f"cannot write {path.name} ({_brief(error)}); what was written before is untouched. "
            "Make room, then resume the run"
        ) from error


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("*.pt"))


def copy_of(generator: nn.Module) -> nn.Module:
    """A generator to look at and to export: in evaluation mode, without gradients."""
    return copy.deepcopy(generator).eval().requires_grad_(False)


def _brief(value: object) -> str:
    return " ".join(str(value).split())[:200]


def _on(device: torch.device, network: nn.Module) -> nn.Module:
    # Channels last is what the convolutions of both CPUs and GPUs compute in; it saves a shuffle per layer.
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def _adam(network: nn.Module, config: OptimizerConfig, lazy_interval: int | None = None) -> torch.optim.Adam:
    rate, betas = config.learning_rate, (config.beta1, config.beta2)
    if lazy_interval:
        rate, betas = lazy_adam(rate, *betas, lazy_interval)
    return torch.optim.Adam(network.parameters(), lr=rate, betas=betas, fused=True)
