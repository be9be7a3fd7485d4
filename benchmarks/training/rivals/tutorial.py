"""The DCGAN of PyTorch's tutorial, written as the tutorial describes it: what most people start from.

https://docs.pytorch.org/tutorials/beginner/dcgan_faces_tutorial.html: Radford et al. 2016 with batch normalisation in
both networks, Adam at 0.0002 with β₁ 0.5, batches of 128, binary cross-entropy, no labels and no EMA. It knows images
of 64 × 64 only; at 32 × 32 both networks have one stage less. The tutorial samples in training mode, and so does this.
"""

import torch
from torch import Tensor, nn

NOISE_DIM, WIDTH, BATCH_SIZE = 100, 64, 128
LEARNING_RATE, BETAS = 0.0002, (0.5, 0.999)


class Tutorial:
    """Both networks and both optimisers."""

    noise_dim = NOISE_DIM

    def __init__(self, side: int, channels: int, seed: int, batch_size: int = BATCH_SIZE) -> None:
        torch.manual_seed(seed)
        stages = {32: 2, 64: 3}[side]
        self.batch_size = batch_size
        self._generator = _generator(stages, channels).apply(_initialise)
        self._discriminator = _discriminator(stages, channels).apply(_initialise)
        self._generator_optimizer, self._discriminator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=BETAS)
            for network in (self._generator, self._discriminator)
        )
        self._loss = nn.BCEWithLogitsLoss()

    def step(self, reals: Tensor) -> None:
        """Takes one step of the discriminator, then one of the generator, on the same generated images."""
        ones, zeros = torch.ones(len(reals)), torch.zeros(len(reals))
        fakes = self._generator(torch.randn(len(reals), NOISE_DIM, 1, 1))

        self._discriminator_optimizer.zero_grad()
        self._loss(self._discriminator(reals).flatten(), ones).backward()
        self._loss(self._discriminator(fakes.detach()).flatten(), zeros).backward()
        self._discriminator_optimizer.step()

        self._generator_optimizer.zero_grad()
        self._loss(self._discriminator(fakes).flatten(), ones).backward()
        self._generator_optimizer.step()

    def generate(self, noise: Tensor) -> Tensor:
        """Maps noise [N, 100] to images float [N, C, H, W], normalised over this batch."""
        images: Tensor = self._generator(noise[:, :, None, None])
        return images


def _generator(stages: int, channels: int) -> nn.Sequential:
    width = WIDTH * 2**stages
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(NOISE_DIM, width, 4, 1, 0, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
    for _ in range(stages):
        layers += [
            nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(inplace=True),
        ]
        width //= 2
    return nn.Sequential(*layers, nn.ConvTranspose2d(width, channels, 4, 2, 1, bias=False), nn.Tanh())


def _discriminator(stages: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(channels, WIDTH, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True)]
    width = WIDTH
    for _ in range(stages):
        layers += [
            nn.Conv2d(width, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        width *= 2
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 4, 1, 0, bias=False))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
