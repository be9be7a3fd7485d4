"""R3GAN starts as in its paper: residual blocks are the identity, and signals keep their size."""

from itertools import pairwise
from typing import TypeVar

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from models.bundle import ImageSpec
from models.networks.r3gan import Discriminator, Generator, R3ganConfig, ResidualBlock
from training.export import measure_parity, to_onnx
from training.runs.sampling import ImageGenerator

TINY = R3ganConfig(noise_dim=8, width=4, max_width=8, group_width=4)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)  # networks this small are fastest on one
    torch.manual_seed(0)


def square(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec.model_validate({"height": side, "width": side, "channels": channels})


Network = TypeVar("Network", bound=nn.Module)


def perturbed(network: Network) -> Network:
    """Makes residual blocks differ from the identity and biases from 0, as training does."""
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            nn.init.normal_(module.branch[-1].weight, 0.0, 0.2)
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.bias, 0.0, 0.2)
    return network


@pytest.mark.parametrize(("widths", "named"), [((20, 64), "width × expansion"), ((32, 36), "max_width × expansion")])
def test_a_width_that_does_not_divide_into_groups_is_rejected(widths: tuple[int, int], named: str) -> None:
    with pytest.raises(ValidationError, match=f"error, {named} must be a multiple of group_width"):
        R3ganConfig(width=widths[0], max_width=widths[1])


def test_a_residual_block_starts_as_the_identity() -> None:
    block = ResidualBlock(8, TINY, 1.0)
    features = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(features), features)
    assert not torch.allclose(perturbed(block)(features), features)


def test_a_residual_block_is_an_inverted_bottleneck_of_grouped_convolutions() -> None:
    expand, _, mix, _, reduce = ResidualBlock(32, R3ganConfig(width=32, max_width=32, expansion=3), 1.0).branch
    assert (expand.in_channels, mix.in_channels, reduce.out_channels) == (32, 96, 32)
    assert (mix.kernel_size, mix.in_channels // mix.groups) == ((3, 3), 16)


def test_blocks_are_scaled_by_their_number() -> None:
    """Fix-up: by L^(-1/4), here of 2 stages of 1 block, and of 5 of 8."""
    shallow, deep = (
        next(module for module in Generator(config, square(side), 0).modules() if isinstance(module, ResidualBlock))
        for config, side in ((R3ganConfig(width=128, blocks=1), 8), (R3ganConfig(width=128, blocks=8), 64))
    )
    for layer in (0, 2):
        ratio = deep.branch[layer].weight.std() / shallow.branch[layer].weight.std()
        assert ratio.item() == pytest.approx(((5 * 8) / 2) ** -0.25, rel=0.03)


@pytest.mark.parametrize("labels", [0, 3])
def test_signals_keep_their_size_through_both_players(labels: int) -> None:
    """At initialisation, the mean square of each stage's output is close to that of the stage before.

    Bilinear resampling halves the power of white noise, as in the first feature maps, and hardly that of smooth maps.
    """
    config = R3ganConfig(width=32, max_width=128)
    generator, discriminator = Generator(config, square(64), labels), Discriminator(config, square(64), labels)
    sizes: list[float] = []
    for module in [*generator.modules(), *discriminator.modules()]:
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(lambda _, __, output: sizes.append(output.square().mean().item()))
    label = torch.arange(16) % labels if labels else None
    logits = discriminator(generator(torch.randn(16, config.noise_dim), label), label)
    for stages in (sizes[:5], sizes[5:]):
        assert all(0.4 < after / before < 1.6 for before, after in pairwise(stages)), sizes
    assert 0.4 < sizes[0] < 2
    assert logits.std().item() < 3


def test_truncation_scales_the_noise() -> None:
    generator = perturbed(Generator(TINY, square(16), 0)).eval()
    noise = torch.randn(2, 8)
    torch.testing.assert_close(generator(noise, None, torch.ones(2)), generator(noise))
    torch.testing.assert_close(generator(noise, None, torch.full((2,), 0.5)), generator(noise / 2))
    typical = generator(noise, None, torch.zeros(2))
    torch.testing.assert_close(typical[0], typical[1])


def test_labels_steer_both_players() -> None:
    generator, discriminator = Generator(TINY, square(16), 5), Discriminator(TINY, square(16), 5)
    noise = torch.randn(1, 8)
    one, other = (generator(noise, torch.tensor([label])) for label in (0, 1))
    assert not torch.allclose(one, other, atol=1e-2)
    assert discriminator(one, torch.tensor([0])) != discriminator(one, torch.tensor([1]))
    with pytest.raises(ValueError, match="needs labels"):
        generator(noise)
    with pytest.raises(ValueError, match="needs labels"):
        discriminator(one)


def test_bfloat16_and_channels_last_change_little() -> None:
    generator, discriminator = perturbed(Generator(TINY, square(16), 5)), perturbed(Discriminator(TINY, square(16), 5))
    noise, label = torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    images = generator(noise, label)
    logits = discriminator(images, label)
    generator = generator.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator(noise, label), images, atol=1e-5, rtol=1e-4)
    types: dict[int, set[torch.dtype]] = {}
    for module in [*generator.modules(), *discriminator.modules()]:
        if isinstance(module, ResidualBlock):
            module.register_forward_hook(
                lambda _, __, output: types.setdefault(output.shape[-1], set()).add(output.dtype)
            )
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_logits = generator(noise, label), discriminator(images, label)
    # As in the authors' code; float32 between the larger blocks would be slow.
    assert types == {4: {torch.float32}, 8: {torch.bfloat16}, 16: {torch.bfloat16}}
    assert rough_logits.dtype == torch.float32
    assert (rough - images).abs().mean() < 0.03 * images.abs().mean()
    torch.testing.assert_close(rough_logits.float(), logits, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(("channels", "labels"), [(3, 0), (1, 3)])
def test_it_exports(channels: int, labels: int) -> None:
    network = ImageGenerator(perturbed(Generator(TINY, square(16, channels), labels))).eval()
    with torch.no_grad():
        images = network(torch.randn(2, 8), torch.zeros(2, dtype=torch.int64), torch.ones(2)).float()
    assert images.std() > 10, "for flat grey images any two graphs agree"
    assert measure_parity(network, to_onnx(network, 8, labels), 8, labels).max_difference <= 1
