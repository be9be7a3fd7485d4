"""Perceptrons accept any small size, and have the configured depth and width."""

import torch
from torch import nn

from models.bundle import ImageSpec
from models.networks.mlp import Discriminator, Generator, MlpConfig


def test_any_small_size_is_accepted() -> None:
    image = ImageSpec(height=28, width=20, channels=1)
    config = MlpConfig(noise_dim=8, width=16)
    images = Generator(config, image, 0)(torch.randn(2, 8))
    assert images.shape == (2, 1, 28, 20)
    assert Discriminator(config, image, 0)(images).shape == (2,)


def test_depth_counts_hidden_layers_and_width_their_units() -> None:
    config, image = MlpConfig(noise_dim=8, width=16, depth=4), ImageSpec(height=8, width=8, channels=1)
    for player in (Generator(config, image, 0), Discriminator(config, image, 0)):
        widths = [module.out_features for module in player.modules() if isinstance(module, nn.Linear)]
        assert widths[:-1] == [16, 16, 16, 16]


def test_the_signal_keeps_its_size_through_many_layers() -> None:
    """Without He's initialisation, deep networks start with vanishing images and logits."""
    torch.manual_seed(0)
    generator = Generator(MlpConfig(noise_dim=64, width=256, depth=12), ImageSpec(height=8, width=8, channels=1), 0)
    assert 0.5 < generator.hidden(torch.randn(64, 64)).square().mean().sqrt() < 2
