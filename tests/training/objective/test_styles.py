"""Style mixing changes the layers behind the crossover only; path lengths are those of finite differences."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.bundle import ImageSpec
from models.networks.stylegan2 import Generator, Stylegan2Config
from training.objective.styles import PathLength, mix_styles, path_lengths

IMAGES, CHANNELS, SIDE, LAYERS, STYLE = 3, 2, 4, 5, 6


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_layers_from_the_crossover_on_take_the_other_style() -> None:
    w, other = torch.zeros(4, STYLE), torch.ones(4, STYLE)
    layers = torch.stack(mix_styles(w, other, torch.tensor([1, 3, LAYERS - 1, LAYERS]), LAYERS))[:, :, 0]
    expected = [[0, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]]
    assert layers.T.tolist() == expected


def linear_images(styles: list[Tensor], maps: Tensor) -> Tensor:
    """Returns images that are linear in each layer's w; ``maps`` [LAYERS, STYLE, C H W] are the derivatives J_l."""
    return sum(w @ layer for w, layer in zip(styles, maps, strict=True)).view(-1, CHANNELS, SIDE, SIDE)  # type: ignore[union-attr]


def test_path_lengths_are_the_papers_image_by_image() -> None:
    maps, noise = torch.randn(LAYERS, STYLE, CHANNELS * SIDE**2), torch.randn(IMAGES, CHANNELS, SIDE, SIDE)
    styles = [torch.randn(IMAGES, STYLE, requires_grad=True) for _ in range(LAYERS)]
    found = path_lengths(linear_images(styles, maps), styles, noise)
    for length, y in zip(found, noise, strict=True):
        squares = [(layer @ (y / SIDE).flatten()).square().sum() for layer in maps]
        torch.testing.assert_close(length, (sum(squares) / LAYERS) ** 0.5)


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Generator:
    """A StyleGAN2 whose activations have no kinks, which break finite differences."""
    config = Stylegan2Config(noise_dim=8, style_dim=8, mapping_layers=2, width=4, max_width=8)
    network = Generator(config, ImageSpec(height=16, width=16, channels=3), 0).eval()
    monkeypatch.setattr(functional, "leaky_relu", lambda features, slope: functional.softplus(features))
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.LeakyReLU):
            network.set_submodule(name, nn.Softplus())
    return network


def test_path_lengths_of_a_stylegan2_are_those_of_finite_differences(generator: Generator) -> None:
    """J_lᵀ y, entry by entry, from the images at w ± ε."""
    w, noise, step = torch.randn(2, 8), torch.randn(2, 3, 16, 16), 1e-2
    styles = [w.clone().requires_grad_() for _ in range(generator.num_styles)]
    found = path_lengths(generator.synthesise(styles), styles, noise)

    def projected(layer: int, entry: int, by: float) -> Tensor:
        moved = [style.detach().clone() for style in styles]
        moved[layer][:, entry] += by
        return (generator.synthesise(moved) * noise / 16).sum(dim=(1, 2, 3))

    squares = torch.zeros(2)
    with torch.no_grad():
        for layer in range(generator.num_styles):
            for entry in range(8):
                slope = (projected(layer, entry, step) - projected(layer, entry, -step)) / (2 * step)
                squares += slope.square()
    torch.testing.assert_close(found, (squares / generator.num_styles).sqrt(), rtol=2e-3, atol=0)


def test_the_gradient_of_the_penalty_is_its_slope(generator: Generator) -> None:
    """The second derivative reaches the mapping and the layers: a step along it changes the penalty by its norm."""
    noise, directions, path_length = torch.randn(4, 8), torch.randn(4, 3, 16, 16), PathLength(torch.device("cpu"))

    def penalty() -> Tensor:
        w = generator.map_noise(noise)
        styles = list(w.unsqueeze(1).expand(-1, generator.num_styles, -1).unbind(1))
        return path_length.penalty(path_lengths(generator.synthesise(styles), styles, directions))

    weights = list(generator.parameters())
    gradients = torch.autograd.grad(penalty(), weights, materialize_grads=True)
    assert any(gradient.any() for gradient in torch.autograd.grad(penalty(), list(generator.mapping.parameters())))
    norm = sum(gradient.square().sum() for gradient in gradients) ** 0.5
    values = []
    for step in (1e-3, -2e-3):
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight += step * gradient / norm
        values.append(penalty().item())
    assert (values[0] - values[1]) / 2e-3 == pytest.approx(norm.item(), rel=0.02)


def test_the_target_is_a_moving_average_that_gets_no_gradient() -> None:
    path_length = PathLength(torch.device("cpu"))
    path_length.update(torch.tensor(2.0))
    path_length.update(torch.tensor(4.0))
    torch.testing.assert_close(path_length.target, torch.tensor(0.99 * 0.02 + 0.04))
    lengths = torch.tensor([1.0, 3.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(path_length.penalty(lengths), lengths)
    torch.testing.assert_close(gradient, lengths.detach() - path_length.target, msg="2 (length - a) / N")


def test_equal_images_have_length_zero_and_a_finite_gradient() -> None:
    weight = torch.zeros(STYLE, CHANNELS * SIDE**2, requires_grad=True)
    styles = [torch.randn(IMAGES, STYLE, requires_grad=True)]
    lengths = path_lengths((styles[0] @ weight).view(-1, CHANNELS, SIDE, SIDE), styles, torch.randn(3, 2, 4, 4))
    assert lengths.max() < 1e-5
    (gradient,) = torch.autograd.grad(lengths.sum(), weight)
    assert gradient.isfinite().all()
