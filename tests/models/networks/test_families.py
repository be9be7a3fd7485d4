"""Every network family has the right shapes and ranges, responds to labels, and has gradients for the trainer."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.bundle import ImageSpec
from models.networks import (
    FAMILIES,
    NetworkConfig,
    build_discriminator,
    build_generator,
    family_of,
)
from models.networks.dcgan import DcganConfig
from models.networks.layers.spectral_norm import SpectralNorm
from models.networks.mlp import MlpConfig

LINEAR_OUTPUT = ("stylegan2", "r3gan")
"""Families with pixels beyond -1 … 1; the exported graph clamps them."""


@pytest.fixture(autouse=True)
def _same_weights_every_time() -> None:
    torch.manual_seed(0)


def square(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec.model_validate({"height": side, "width": side, "channels": channels})


def perturbed(network: nn.Module) -> nn.Module:
    """Adds noise to every weight, so that no gate that starts at 0 hides the layers behind it."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def test_every_family_has_a_small_configuration(small_networks: dict[str, dict[str, Any]]) -> None:
    """Without one, the tests below would skip a family."""
    assert set(small_networks) == set(FAMILIES)


@pytest.mark.parametrize("side", [16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("labels", [0, 5])
def test_shapes_and_ranges(small_network: NetworkConfig, side: int, channels: int, labels: int) -> None:
    check_shapes_and_ranges(small_network, side, channels, labels)


@pytest.mark.parametrize("side", [8, 128, 256])
def test_shapes_and_ranges_of_the_smallest_and_the_largest(small_network: NetworkConfig, side: int) -> None:
    if isinstance(small_network, MlpConfig) and side > 64:
        with pytest.raises(ValueError, match="mlp generates images of up to 64 × 64"):
            build_generator(small_network, square(side), 5)
    else:
        check_shapes_and_ranges(small_network, side, 3, 5)


def check_shapes_and_ranges(config: NetworkConfig, side: int, channels: int, labels: int) -> None:
    label = torch.tensor([0, 4]) if labels else None
    images = build_generator(config, square(side, channels), labels)(torch.randn(2, config.noise_dim), label)
    assert images.shape == (2, channels, side, side)
    if config.family not in LINEAR_OUTPUT:
        assert images.abs().max() <= 1
    assert images.std() > 0
    logits = build_discriminator(config, square(side, channels), labels)(images, label)
    assert logits.shape == (2,)
    assert logits.isfinite().all()


def test_labels_steer_both_players(small_network: NetworkConfig) -> None:
    generator = perturbed(build_generator(small_network, square(16), 5)).eval()
    discriminator = perturbed(build_discriminator(small_network, square(16), 5)).eval()
    noise = torch.randn(1, small_network.noise_dim)
    one, other = (generator(noise, torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(one, other)
    assert discriminator(one, torch.tensor([0])) != discriminator(one, torch.tensor([1]))
    with pytest.raises(ValueError, match="a conditional generator needs labels"):
        generator(noise)
    with pytest.raises(ValueError, match="a conditional discriminator needs labels"):
        discriminator(one)


def test_an_image_does_not_depend_on_the_rest_of_its_batch(small_network: NetworkConfig) -> None:
    """Evaluation mode has no random operator and no batch statistics."""
    generator = perturbed(build_generator(small_network, square(16), 5)).eval()
    noise, label = torch.randn(4, small_network.noise_dim), torch.arange(4)
    together = generator(noise, label)
    assert torch.equal(together, generator(noise, label))
    torch.testing.assert_close(generator(noise[2:3], label[2:3]), together[2:3])


@pytest.mark.parametrize("labels", [0, 5])
def test_truncation_scales_the_noise(small_network: NetworkConfig, labels: int) -> None:
    if small_network.family == "stylegan2":
        return  # truncates in w; its own tests check that
    generator = perturbed(build_generator(small_network, square(16), labels)).eval()
    noise, label = torch.randn(2, small_network.noise_dim), torch.tensor([0, 4]) if labels else None
    torch.testing.assert_close(generator(noise, label, torch.tensor([1.0, 1.0])), generator(noise, label))
    scaled = noise * torch.tensor([[0.5], [0.25]])
    torch.testing.assert_close(generator(noise, label, torch.tensor([0.5, 0.25])), generator(scaled, label))


@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("labels", [0, 5])
def test_a_gradient_penalty_reaches_the_discriminators_weights(
    small_network: NetworkConfig, labels: int, bfloat16: bool
) -> None:
    """Gradient penalties differentiate twice, in channels last and under autocast, as in the trainer."""
    discriminator = build_discriminator(small_network, square(16), labels).to(memory_format=torch.channels_last)
    label = torch.arange(4) if labels else None
    images = torch.randn(4, 3, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = discriminator(images, label).float()
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    torch.autograd.backward(gradient.square().sum())
    reached = [name for name, weight in discriminator.named_parameters() if weight.grad is not None]
    assert any(name.endswith(("weight", "original")) for name in reached)
    assert all(weight.grad.isfinite().all() for weight in discriminator.parameters() if weight.grad is not None)


@pytest.mark.parametrize("labels", [0, 5])
def test_logits_are_float32_under_autocast(small_network: NetworkConfig, labels: int) -> None:
    """A loss of a difference of logits needs more than bfloat16's eight bits."""
    discriminator = build_discriminator(small_network, square(16), labels)
    label = torch.arange(4) if labels else None
    with torch.autocast("cpu", torch.bfloat16):
        assert discriminator(torch.randn(4, 3, 16, 16), label).dtype == torch.float32


@pytest.mark.parametrize("bfloat16", [False, True])
def test_every_weight_learns(small_network: NetworkConfig, bfloat16: bool) -> None:
    generator = perturbed(build_generator(small_network, square(16), 5)).to(memory_format=torch.channels_last)
    discriminator = perturbed(build_discriminator(small_network, square(16), 5)).to(memory_format=torch.channels_last)
    label = torch.arange(10) % 5
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = discriminator(generator(torch.randn(10, small_network.noise_dim), label), label).float()
    torch.autograd.backward(logits.square().sum())
    for network in (generator, discriminator):
        idle = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
        assert not idle


def test_a_copy_with_the_same_state_is_the_same_network(small_network: NetworkConfig) -> None:
    """Checkpoints and EMA generators store nothing but a network's state."""
    generator = perturbed(build_generator(small_network, square(16), 5))
    noise, label = torch.randn(4, small_network.noise_dim), torch.arange(4)
    generator(noise, label)  # moves the batch statistics
    other = build_generator(small_network, square(16), 5)
    other.load_state_dict(generator.state_dict())
    expected = generator.eval()(noise, label)
    torch.testing.assert_close(other.eval()(noise, label), expected)
    torch.testing.assert_close(copy.deepcopy(generator)(noise, label), expected)


@pytest.mark.parametrize(("height", "width"), [(32, 64), (28, 28), (512, 512)])
def test_a_size_that_does_not_fit_is_rejected(small_network: NetworkConfig, height: int, width: int) -> None:
    if isinstance(small_network, MlpConfig) and height <= 64:
        return  # perceptrons accept any small size
    image = ImageSpec(height=height, width=width, channels=1)
    for build in (build_generator, build_discriminator):
        with pytest.raises(ValueError, match=rf"{small_network.family} generates .*, not {width} × {height}"):
            build(small_network, image, 0)


def mixes_a_batch(discriminator: nn.Module, images: Tensor) -> bool:
    """Returns whether the first image's logit depends on the others."""
    (gradient,) = torch.autograd.grad(discriminator(images.requires_grad_())[0], images)
    return bool(gradient[1:].any())


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_normalises_over_batch_agrees_with_the_gradients_of_a_dcgan(norm: str) -> None:
    config = DcganConfig.model_validate({"noise_dim": 8, "width": 4, "discriminator_norm": norm})
    discriminator = build_discriminator(config, square(16), 0)
    assert mixes_a_batch(discriminator, torch.randn(4, 3, 16, 16)) == family_of(config).normalises_over_batch(config)


def test_normalises_over_batch_agrees_with_the_layers(small_network: NetworkConfig) -> None:
    discriminator = build_discriminator(small_network, square(16), 0)
    found = any(isinstance(module, nn.BatchNorm2d) for module in discriminator.modules())
    assert found == family_of(small_network).normalises_over_batch(small_network)


def test_bounds_slope_agrees_with_the_layers(small_network: NetworkConfig) -> None:
    discriminator = build_discriminator(small_network, square(16), 0)
    found = any(isinstance(module, SpectralNorm) for module in discriminator.modules())
    assert found == family_of(small_network).bounds_slope(small_network)


def test_a_family_has_styles_if_its_generator_has_the_halves(small_network: NetworkConfig) -> None:
    generator = build_generator(small_network, square(16), 0)
    halves = [hasattr(generator, name) for name in ("num_styles", "mapping", "map_noise", "synthesise")]
    assert halves == [family_of(small_network).has_styles] * 4


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
@pytest.mark.parametrize("side", [8, 32])
def test_a_dcgan_with_a_layer_at_full_size(side: int, upsampling: str) -> None:
    """That layer's channels enter the last convolution, which changes no size."""
    sizes = {"noise_dim": 8, "width": 4, "upsampling": upsampling}
    config = DcganConfig.model_validate(sizes | {"full_size_width": 6})
    check_shapes_and_ranges(config, side, 3, 5)
    generator = build_generator(config, square(side), 5)
    entering: list[torch.Size] = []
    generator.to_image.register_forward_hook(lambda module, given, output: entering.append(given[0].shape))
    generator(torch.randn(2, 8), torch.tensor([0, 4]))
    assert entering == [(2, 6, side, side)]


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_bounds_slope_follows_the_norm_of_a_dcgan(norm: str) -> None:
    config = DcganConfig.model_validate({"noise_dim": 8, "width": 4, "discriminator_norm": norm})
    assert family_of(config).bounds_slope(config) == (norm == "spectral")


def test_the_layers_of_a_discriminator_are_all_before_its_head_from_the_image_on(small_network: NetworkConfig) -> None:
    """A freeze of the lower layers counts them."""
    discriminator = build_discriminator(small_network, square(32), 5)
    layers = family_of(small_network).discriminator_layers(discriminator)
    listed = [module for layer in layers for module in layer]
    reached: list[nn.Module] = []
    for module in listed:
        module.register_forward_hook(lambda module, given, output: reached.append(module))
    discriminator(torch.randn(4, 3, 32, 32), torch.arange(4))
    assert reached == listed
    weights = [list(nn.ModuleList(layer).parameters()) for layer in layers]
    assert len(layers) >= 2
    assert all(weights), "a layer has weights"
    inputs = {weight.shape[1] for weight in weights[0] if weight.dim() > 1}
    assert inputs & {3, 3 * 32 * 32}, "the first sees the image"
    below = {id(weight) for layer in weights for weight in layer}
    assert any(id(weight) not in below for weight in discriminator.parameters()), "the head is no layer"
