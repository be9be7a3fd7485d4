"""The training loop: two players in turn, counted in images.

Every step is seeded from the run's seed and the images seen so far, and the data's order starts anywhere, so a run
that goes on from a checkpoint takes exactly the steps it would have taken (the way of EDM2, Karras et al. 2024).
"""

import functools
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.config import Config
from training.data import TrainingImages
from training.errors import TrainingError
from training.losses import LOSSES
from training.monitor import Monitor
from training.run_folder import RunFolder
from training.sampling import grid_inputs, image_grid, sample
from training.state import TrainingState


def fit(run: RunFolder, data: TrainingImages, state: TrainingState, device: torch.device) -> bool:
    """Trains until the budget is spent or SIGTERM or Ctrl-C asks to stop; says whether the budget is spent.

    Either way the last step taken is in a checkpoint. Raises ``TrainingError`` if the losses stop being numbers.
    """
    config, pace = run.config, run.config.pace
    noise, label = grid_inputs(config.network.noise_dim, run.labels)
    columns = min(run.labels, 10) or 10
    batch = config.batch_size

    def show_samples(seen: int) -> None:
        grid = image_grid(sample(state.average, noise, label), columns)
        monitor.picture(run.samples / f"{seen:012d}.png", grid, seen)

    with Monitor(run.path, state.images_seen, config.images) as monitor, stop_requested() as stopping:
        if state.images_seen == 0:
            show_reals(run, data, columns)
            show_samples(0)
        while state.images_seen < config.images and not stopping:
            before = state.images_seen
            torch.manual_seed(step_seed(config.seed, before))
            reals, real_label = real_batch(data, batch_indices(len(data), config.seed, before, batch), run.labels)
            monitor.step(step(config, state, reals.to(device), real_label), before + batch)
            seen = state.images_seen = before + batch
            # What is written to disk must be sound, so a checkpoint is always preceded by a tick's check.
            if crossed(before, seen, pace.tick) or crossed(before, seen, pace.checkpoint):
                monitor.tick(seen)
            if crossed(before, seen, pace.samples):
                show_samples(seen)
            if crossed(before, seen, pace.checkpoint):
                state.save(run.checkpoints)
        monitor.tick(state.images_seen)
        show_samples(state.images_seen)
        state.save(run.checkpoints)
    return state.images_seen >= config.images


def step(config: Config, state: TrainingState, reals: Tensor, label: Tensor | None) -> dict[str, Tensor]:
    """One step of the discriminator, one of the generator, one of the average; returns scalars worth watching.

    Takes reals float [N, C, H, W] in -1 … 1 and their labels int64 [N] or None; fakes take the same labels.
    """
    loss = LOSSES[config.loss]
    generator, discriminator = state.generator, state.discriminator
    autocast = torch.autocast(reals.device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    label = None if label is None else label.to(reals.device)
    shape = (len(reals), config.network.noise_dim)

    with autocast:
        with torch.no_grad():
            fakes = generator(torch.randn(shape, device=reals.device), label)
        # Reals and fakes go through apart: batch normalisation must not mix their statistics.
        real_logits = discriminator(reals, label).float()
        fake_logits = discriminator(fakes, label).float()
    discriminator_loss = loss.discriminator(real_logits, fake_logits)
    state.discriminator_optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(discriminator_loss)
    state.discriminator_optimizer.step()

    discriminator.requires_grad_(False)  # the generator needs the gradient of its images alone
    with autocast:
        logits = discriminator(generator(torch.randn(shape, device=reals.device), label), label).float()
    generator_loss = loss.generator(logits)
    state.generator_optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(generator_loss)
    state.generator_optimizer.step()
    discriminator.requires_grad_(True)

    seen = state.images_seen + len(reals)
    half_life = min(config.ema.half_life, config.ema.ramp * seen)
    state.update_average(0.5 ** (len(reals) / half_life))
    return {
        "discriminator_loss": discriminator_loss.detach(),
        "generator_loss": generator_loss.detach(),
        "real_logit": real_logits.detach().mean(),
        "fake_logit": fake_logits.detach().mean(),
    }


def step_seed(seed: int, images_seen: int) -> int:
    """The seed of all that is random in the step that begins after so many images."""
    return int(np.random.SeedSequence((seed, images_seen)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def batch_indices(size: int, seed: int, start: int, count: int) -> NDArray[np.int64]:
    """Which images come at the positions start … start + count - 1 of an endless series of shuffled passes."""
    positions = np.arange(start, start + count)
    indices = np.empty(count, dtype=np.int64)
    for epoch in np.unique(positions // size):
        here = positions // size == epoch
        indices[here] = _shuffled(size, seed, int(epoch))[positions[here] % size]
    return indices


@functools.lru_cache(maxsize=2)  # a batch lies in two passes at most
def _shuffled(size: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng((size, seed, epoch)).permutation(size)


def real_batch(data: TrainingImages, indices: NDArray[np.int64], labels: int) -> tuple[Tensor, Tensor | None]:
    """Real images float [N, C, H, W] in -1 … 1, and their labels int64 [N] where the run has any."""
    pixels = torch.from_numpy(data.images[indices]).permute(0, 3, 1, 2)  # a view, so channels last in memory
    label = torch.from_numpy(data.labels[indices]) if labels and data.labels is not None else None
    return pixels.float() / 127.5 - 1, label


def show_reals(run: RunFolder, data: TrainingImages, columns: int) -> None:
    """Writes the first real images as ``reals.png``, as the networks will see them, for a person to check."""
    count = min(len(data), 8 * columns)
    pixels, _ = real_batch(data, batch_indices(len(data), run.config.seed, 0, count), 0)
    images = ((pixels + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    image_grid(images, columns).save(run.path / "reals.png")


def crossed(before: int, after: int, every: int) -> bool:
    """Whether a count that went from before to after passed a multiple of every."""
    return before // every != after // every


def check_data(config: Config, data: TrainingImages) -> None:
    """Raises ``TrainingError`` if a run cannot train on this data."""
    if config.conditional and data.label_names is None:
        raise TrainingError(
            "the configuration is conditional but the data has no labels; put the images into one sub-folder per "
            "label, add a column 'label', or add --set conditional=false"
        )
    if len(data) < config.batch_size:
        raise TrainingError(
            f"the data holds {len(data)} images, fewer than one batch of {config.batch_size}; lower batch_size"
        )


@contextmanager
def stop_requested() -> Iterator[list[int]]:
    """A list that stays empty until SIGTERM or Ctrl-C asks for an orderly stop; a second signal ends at once."""
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
