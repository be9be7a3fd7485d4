"""A resize convolution is what its definition says, draws no checkerboards, and costs a transposed convolution."""

import onnx
import pytest
import torch
from torch import nn
from torch.nn.functional import conv_transpose2d, interpolate

from models.bundle import ImageSpec
from models.networks import build_generator
from models.networks.dcgan import DcganConfig
from models.networks.layers.resize_conv import make_resize_convs
from training.export import to_onnx

RGB = ImageSpec(height=16, width=16, channels=3)


def resize_conv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    layer = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    make_resize_convs(layer)
    return layer


def test_it_upsamples_to_the_nearest_neighbour_and_convolves() -> None:
    layer, features = resize_conv(5, 7), torch.randn(2, 5, 6, 3)
    kernel = layer.parametrizations.weight.original
    assert kernel.shape == (5, 7, 3, 3)
    expected = conv_transpose2d(interpolate(features, scale_factor=2.0), kernel, layer.bias, padding=1)
    torch.testing.assert_close(layer(features), expected)


@torch.no_grad()
def test_a_flat_area_stays_flat() -> None:
    """A free kernel draws a checkerboard of four values there."""
    flat = torch.ones(1, 5, 8, 8)
    inside = resize_conv(5, 3)(flat)[..., 2:-2, 2:-2]
    assert float(inside.std(dim=(2, 3)).max()) < 1e-6
    assert float(nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1)(flat)[..., 2:-2, 2:-2].std(dim=(2, 3)).max()) > 1e-3


def test_fresh_kernels_have_the_spread_of_the_initialisation() -> None:
    layer = nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1)
    nn.init.normal_(layer.weight, 0.0, 0.02)
    make_resize_convs(layer)
    assert float(layer.parametrizations.weight.original.std()) == pytest.approx(0.02, rel=0.02)


def test_a_generator_exports_to_the_operators_of_a_dcgan() -> None:
    operators = []
    for upsampling in ("transposed", "nearest"):
        config = DcganConfig.model_validate({"noise_dim": 8, "width": 4, "upsampling": upsampling})
        graph = onnx.load_from_string(to_onnx(build_generator(config, RGB, 0).eval(), 8, 0)).graph
        operators.append([node.op_type for node in graph.node])
    assert operators[0] == operators[1]
