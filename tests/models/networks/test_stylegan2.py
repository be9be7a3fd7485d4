"""StyleGAN2 computes its papers' formulas, generates one image per noise vector, and exports."""

import copy
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

from models.bundle import ImageSpec
from models.networks.layers.equalized import GAIN, EqualizedConv2d, EqualizedLinear
from models.networks.layers.resample import Blur, Upsample
from models.networks.stylegan2 import (
    Discriminator,
    Generator,
    MinibatchStdDev,
    ResidualBlock,
    Style,
    StyledConv2d,
    Stylegan2Config,
    ToImage,
    demodulation,
)
from training.export import measure_parity, to_onnx
from training.runs.sampling import ImageGenerator

TINY = Stylegan2Config(noise_dim=8, style_dim=8, mapping_layers=1, width=4, max_width=8, deviation_group=4)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.set_num_threads(1)  # networks this small are fastest on one
    torch.manual_seed(0)


def square(side: int, channels: int = 3) -> ImageSpec:
    return ImageSpec.model_validate({"height": side, "width": side, "channels": channels})


def perturbed(generator: torch.nn.Module) -> Generator:
    """Sets noise strengths and the average w to values other than 0, as training does."""
    assert isinstance(generator, Generator)
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
        generator.w_average.normal_()
    return generator


@pytest.mark.parametrize("up", [False, True])
def test_modulated_convolution_is_the_papers(up: bool) -> None:
    """Equations 1 and 3, image by image, with separate weights for each image."""
    layer = StyledConv2d(5, 7, 8, 16 if up else 8, up=up).eval()
    torch.nn.init.normal_(layer.bias)
    torch.nn.init.constant_(layer.noise_strength, 0.3)
    features, w = torch.randn(3, 5, 8, 8), torch.randn(3, 8)
    for index, style in enumerate(layer.affine(w)):
        weight = style[None, :, None, None] * layer.weight / (5 * 9) ** 0.5
        weight = weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        image = features[index : index + 1]
        if up:
            spread = conv_transpose2d(image, weight.transpose(0, 1), stride=2)
            expected = Blur(7, padding=1, gain=4.0)(spread)
        else:
            expected = conv2d(image, weight, padding=1)
        expected = GAIN * leaky_relu(expected + 0.3 * layer.constant_noise + layer.bias, 0.2)
        torch.testing.assert_close(layer(features, w)[index : index + 1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("learning_rate", [1.0, 0.01])
def test_equalised_layers_begin_with_unit_variance(learning_rate: float) -> None:
    linear = EqualizedLinear(300, 400, learning_rate=learning_rate)
    assert linear(torch.randn(200, 300)).std().item() == pytest.approx(1, abs=0.05)
    convolution = EqualizedConv2d(60, 70, 3)
    assert convolution(torch.randn(4, 60, 16, 16)).std().item() == pytest.approx(1, abs=0.05)


def test_a_learning_rate_multiplier_multiplies_the_step() -> None:
    """Adam moves every weight equally, so a weight scaled by 0.01 moves its layer 100 times less."""
    outputs = []
    for learning_rate in (1.0, 0.01):
        layer = EqualizedLinear(10, 1, learning_rate=learning_rate)
        features = torch.randn(1, 10)
        before = layer(features)
        optimizer = torch.optim.Adam(layer.parameters(), 1e-3)
        torch.autograd.backward(before.sum())
        optimizer.step()
        outputs.append(((layer(features) - before) / (features.abs().sum() / 10**0.5 + 1)).item())
    assert outputs[0] / outputs[1] == pytest.approx(100, rel=0.02)


@pytest.mark.parametrize(("images", "group"), [(8, 4), (6, 3), (7, 7), (2, 2), (1, 1), (16, 4)])
def test_minibatch_std_dev_is_over_groups(images: int, group: int) -> None:
    features = torch.randn(images, 3, 4, 4)
    output = MinibatchStdDev(4)(features)
    assert torch.equal(output[:, :3], features)
    groups = images // group
    for index in range(images):
        together = features[index % groups :: groups]
        assert len(together) == group
        expected = (together.var(dim=0, correction=0) + 1e-8).sqrt().mean()
        torch.testing.assert_close(output[index, 3], expected.expand(4, 4))


def test_w_average_tracks_the_mean_of_w() -> None:
    generator = Generator(TINY, square(8), 0)
    noise = torch.randn(64, 8)
    mean = generator.mapping(noise, None).mean(dim=0)
    for _ in range(50):
        generator(noise)
    torch.testing.assert_close(generator.w_average, mean * (1 - 0.998**50))
    generator.eval()(noise)
    torch.testing.assert_close(generator.w_average, mean * (1 - 0.998**50))


def test_truncation_pulls_w_towards_its_average() -> None:
    generator = perturbed(Generator(TINY, square(16), 3)).eval()
    noise, label = torch.randn(3, 8), torch.tensor([0, 1, 2])
    typical, half, full = (generator(noise, label, torch.full((3,), psi)) for psi in (0.0, 0.5, 1.0))
    torch.testing.assert_close(typical, typical[:1].expand(3, -1, -1, -1))
    torch.testing.assert_close(full, generator(noise, label), atol=1e-5, rtol=1e-4)
    assert 0 < (half[0] - half[1]).abs().mean() < (full[0] - full[1]).abs().mean()


def test_noise_is_constant_in_evaluation_only() -> None:
    generator = perturbed(Generator(TINY, square(16), 0))
    noise = torch.randn(2, 8)
    assert not torch.equal(generator(noise), generator(noise))
    generator.eval()
    assert torch.equal(generator(noise), generator(noise))
    assert generator(noise)[0, 0].std() > 0


def test_an_ema_generator_keeps_the_constant_noise() -> None:
    """The EMA averages all floating-point buffers: right for the average w, harmless for the noise."""
    generator = Generator(TINY, square(16), 0)
    ema = copy.deepcopy(generator).eval()
    generator(torch.randn(4, 8))
    for name, value in ema.state_dict().items():
        value.lerp_(generator.state_dict()[name], 0.3)
    torch.testing.assert_close(ema.w_average, 0.3 * generator.w_average)
    assert torch.equal(ema.first.constant_noise, generator.first.constant_noise)


def test_labels_steer_both_players() -> None:
    generator = Generator(TINY, square(16), 5).eval()
    discriminator = Discriminator(TINY, square(16), 5).eval()
    noise = torch.randn(1, 8)
    one, other = (generator(noise, torch.tensor([label])) for label in (0, 1))
    assert not torch.allclose(one, other, atol=1e-2)
    assert discriminator(one, torch.tensor([0])) != discriminator(one, torch.tensor([1]))
    with pytest.raises(ValueError, match="needs labels"):
        generator(noise)
    with pytest.raises(ValueError, match="needs labels"):
        discriminator(one)


def test_signals_keep_their_size_through_both_players() -> None:
    """At initialisation, the mean square of each layer's output is close to that of the layer before.

    Blurring after a transposed convolution removes up to two thirds of it per stage of the generator, as in the paper.
    """
    config = Stylegan2Config(width=16, max_width=64)
    generator, discriminator = Generator(config, square(64), 0), Discriminator(config, square(64), 0)
    sizes: dict[type, list[float]] = {StyledConv2d: [], ResidualBlock: []}
    for module in [*generator.modules(), *discriminator.modules()]:
        if type(module) in sizes:
            module.register_forward_hook(
                lambda layer, _, output: sizes[type(layer)].append(output.square().mean().item())
            )
    discriminator(generator(torch.randn(8, config.noise_dim)))
    for kind, low, layers in ((StyledConv2d, 0.3, 9), (ResidualBlock, 0.6, 4)):
        assert len(sizes[kind]) == layers
        assert all(low < after / before < 1.3 for before, after in pairwise(sizes[kind])), sizes


def test_bfloat16_and_channels_last_change_little() -> None:
    generator = perturbed(Generator(TINY, square(16), 5)).eval()
    discriminator = Discriminator(TINY, square(16), 5)
    noise, label = torch.randn(4, 8), torch.tensor([0, 1, 2, 3])
    images = generator(noise, label)
    logits = discriminator(images, label)
    generator, discriminator = (network.to(memory_format=torch.channels_last) for network in (generator, discriminator))
    torch.testing.assert_close(generator(noise, label), images, atol=1e-5, rtol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        rough = generator(noise, label)
        rough_logits = discriminator(images, label)
    assert not torch.equal(rough, images), "autocast is at work"
    assert (rough - images).abs().mean() < 0.03 * images.abs().mean()
    torch.testing.assert_close(rough_logits.float(), logits, atol=0.05, rtol=0.05)


def test_under_autocast_styles_images_and_4x4_maps_stay_in_float32() -> None:
    """As in the authors' code. The convolutions of larger maps, where the time goes, are bfloat16."""
    generator, discriminator = Generator(TINY, square(16), 5), Discriminator(TINY, square(16), 5)
    types: dict[str, set[torch.dtype]] = {}

    def record(kind: str, module: torch.nn.Module) -> None:
        module.register_forward_hook(lambda _, __, output: types.setdefault(kind, set()).add(output.dtype))

    for module in [*generator.mapping.modules(), *discriminator.mapping.modules()]:
        if not isinstance(module, torch.nn.Embedding | torch.nn.Sequential):
            record("mapping", module)
    for module in generator.modules():
        if isinstance(module, Style):
            record("style", module)
        elif isinstance(module, ToImage | Upsample):
            record("image", module)
    for layer in (generator.first, *list(discriminator.features)[-6:], discriminator.to_logit):
        record("4 × 4", layer)
    for layer in [module for stage in generator.stages for module in (stage.up, stage.refine)]:
        record("larger", layer)
    for layer in list(discriminator.features)[1:-6]:
        record("larger", layer)
    label = torch.tensor([0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        factor = demodulation(torch.randn(3, 4, 3, 3), torch.randn(2, 4))
        images = generator(torch.randn(2, 8), label)
        logits = discriminator(images, label)
    assert types.pop("larger") == {torch.bfloat16}
    assert set(types) == {"mapping", "style", "image", "4 × 4"}
    assert all(found == {torch.float32} for found in types.values()), types
    assert factor.dtype == images.dtype == logits.dtype == torch.float32


def test_only_layers_from_the_changed_style_on_change() -> None:
    """Coarse to fine: what style mixing exchanges behind its crossover leaves all layers before it as they are."""
    generator = Generator(TINY, square(16), 0).eval()
    assert generator.num_styles == 6, "two for each of 4 × 4, 8 × 8 and 16 × 16"
    layers = [module for module in generator.modules() if isinstance(module, StyledConv2d | ToImage)]
    outputs: dict[torch.nn.Module, torch.Tensor] = {}
    for layer in layers:
        layer.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
    first_of = {  # the authors' order: a layer to the image shares the style of the next convolution
        generator.first: 0,
        generator.first_image: 1,
        **{stage.up: 2 * index + 1 for index, stage in enumerate(generator.stages)},
        **{stage.refine: 2 * index + 2 for index, stage in enumerate(generator.stages)},
        **{stage.to_image: 2 * index + 3 for index, stage in enumerate(generator.stages)},
    }
    w, other = generator.mapping(torch.randn(2, 2, 8).flatten(0, 1), None).chunk(2)
    plain = generator.synthesise([w] * 6)
    before = dict(outputs)
    for crossover in range(6):
        mixed = generator.synthesise([w] * crossover + [other] * (6 - crossover))
        assert not torch.equal(mixed, plain)
        unchanged = [layer for layer in layers if torch.equal(outputs[layer], before[layer])]
        assert unchanged == [layer for layer in layers if first_of[layer] < crossover], crossover


def test_the_halves_make_the_whole() -> None:
    generator = perturbed(Generator(TINY, square(16), 3)).eval()
    noise, label = torch.randn(3, 8), torch.arange(3)
    styles = [generator.map_noise(noise, label)] * generator.num_styles
    assert torch.equal(generator.synthesise(styles), generator(noise, label))


@pytest.mark.parametrize(("channels", "labels"), [(3, 0), (1, 3)])
def test_it_exports(channels: int, labels: int) -> None:
    network = ImageGenerator(perturbed(Generator(TINY, square(16, channels), labels))).eval()
    images = network(torch.randn(2, 8), torch.zeros(2, dtype=torch.int64), torch.ones(2)).float()
    assert images.std() > 10, "for flat grey images any two graphs agree"
    assert measure_parity(network, to_onnx(network, 8, labels), 8, labels).max_difference <= 1
