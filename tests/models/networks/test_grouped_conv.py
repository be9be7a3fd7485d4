"""A grouped convolution and its derivatives are those of PyTorch, and the second one takes no kernel per group."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from models.networks.layers.grouped_conv import GroupedConv2d, grouped_conv2d
from models.networks.layers.resample import Blur, Downsample

GEOMETRIES = {
    "grouped": ((3, 8, 6, 5), (12, 2, 3, 3), {"groups": 4, "padding": 1}),
    "strided": ((2, 6, 9, 8), (6, 1, 4, 4), {"groups": 6, "stride": 2, "padding": 1}),
    "to one pixel": ((2, 6, 4, 4), (6, 1, 4, 4), {"groups": 6}),
}


@pytest.fixture(params=GEOMETRIES)
def case(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor, dict[str, int]]:
    features, weight, geometry = GEOMETRIES[request.param]
    random = torch.Generator().manual_seed(0)
    tensors = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in (features, weight))
    first, second = (tensor.requires_grad_() for tensor in tensors)
    return first, second, geometry


def test_the_output_is_that_of_pytorch(case: tuple[Tensor, Tensor, dict[str, int]]) -> None:
    features, weight, geometry = case
    expected = functional.conv2d(features, weight, **geometry)
    torch.testing.assert_close(grouped_conv2d(features, weight, **geometry), expected)


def test_first_and_second_derivatives(case: tuple[Tensor, Tensor, dict[str, int]]) -> None:
    features, weight, geometry = case

    def convolve(features: Tensor, weight: Tensor) -> Tensor:
        return grouped_conv2d(features, weight, **geometry)

    assert torch.autograd.gradcheck(convolve, (features, weight))
    assert torch.autograd.gradgradcheck(convolve, (features, weight))


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):  # type: ignore[no-untyped-def]
        self.count[function.overloadpacket.__name__] += 1
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize(
    "layer",
    [Blur(16, padding=1), Downsample(16), GroupedConv2d(16, 16, 3, padding=1, groups=8)],
    ids=["blur", "downsample", "grouped"],
)
def test_a_penalty_takes_no_convolution_per_group(layer: torch.nn.Module) -> None:
    images = torch.randn(2, 16, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(images).square().sum(), images, create_graph=True)
    with _Operators() as operators:
        gradient.square().sum().backward()
    assert operators.count["convolution"] + operators.count["convolution_backward"] <= 6


def test_autocast_keeps_one_dtype_through_both_derivatives() -> None:
    layer = GroupedConv2d(8, 8, 3, padding=1, groups=4)
    images = torch.randn(2, 8, 4, 4, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(images)
    assert output.dtype == torch.bfloat16
    (gradient,) = torch.autograd.grad(output.float().square().sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_without_gradients_it_is_the_plain_operator_that_an_export_knows() -> None:
    layer = GroupedConv2d(8, 8, 3, padding=1, groups=4)
    images = torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(layer(images), torch.nn.Conv2d.forward(layer, images))
