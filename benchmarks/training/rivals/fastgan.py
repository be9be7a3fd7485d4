"""A light GAN for few images, after FastGAN (Liu et al. 2021, arXiv:2101.04775) and its offspring lightweight-gan.

The generator has gated linear units and skip-layer excitation. The discriminator learns to reconstruct reals from its
features beside its hinge loss. Every image that it sees is augmented (DiffAugment), and the EMA generates.

FastGAN is made for 256 to 1024 px on a GPU. Here, widths are half of lightweight-gan's: with all of them, one core of
an AMD EPYC trains 4 images a second at 32 × 32, and would see 800 in three minutes. Excitation comes from maps of an
eighth of the side instead of a sixteenth. The features of 16 × 16 and 8 × 8, as in the paper, are reconstructed at half
the image's side, by mean squared error as in lightweight-gan instead of LPIPS.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from training.augment.augmentation import Policy, diff_augment
from training.loop.ema import ema_copy, update_ema
from training.parallel.rng import BatchRng

NOISE_DIM, BATCH_SIZE = 256, 8
LEARNING_RATE, BETAS, EMA_DECAY = 0.0002, (0.5, 0.999), 0.999
POLICIES: tuple[Policy, ...] = ("color", "translation")


class FastGan:
    """Both networks, both optimisers, and the EMA of the generator."""

    noise_dim = NOISE_DIM

    def __init__(self, side: int, channels: int, seed: int, batch_size: int = BATCH_SIZE) -> None:
        torch.manual_seed(seed)
        self.batch_size, self._steps = batch_size, 0
        self._generator = Generator(side, channels)
        self._discriminator = Discriminator(side, channels)
        self._ema = ema_copy(self._generator)
        self._generator_optimizer, self._discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=BETAS)
            for network in (self._generator, self._discriminator)
        )
        self._rng = BatchRng(seed, torch.device("cpu"))

    def step(self, reals: Tensor) -> None:
        """Takes one step of the discriminator (equations 2 to 4), one of the generator (equation 5), and of the EMA."""
        reals = self._augment(reals)
        fakes = self._generator(torch.randn(len(reals), NOISE_DIM))

        self._discriminator_optimizer.zero_grad()
        logits, reconstruction = self._discriminator.with_reconstruction(reals)
        fake_logits = self._discriminator(self._augment(fakes.detach()))
        hinge = functional.relu(1 - logits).mean() + functional.relu(1 + fake_logits).mean()
        torch.autograd.backward(hinge + reconstruction)
        self._discriminator_optimizer.step()

        self._generator_optimizer.zero_grad()
        torch.autograd.backward(-self._discriminator(self._augment(fakes)).mean())
        self._generator_optimizer.step()

        self._steps += 1
        # Without the ramp, a tenth of the first mark's weights would be the random ones of the beginning.
        update_ema(self._ema, self._generator, min(EMA_DECAY, (1 + self._steps) / (10 + self._steps)))

    def generate(self, noise: Tensor) -> Tensor:
        """Maps noise [N, 256] to images float [N, C, H, W] of the EMA."""
        images: Tensor = self._ema(noise)
        return images

    def _augment(self, images: Tensor) -> Tensor:
        return diff_augment(images, POLICIES, self._rng)


class Generator(nn.Module):
    """Noise float [N, 256] → images float [N, C, side, side] in -1 … 1."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        first = _width(4)
        self.first = nn.Sequential(
            nn.ConvTranspose2d(NOISE_DIM, 2 * first, 4, bias=False), nn.BatchNorm2d(2 * first), nn.GLU(1)
        )
        sides = _doublings(4, side)
        self.blocks = nn.ModuleList(_up(_width(above // 2), _width(above)) for above in sides)
        self.excitations = nn.ModuleList(_excitation(_width(above // 8), _width(above)) for above in sides[2:])
        self.last = nn.Sequential(nn.Conv2d(_width(side), channels, 3, padding=1), nn.Tanh())

    def forward(self, noise: Tensor) -> Tensor:
        """Multiplies every map from 32 × 32 on, per channel, by gates that a map of an eighth of its side computes."""
        maps: list[Tensor] = [self.first(noise[:, :, None, None])]
        for index, block in enumerate(self.blocks):
            image_map = block(maps[-1])
            if index >= 2:
                image_map = image_map * self.excitations[index - 2](maps[index - 2])
            maps.append(image_map)
        images: Tensor = self.last(maps[-1])
        return images


class Discriminator(nn.Module):
    """Images float [N, C, side, side] → logits float [N, 25], one for each overlapping part of an image."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        wide, narrow = _width(16), _width(8)
        self.to_16 = nn.Sequential(
            _normalised(nn.Conv2d(channels, _width(side // 2), 4, 2, 1)),
            nn.LeakyReLU(0.2),
            *(_Down(_width(2 * below), _width(below)) for below in reversed(_doublings(8, side // 4))),
        )
        self.to_8 = _Down(wide, narrow)
        self.head = nn.Sequential(
            _normalised(nn.Conv2d(narrow, narrow, 1)),
            nn.BatchNorm2d(narrow),
            nn.LeakyReLU(0.2),
            _normalised(nn.Conv2d(narrow, 1, 4)),
        )
        self.decode_whole, self.decode_part = (_decoder(width, channels, side // 2) for width in (narrow, wide))

    def forward(self, images: Tensor) -> Tensor:
        """Returns the logits."""
        logits: Tensor = self.head(self.to_8(self.to_16(images))).flatten(1)
        return logits

    def with_reconstruction(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits, and the reconstruction loss of the whole images and of one random quadrant (eq. 4)."""
        features = self.to_16(images)
        smaller = self.to_8(features)
        half, (row, column) = images.shape[2] // 2, torch.randint(2, (2,)).tolist()
        whole = functional.interpolate(images, (half, half), mode="area")
        part = images[:, :, row * half :, column * half :][:, :, :half, :half]
        features = features[:, :, row * 8 :, column * 8 :][:, :, :8, :8]
        loss = functional.mse_loss(self.decode_whole(smaller), whole)
        return self.head(smaller).flatten(1), loss + functional.mse_loss(self.decode_part(features), part)


class _Down(nn.Module):
    """Halves a map: the mean of two convolutions and of a pooled shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            _normalised(nn.Conv2d(before, after, 4, 2, 1, bias=False)),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
            _normalised(nn.Conv2d(after, after, 3, padding=1, bias=False)),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2),
            _normalised(nn.Conv2d(before, after, 1, bias=False)),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        )

    def forward(self, features: Tensor) -> Tensor:
        halved: Tensor = (self.convolutions(features) + self.shortcut(features)) / 2
        return halved


def _width(side: int) -> int:
    """Returns the channels of maps of a side: lightweight-gan's formula with half of its numerator."""
    return min(512, 2048 // side)


def _doublings(above: int, side: int) -> list[int]:
    """Returns the sides that doubling reaches from ``above``, without that, up to ``side``."""
    sides = []
    while above < side:
        above *= 2
        sides.append(above)
    return sides


def _up(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(before, 2 * after, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * after),
        nn.GLU(1),
    )


def _excitation(before: int, after: int) -> nn.Sequential:
    """Maps features [N, before, H, W] to gates [N, after, 1, 1] in 0 … 1 (section 3.1)."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(4),
        nn.Conv2d(before, after, 4),
        nn.LeakyReLU(0.1),
        nn.Conv2d(after, after, 1),
        nn.Sigmoid(),
    )


def _decoder(width: int, channels: int, side: int) -> nn.Sequential:
    """Maps features [N, width, 8, 8] to images [N, C, side, side]."""
    blocks: list[nn.Module] = []
    for _ in _doublings(8, side):
        blocks.append(_up(width, width // 2))
        width //= 2
    return nn.Sequential(*blocks, nn.Conv2d(width, channels, 3, padding=1), nn.Tanh())


def _normalised(convolution: nn.Conv2d) -> nn.Module:
    """Normalises the weights spectrally, as the authors' code does (the paper does not say)."""
    normalised: nn.Module = spectral_norm(convolution)
    return normalised
