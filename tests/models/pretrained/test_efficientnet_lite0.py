"""EfficientNet-Lite0 computes what its published implementations compute, from pixels as this project has them."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.pretrained.efficientnet_lite0 import CHANNELS, POOLED_DIM, EfficientNetLite0, load_efficientnet_lite0
from models.pretrained.weights import efficientnet_lite0_weights

# TensorFlow's table: repeats, kernel, stride, expansion, output channels.
TABLE = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192)]
TABLE.append((1, 3, 1, 6, 320))


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_efficientnet_lite0()


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return efficientnet_lite0_weights()


def convolve(features: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    """A convolution with TensorFlow's SAME padding, from its definition."""
    size = kernel.shape[2]
    pads: list[int] = []
    for side in (features.shape[3], features.shape[2]):
        missing = max(size - stride, 0) if side % stride == 0 else max(size - side % stride, 0)
        pads += [missing // 2, missing - missing // 2]
    groups = features.shape[1] if kernel.shape[1] == 1 else 1
    return functional.conv2d(functional.pad(features, pads), kernel, stride=stride, groups=groups)


def unfolded(weights: dict[str, Tensor], pixels: Tensor) -> tuple[list[Tensor], Tensor]:
    """Feature maps and pooled features of pixels 0 … 255, with batch normalisation as such, in float64."""

    def normalise(features: Tensor, norm: str) -> Tensor:
        gain, bias, mean, variance = (
            weights[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
        return functional.batch_norm(features, mean, variance, gain, bias, eps=1e-3)

    def layer(features: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        return normalise(convolve(features, weights[f"{conv}.weight"].double(), stride), norm)

    features = layer((pixels.double() - 127) / 128, "_conv_stem", "_bn0", 2).clamp(0, 6)
    maps: list[Tensor] = []
    index = 0
    for repeats, kernel, first_stride, expansion, channels in TABLE:
        for repeat in range(repeats):
            block, inputs = f"_blocks.{index}.", features
            stride = first_stride if repeat == 0 else 1
            if stride == 2 and index > 1:
                maps.append(features)
            if expansion > 1:
                features = layer(features, f"{block}_expand_conv", f"{block}_bn0").clamp(0, 6)
            assert weights[f"{block}_depthwise_conv.weight"].shape == (features.shape[1], 1, kernel, kernel)
            features = layer(features, f"{block}_depthwise_conv", f"{block}_bn1", stride).clamp(0, 6)
            features = layer(features, f"{block}_project_conv", f"{block}_bn2")
            assert features.shape[1] == channels
            if repeat > 0:
                features = features + inputs
            index += 1
    maps.append(features)
    return maps, layer(features, "_conv_head", "_bn1").clamp(0, 6).mean(dim=(2, 3))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 63), (8, 96)])
def test_folding_changes_nothing(
    network: EfficientNetLite0, weights: dict[str, Tensor], height: int, width: int
) -> None:
    """Odd and even sides, since TensorFlow pads them differently."""
    pixels = torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(0))
    maps, pooled = unfolded(weights, pixels)
    images = pixels / 127.5 - 1
    for expected, features in zip(maps, network(images), strict=True):
        torch.testing.assert_close(features.double(), expected, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(network.pooled(images).double(), pooled, atol=2e-4, rtol=1e-4)


def test_published_implementation(network: EfficientNetLite0) -> None:
    """Six features of a plaid, as the package efficientnet-lite-pytorch 0.1.0 computes them at its size of 224."""
    position = torch.arange(224)
    planes = [(3 * position[:, None] + (channel + 1) * position[None]) % 256 for channel in range(3)]
    features = network.pooled(torch.stack(planes)[None] / 127.5 - 1)[0]
    largest = features.topk(6)
    assert largest.indices.tolist() == [113, 327, 897, 61, 851, 512]
    torch.testing.assert_close(
        largest.values, torch.tensor([5.6078, 5.3712, 4.6851, 4.3528, 4.2028, 3.7593]), atol=2e-4, rtol=0
    )
    assert float(features.mean()) == pytest.approx(0.1483, abs=1e-4)


def test_shapes(network: EfficientNetLite0) -> None:
    images = torch.zeros(2, 3, 64, 96)
    assert [tuple(features.shape) for features in network(images)] == [
        (2, 24, 16, 24),
        (2, 40, 8, 12),
        (2, 112, 4, 6),
        (2, 320, 2, 3),
    ]
    assert [features.shape[1] for features in network(images)] == list(CHANNELS)
    assert network.pooled(images).shape == (2, POOLED_DIM)


def test_only_images_get_gradients(network: EfficientNetLite0) -> None:
    """A discriminator that holds the network must neither train it nor write it into every checkpoint."""
    assert not list(network.parameters())
    assert not network.state_dict()
    images = torch.zeros(1, 3, 32, 32, requires_grad=True)
    sum(features.sum() for features in network(images)).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_modes_and_copies_are_equal(network: EfficientNetLite0) -> None:
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    other: nn.Module = copy.deepcopy(network).train()
    torch.testing.assert_close(other(images), network.eval()(images), atol=0, rtol=0)


def test_features_tell_things_apart(network: EfficientNetLite0) -> None:
    """Two noisy versions of one picture are nearer to each other than to every other picture."""
    rng = torch.Generator().manual_seed(0)
    row, column = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    pictures = [
        (row**2 + column**2 < 0.4).float(),
        (torch.maximum(row.abs(), column.abs()) < 0.6).float(),
        (torch.sin(20 * row) > 0).float(),
        (torch.sin(20 * column) > 0).float(),
        (torch.sin(20 * column) * torch.sin(20 * row) > 0).float(),
    ]
    images = torch.stack([picture for picture in pictures for _ in range(2)])[:, None].repeat(1, 3, 1, 1) * 1.6 - 0.8
    features = network.pooled(images + 0.1 * torch.randn(images.shape, generator=rng))
    distances = torch.cdist(features, features) + torch.diag(torch.full((len(images),), torch.inf))
    assert distances.argmin(1).tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8]
