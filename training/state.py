"""Everything that decides the next training step, and how it goes to disk and comes back."""

import copy
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.bundle import ImageSpec
from models.networks import build_discriminator, build_generator
from training.config import AdamConfig, Config
from training.errors import TrainingError

KEPT_CHECKPOINTS = 2


class TrainingState:
    """The players, their optimisers, the averaged generator, and how many real images have been seen."""

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
        self.generator = _on(device, generator)
        self.discriminator = _on(device, discriminator)
        self.average = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.generator_optimizer = _adam(self.generator, config.generator_optimizer)
        self.discriminator_optimizer = _adam(self.discriminator, config.discriminator_optimizer)
        self.images_seen = 0

    @torch.no_grad()
    def update_average(self, keep: float) -> None:
        """Moves the averaged generator towards the present one: average ← keep · average + (1 - keep) · present.

        Batch statistics are averaged like weights, so that they belong to the averaged weights.
        """
        present = self.generator.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(present[name], 1 - keep)
            else:
                value.copy_(present[name])

    def _parts(self) -> dict[str, Any]:
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "average": self.average,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def save(self, folder: Path) -> None:
        """Writes ``folder/IMAGES.pt`` whole or not at all, and removes all but the newest few."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.images_seen:012d}.pt"
        draft = path.with_suffix(".tmp")
        content = {name: part.state_dict() for name, part in self._parts().items()}
        try:
            with draft.open("wb") as file:
                torch.save({**content, "images_seen": self.images_seen}, file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except (OSError, RuntimeError) as error:
            draft.unlink(missing_ok=True)
            raise TrainingError(
                f"cannot write the checkpoint {path.name} ({error}); the one before it is untouched"
            ) from error
        for old in checkpoints(folder)[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def load_newest(self, folder: Path) -> None:
        """Becomes what the newest readable checkpoint says; one that is torn is told of and passed over.

        Raises ``TrainingError`` where there is none.
        """
        for path in reversed(checkpoints(folder)):
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # torch.load raises whatever its archive reader does
                print(f"passing over the unreadable checkpoint {path.name}: {error}", file=sys.stderr)
                continue
            for name, part in self._parts().items():
                part.load_state_dict(content[name])
            self.images_seen = content["images_seen"]
            return
        raise TrainingError(f"{folder} holds no checkpoint to go on from")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("*.pt"))


def _on(device: torch.device, network: nn.Module) -> nn.Module:
    # Channels last is what the convolutions of both CPUs and GPUs compute in; it saves a shuffle per layer.
    return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


def _adam(network: nn.Module, config: AdamConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        network.parameters(), lr=config.learning_rate, betas=(config.beta1, config.beta2), fused=True
    )
