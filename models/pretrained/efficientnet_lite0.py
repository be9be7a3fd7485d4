"""EfficientNet-Lite0, trained on ImageNet and frozen: feature maps at four scales, and one feature vector per image.

The network is EfficientNet-B0 without squeeze-and-excitation and with ReLU6 in place of SiLU (Tan & Le 2019,
arXiv:1905.11946; TensorFlow's EfficientNet-Lite). The maps at four scales are those that Projected GANs
(Sauer et al. 2021, arXiv:2111.01007) compare images by.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.pretrained.weights import efficientnet_lite0_weights

STRIDES = (4, 8, 16, 32)
"""Pixels of the input per position of the four feature maps."""
CHANNELS = (24, 40, 112, 320)
"""Channels of the four feature maps."""
POOLED_DIM = 1280
"""Dimension of the pooled features."""

_BLOCKS = (range(3), range(3, 5), range(5, 11), range(11, 16))
"""The blocks that lead to each feature map."""
_HALVING_BLOCKS = (1, 3, 5, 11)
_BATCH_NORM_EPSILON = 1e-3


class EfficientNetLite0(nn.Module):
    """Maps RGB images float [N, 3, H, W] in [-1, 1] to feature maps [N, ``CHANNELS``, H / ``STRIDES``, W / …].

    Sides that no stride divides are rounded up. Batch normalisation is folded into the convolutions, so training and
    evaluation mode are the same. The weights are buffers outside of the state dict: optimisers, EMA and checkpoints do
    not see them, while gradients still reach the images.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights as ``efficientnet_lite0_weights`` returns them."""
        super().__init__()
        self.stem = _FoldedConv(weights, "_conv_stem", "_bn0", stride=2)
        self.stages = nn.ModuleList(nn.Sequential(*(_Block(weights, index) for index in blocks)) for blocks in _BLOCKS)
        self.head = _FoldedConv(weights, "_conv_head", "_bn1")
        # Convolutions are fastest in channels-last, on CPUs and on GPUs.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the feature maps, the largest first."""
        # The network was trained on (pixel - 127) / 128 of pixels in 0 … 255, not on pixel / 127.5 - 1.
        scaled = images.contiguous(memory_format=torch.channels_last) * (127.5 / 128) + 0.5 / 128
        features = functional.relu6(self.stem(scaled))
        maps: list[Tensor] = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return tuple(maps)

    def pooled(self, images: Tensor) -> Tensor:
        """Returns the features that the network's classifier reads, float [N, ``POOLED_DIM``], each in 0 … 6."""
        return functional.relu6(self.head(self(images)[-1])).mean(dim=(2, 3))


def load_efficientnet_lite0() -> EfficientNetLite0:
    """Returns the network. Raises ``PretrainedWeightsError`` if the package of its weights is missing or another."""
    return EfficientNetLite0(efficientnet_lite0_weights())


class _Block(nn.Module):
    """An inverted residual (Sandler et al. 2018, arXiv:1801.04381): widens, filters each channel, and narrows."""

    def __init__(self, weights: Mapping[str, Tensor], index: int) -> None:
        super().__init__()
        prefix = f"_blocks.{index}."
        stride = 2 if index in _HALVING_BLOCKS else 1
        # The first block has the width of the stem already.
        self.widen = _FoldedConv(weights, f"{prefix}_expand_conv", f"{prefix}_bn0") if index else None
        self.filter = _FoldedConv(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1", stride)
        self.narrow = _FoldedConv(weights, f"{prefix}_project_conv", f"{prefix}_bn2")

    def forward(self, features: Tensor) -> Tensor:
        """Adds the input if the output has its shape."""
        hidden: Tensor = features if self.widen is None else functional.relu6(self.widen(features))
        hidden = self.narrow(functional.relu6(self.filter(hidden)))
        if hidden.shape == features.shape:
            hidden = hidden + features
        return hidden


class _FoldedConv(nn.Module):
    """A convolution without and a batch normalisation with learnt bias, as one convolution."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weights: Mapping[str, Tensor], conv: str, norm: str, stride: int = 1) -> None:
        super().__init__()
        kernel = weights[f"{conv}.weight"].double()
        gain, bias, mean, variance = (
            weights[f"{norm}.{name}"].double() for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / (variance + _BATCH_NORM_EPSILON).sqrt()
        self.register_buffer("weight", (kernel * scale[:, None, None, None]).float(), persistent=False)
        self.register_buffer("bias", (bias - mean * scale).float(), persistent=False)
        self.stride = stride
        self.groups = len(kernel) if kernel.shape[1] == 1 else 1

    def forward(self, features: Tensor) -> Tensor:
        """Pads as TensorFlow's SAME does, under which the weights were trained."""
        size = self.weight.shape[2]
        if self.stride == 1:
            padding = size // 2
        else:
            features = functional.pad(features, (*self._padding(features.shape[3]), *self._padding(features.shape[2])))
            padding = 0
        return functional.conv2d(features, self.weight, self.bias, self.stride, padding, groups=self.groups)

    def _padding(self, side: int) -> tuple[int, int]:
        """Returns the pixels of 0 before and after a side. An odd one goes after it."""
        total = max((math.ceil(side / self.stride) - 1) * self.stride + self.weight.shape[2] - side, 0)
        return total // 2, total - total // 2
