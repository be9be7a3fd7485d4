"""What happens in one training step: a small table of phases, each one player's turn to minimise one loss.

phase                   player          every
discriminator           discriminator   step              the adversarial loss, and the penalties that are not lazy
discriminator_penalty   discriminator   interval steps    R1 and R2, where they are lazy
generator               generator       discriminator_steps steps
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.augment.augmentation import adaptive_augment, diff_augment, flip
from training.config.schema import Config, OptimizerConfig
from training.loop.state import TrainingState
from training.objective.losses import LOSSES
from training.objective.regularizers import gradient_penalty, instance_noise, instance_noise_sigma, zero_centred_penalty
from training.objective.schedules import decay, ema_decay
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng

AUGMENTATION_INTERVAL = 4
"""Steps from one change of the augmentation's probability to the next (Karras et al. 2020, arXiv:2006.06676)."""

NORM_INTERVAL = 8
"""Turns from one look at the gradients' length to the next: it takes a hundredth of a step. Clipping needs each."""


@dataclass(frozen=True)
class Batch:
    """What one step starts from, and what is measured on the way."""

    reals: Tensor
    """float [N, C, H, W] in -1 … 1."""
    label: Tensor | None
    """int64 [N]; fakes take the same labels as reals."""
    draws: BatchRng
    progress: float
    """Share of the budget that is spent, 0 … 1."""
    measured: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """One player's turn."""

    name: str
    player: Literal["discriminator", "generator"]
    interval: int
    """Steps from one turn to the next."""
    loss: Callable[[Batch], Tensor]


@dataclass(frozen=True)
class _Player:
    network: nn.Module
    optimizer: torch.optim.Optimizer
    config: OptimizerConfig


class TrainStep:
    """Two players in turn, as the configuration has them play."""

    def __init__(self, config: Config, state: TrainingState, processes: Processes) -> None:
        self._config, self._state, self._processes = config, state, processes
        self._loss = LOSSES[config.loss]
        # Second derivatives do not compile, so the penalties see the networks as they are.
        compiled: Callable[[nn.Module], Any] = torch.compile if config.compile else lambda network: network
        self._generate, self._discriminate = compiled(state.generator), compiled(state.discriminator)
        self._players = {
            "discriminator": _Player(
                state.discriminator, state.discriminator_optimizer, config.discriminator_optimizer
            ),
            "generator": _Player(state.generator, state.generator_optimizer, config.generator_optimizer),
        }
        table = [Phase("discriminator", "discriminator", 1, self._discriminator_loss)]
        if config.regularization.lazy:
            interval = config.regularization.interval
            table.append(Phase("discriminator_penalty", "discriminator", interval, self._lazy_penalty))
        table.append(Phase("generator", "generator", config.discriminator_steps, self._generator_loss))
        self.phases = tuple(table)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Takes every turn that is due after a batch, moves the averages on, and returns scalars worth watching."""
        config, state = self._config, self._state
        if config.augmentation.flip:
            batch = replace(batch, reals=flip(batch.reals, batch.draws))
        for phase in self.phases:
            if (self._number + 1) % phase.interval == 0:
                self._take_turn(phase, batch)
        self._processes.average_buffers(state.generator)
        self._processes.average_buffers(state.discriminator)

        state.images_seen += config.batch_size
        for half_life in state.emas:
            keep = ema_decay(half_life, config.ema.ramp, state.images_seen, config.batch_size)
            state.update_ema(half_life, keep)
        if state.augmentation:
            if self._number % AUGMENTATION_INTERVAL == 0:
                state.augmentation.update(AUGMENTATION_INTERVAL * config.batch_size)
            batch.measured["augmentation_probability"] = state.augmentation.probability
        return batch.measured

    @property
    def _number(self) -> int:
        """How many steps have been taken."""
        return self._state.images_seen // self._config.batch_size

    def _take_turn(self, phase: Phase, batch: Batch) -> None:
        player = self._players[phase.player]
        rate = player.optimizer.defaults["lr"] * decay(
            player.config.schedule, player.config.final_share, batch.progress
        )
        for group in player.optimizer.param_groups:
            group["lr"] = rate
        # The generator needs the gradient of its images alone, not of the weights that judge them.
        self._state.discriminator.requires_grad_(phase.player == "discriminator")
        player.optimizer.zero_grad(set_to_none=True)
        loss = phase.loss(batch)
        torch.autograd.backward(loss)
        self._processes.average_gradients(player.network)
        batch.measured[f"{phase.name}_loss"] = loss.detach()
        clip, weights = player.config.clip_norm, list(player.network.parameters())
        if clip is not None or (self._number // phase.interval) % NORM_INTERVAL == 0:
            norm = nn.utils.get_total_norm(weight.grad for weight in weights if weight.grad is not None)
            batch.measured[f"{phase.name}_gradient_norm"] = norm
            if clip is not None:
                nn.utils.clip_grads_with_norm_(weights, clip, norm)
        player.optimizer.step()

    def _discriminator_loss(self, batch: Batch) -> Tensor:
        regularization = self._config.regularization
        with torch.no_grad():
            fakes = self._fakes(batch)
        # Reals and fakes go through apart: batch normalisation must not mix their statistics.
        real, fake = self._logits(batch.reals, batch), self._logits(fakes, batch)
        batch.measured.update({"real_logit": real.detach().mean(), "fake_logit": fake.detach().mean()})
        if self._state.augmentation:
            self._state.augmentation.observe(real.detach(), self._processes.sum)
        loss = self._loss.discriminator(real, fake, regularization.label_smoothing)
        if not regularization.lazy:
            loss = loss + self._penalty(batch, fakes)
        if regularization.gradient_penalty:
            mix = batch.draws.uniform(len(fakes))
            penalty = gradient_penalty(self._plain_logits(batch), batch.reals, fakes, mix)
            batch.measured["gradient_penalty"] = penalty.detach()
            loss = loss + regularization.gradient_penalty * penalty
        return loss

    def _lazy_penalty(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            fakes = self._fakes(batch) if self._config.regularization.r2 else batch.reals
        return self._config.regularization.interval * self._penalty(batch, fakes)

    def _penalty(self, batch: Batch, fakes: Tensor) -> Tensor:
        """½ γ₁ R1 + ½ γ₂ R2, as far as they are asked for."""
        total = batch.reals.new_zeros(())
        for name, gamma, images in (
            ("r1", self._config.regularization.r1, batch.reals),
            ("r2", self._config.regularization.r2, fakes),
        ):
            if gamma:
                squared = zero_centred_penalty(self._plain_logits(batch), images)
                batch.measured[name] = squared.detach()
                total = total + 0.5 * gamma * squared
        return total

    def _generator_loss(self, batch: Batch) -> Tensor:
        fake = self._logits(self._fakes(batch), batch)
        if not self._loss.needs_reals:
            return self._loss.generator(fake, fake)
        with torch.no_grad():
            real = self._logits(batch.reals, batch)
        return self._loss.generator(fake, real)

    def _fakes(self, batch: Batch) -> Tensor:
        noise = batch.draws.normal(len(batch.reals), self._config.network.noise_dim)
        with self._autocast(batch.reals):
            images: Tensor = self._generate(noise, batch.label)
        return images

    def _logits(self, images: Tensor, batch: Batch) -> Tensor:
        with self._autocast(images):
            logits: Tensor = self._discriminate(self._seen(images, batch), batch.label)
        return logits.float()

    def _plain_logits(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """The discriminator as the penalties see it: neither compiled nor in bfloat16."""
        return lambda images: self._state.discriminator(self._seen(images, batch), batch.label)

    def _seen(self, images: Tensor, batch: Batch) -> Tensor:
        """Images as the discriminator gets to see them: augmented, and under noise that fades."""
        augmentation, regularization = self._config.augmentation, self._config.regularization
        if augmentation.diff_augment:
            images = diff_augment(images.float(), augmentation.diff_augment, batch.draws)
        if self._state.augmentation:
            images = adaptive_augment(images.float(), self._state.augmentation.probability, batch.draws)
        sigma = instance_noise_sigma(regularization.instance_noise, regularization.instance_noise_until, batch.progress)
        return instance_noise(images, sigma, batch.draws.normal(*images.shape)) if sigma else images

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16")
