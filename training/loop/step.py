"""One training step: a small table of phases. In each phase one network minimises one loss.

phase                   network         every
discriminator           discriminator   step                the adversarial loss, and the penalties that are not lazy
discriminator_penalty   discriminator   interval steps      R1 and R2, if they are lazy
generator               generator       discriminator_steps steps
path_length             generator       4 generator steps   path-length regularisation
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from models.networks import family_of
from models.networks.family import StyledGenerator
from training.augment.augmentation import adaptive_augment, diff_augment, flip
from training.config.schema import Config, OptimizerConfig
from training.loop.batch import Batch, micro_batches, num_micro_batches
from training.loop.ema import ema_decay, update_ema
from training.loop.state import Player, TrainingState, lazy_interval
from training.objective.losses import LOSSES
from training.objective.regularizers import (
    gradient_penalty,
    instance_noise,
    instance_noise_sigma,
    lazy_adam,
    zero_centred_penalty,
)
from training.objective.schedules import growth, schedule_factor
from training.objective.styles import PATH_LENGTH_BATCH_SHRINK, PATH_LENGTH_INTERVAL, mix_styles, path_lengths
from training.parallel.distributed import Processes

AUGMENTATION_INTERVAL = 4
"""Steps between two updates of the augmentation's probability (Karras et al. 2020, arXiv:2006.06676)."""

GRADIENT_NORM_INTERVAL = 8
"""Runs of a phase between two measurements of its gradient norm, which cost 1 % of a step. Clipping needs every one."""


@dataclass(frozen=True)
class Phase:
    """One network's turn to minimise one loss."""

    name: str
    player: Player
    interval: int
    """Steps between two runs of the phase."""
    loss: Callable[[Batch], Tensor]


@dataclass(frozen=True)
class _Player:
    network: nn.Module
    optimizer: torch.optim.Optimizer
    config: OptimizerConfig
    lazy_interval: int | None
    """Steps from one lazy penalty of the player to the next; None without any."""


class TrainStep:
    """Runs the phases that the configuration asks for."""

    def __init__(self, config: Config, state: TrainingState, processes: Processes) -> None:
        self._config, self._state, self._processes = config, state, processes
        self._loss = LOSSES[config.loss]
        self._parts = num_micro_batches(config, processes)
        # torch.compile has no second derivatives, so the penalties use the networks uncompiled.
        compiled: Callable[[Any], Any] = torch.compile if config.compile else lambda network: network
        self._generator, self._discriminator = compiled(state.generator), compiled(state.discriminator)
        if family_of(config.network).has_styles:
            self._styled_generator = cast(StyledGenerator, state.generator)
            self._synthesise = compiled(self._styled_generator.synthesise)
        self._players = {
            "discriminator": _Player(
                state.discriminator,
                state.discriminator_optimizer,
                config.discriminator_optimizer,
                lazy_interval("discriminator", config.regularization),
            ),
            "generator": _Player(
                state.generator,
                state.generator_optimizer,
                config.generator_optimizer,
                lazy_interval("generator", config.regularization),
            ),
        }
        phases = [Phase("discriminator", "discriminator", 1, self._discriminator_loss)]
        if config.regularization.lazy:
            interval = config.regularization.interval
            phases.append(Phase("discriminator_penalty", "discriminator", interval, self._lazy_penalty))
        phases.append(Phase("generator", "generator", config.discriminator_steps, self._generator_loss))
        if config.regularization.path_length:
            interval = PATH_LENGTH_INTERVAL * config.discriminator_steps
            phases.append(Phase("path_length", "generator", interval, self._path_length_loss))
        self.phases = tuple(phases)

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Runs every phase that is due, updates the EMAs, and returns the step's metrics, all scalars."""
        config, state = self._config, self._state
        if config.augmentation.flip:
            batch = replace(batch, reals=flip(batch.reals, batch.rng))
        for phase in self.phases:
            if (self._steps_taken + 1) % phase.interval == 0:
                self._run_phase(phase, batch)
        self._processes.average_buffers(state.generator)
        self._processes.average_buffers(state.discriminator)

        state.images_seen += config.batch_size
        grown = growth(config.ema.growth, state.images_seen / config.images / config.burn_in)
        for half_life, ema in state.emas.items():
            known = state.images_before + state.images_seen
            decay = ema_decay(half_life * grown, config.ema.ramp, known, config.batch_size)
            update_ema(ema, state.generator, decay)
        if state.augmentation:
            if self._steps_taken % AUGMENTATION_INTERVAL == 0:
                state.augmentation.update(AUGMENTATION_INTERVAL * config.batch_size)
            batch.metrics["augmentation_probability"] = state.augmentation.probability
        elif config.augmentation.scheduled:
            batch.metrics["augmentation_probability"] = batch.reals.new_tensor(self._scheduled_probability(batch))
        return batch.metrics

    @property
    def _steps_taken(self) -> int:
        return self._state.images_seen // self._config.batch_size

    def _run_phase(self, phase: Phase, batch: Batch) -> None:
        player = self._players[phase.player]
        self._follow_schedule(player, batch)
        # The generator needs the gradient of its images only, not of the discriminator's weights.
        self._state.discriminator.requires_grad_(phase.player == "discriminator")
        for weight in self._state.frozen:
            weight.requires_grad_(False)
        player.optimizer.zero_grad(set_to_none=True)
        for part in micro_batches(batch, self._parts, (self._state.generator, self._state.discriminator)):
            loss = phase.loss(part)
            # Losses are means over images, so the batch's loss is the mean of its equal parts' losses.
            torch.autograd.backward(loss / self._parts)
            part.metrics[f"{phase.name}_loss"] = loss.detach()
        self._processes.average_gradients(player.network)
        clip_norm, weights = player.config.clip_norm, list(player.network.parameters())
        if clip_norm is not None or (self._steps_taken // phase.interval) % GRADIENT_NORM_INTERVAL == 0:
            norm = nn.utils.get_total_norm(weight.grad for weight in weights if weight.grad is not None)
            batch.metrics[f"{phase.name}_gradient_norm"] = norm
            if clip_norm is not None:
                nn.utils.clip_grads_with_norm_(weights, clip_norm, norm)
        player.optimizer.step()

    def _follow_schedule(self, player: _Player, batch: Batch) -> None:
        """Sets the learning rate of a player's optimiser, and β₂ if that has a schedule."""
        config, progress = player.config, self._progress(batch)
        factor = schedule_factor(config.schedule, config.final_share, progress)
        for group in player.optimizer.param_groups:
            group["lr"] = player.optimizer.defaults["lr"] * factor
            if config.final_beta2 is not None:
                betas = (
                    config.beta1,
                    config.beta2 + (config.final_beta2 - config.beta2) * growth(config.schedule, progress),
                )
                if player.lazy_interval:
                    _, betas = lazy_adam(config.learning_rate, *betas, player.lazy_interval)
                group["betas"] = betas

    def _progress(self, batch: Batch) -> float:
        """Returns the share of the schedules that is over; beyond 1 they have ended."""
        return batch.budget_used / self._config.burn_in

    def _discriminator_loss(self, batch: Batch) -> Tensor:
        regularization = self._config.regularization
        with torch.no_grad():
            fakes = self._generate(batch)
        # Reals and fakes go through separately: batch normalisation must not mix their statistics.
        real, fake = self._logits(batch.reals, batch), self._logits(fakes, batch)
        batch.metrics.update({"real_logit": real.detach().mean(), "fake_logit": fake.detach().mean()})
        if self._state.augmentation:
            self._state.augmentation.observe(real.detach(), self._processes.sum)
        loss = self._loss.discriminator(real, fake, regularization.label_smoothing)
        if not regularization.lazy:
            loss = loss + self._penalty(batch, fakes)
        if regularization.gradient_penalty:
            mix = batch.rng.uniform(len(fakes))
            penalty = gradient_penalty(self._plain_discriminator(batch), batch.reals, fakes, mix)
            batch.metrics["gradient_penalty"] = penalty.detach()
            loss = loss + regularization.gradient_penalty * penalty
        return loss

    def _lazy_penalty(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            fakes = self._generate(batch) if self._config.regularization.r2 else batch.reals
        return self._config.regularization.interval * self._penalty(batch, fakes)

    def _penalty(self, batch: Batch, fakes: Tensor) -> Tensor:
        """Returns ½ γ₁ R1 + ½ γ₂ R2, and leaves out a term whose γ is 0."""
        regularization, total = self._config.regularization, batch.reals.new_zeros(())
        factor = schedule_factor(regularization.gamma_schedule, regularization.gamma_final_share, self._progress(batch))
        for name, gamma, images in (
            ("r1", regularization.r1 * factor, batch.reals),
            ("r2", regularization.r2 * factor, fakes),
        ):
            if gamma:
                penalty = zero_centred_penalty(self._plain_discriminator(batch), images)
                batch.metrics[name] = penalty.detach()
                total = total + 0.5 * gamma * penalty
        return total

    def _generator_loss(self, batch: Batch) -> Tensor:
        fake = self._logits(self._generate(batch), batch)
        if not self._loss.needs_reals:
            return self._loss.generator(fake, fake)
        with torch.no_grad():
            real = self._logits(batch.reals, batch)
        return self._loss.generator(fake, real)

    def _path_length_loss(self, batch: Batch) -> Tensor:
        """Returns the path-length penalty times its weight and interval; not compiled, not in bfloat16."""
        state, count = self._state, max(1, len(batch.reals) // PATH_LENGTH_BATCH_SHRINK)
        assert state.path_length is not None
        # Every second image, not the first half: the same labels for any number of processes.
        label = None if batch.label is None else batch.label[::PATH_LENGTH_BATCH_SHRINK][:count]
        styles = self._styles(batch.rng.normal(count, self._config.network.noise_dim), label, batch)
        images = self._styled_generator.synthesise(styles)
        lengths = path_lengths(images, styles, batch.rng.normal(*images.shape))
        mean = lengths.detach().mean()
        self._processes.average([mean])
        state.path_length.update(mean, share=1 / self._parts)
        batch.metrics["path_length"] = mean
        weight = PATH_LENGTH_INTERVAL * self._config.regularization.path_length
        # The images times 0 give weights that change no length, such as biases, a gradient of 0 in place of none:
        # Adam's correction for lazy penalties expects that every weight takes the additional step.
        return weight * state.path_length.penalty(lengths) + 0 * images.sum()

    def _generate(self, batch: Batch) -> Tensor:
        """Returns new images for the batch's labels, float [N, C, H, W]."""
        noise = batch.rng.normal(len(batch.reals), self._config.network.noise_dim)
        with self._autocast(batch.reals):
            images: Tensor = (
                self._synthesise(self._styles(noise, batch.label, batch))
                if self._config.regularization.style_mixing
                else self._generator(noise, batch.label)
            )
        return images

    def _styles(self, noise: Tensor, label: Tensor | None, batch: Batch) -> list[Tensor]:
        """Returns the w of each layer, float32 [N, W], mixed with those of other noise with a probability per image."""
        generator, count, rng = self._styled_generator, len(noise), batch.rng
        w, probability = generator.map_noise(noise, label), self._config.regularization.style_mixing
        last = generator.num_styles
        if not probability:
            return list(w.unsqueeze(1).expand(-1, last, -1).unbind(1))
        mixed, chance = rng.uniform(count) < probability, rng.uniform(count)
        crossover = torch.where(mixed, 1 + (chance * (last - 1)).long(), last)
        # Not by map_noise: the average w is that of one noise per image.
        other = generator.mapping(rng.normal(*noise.shape), label)
        return mix_styles(w, other, crossover, last)

    def _logits(self, images: Tensor, batch: Batch) -> Tensor:
        """Returns the discriminator's logits float32 [N] for augmented images."""
        with self._autocast(images):
            logits: Tensor = self._discriminator(self._augment(images, batch), batch.label)
        return logits.float()

    def _plain_discriminator(self, batch: Batch) -> Callable[[Tensor], Tensor]:
        """Returns the discriminator for the penalties: with augmentation, not compiled, not in bfloat16."""
        return lambda images: self._state.discriminator(self._augment(images, batch), batch.label)

    def _augment(self, images: Tensor, batch: Batch) -> Tensor:
        """Augments images and adds instance noise, which fades over the budget."""
        augmentation, regularization = self._config.augmentation, self._config.regularization
        if augmentation.diff_augment:
            images = diff_augment(images.float(), augmentation.diff_augment, batch.rng)
        if self._state.augmentation:
            images = adaptive_augment(images.float(), self._state.augmentation.probability, batch.rng)
        if augmentation.scheduled:
            images = adaptive_augment(images.float(), self._scheduled_probability(batch), batch.rng)
        sigma = instance_noise_sigma(
            regularization.instance_noise, regularization.instance_noise_until, batch.budget_used
        )
        return instance_noise(images, sigma, batch.rng.normal(*images.shape)) if sigma else images

    def _scheduled_probability(self, batch: Batch) -> float:
        scheduled = self._config.augmentation.scheduled
        assert scheduled is not None
        return scheduled.probability * growth(scheduled.schedule, self._progress(batch))

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, torch.bfloat16, enabled=self._config.precision == "bfloat16")
