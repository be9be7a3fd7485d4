"""StyleGAN2: style-modulated convolutions (Karras et al. 2020, arXiv:1912.04958), for small images.

The skip generator and the residual discriminator are the paper's configuration F. Labels, the shallow mapping and the
rest follow the CIFAR-10 setting of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676, appendix). Designed for Adam
with a learning rate of 0.0025 and betas 0 and 0.99, the non-saturating loss, the R1 penalty, style mixing and
path-length regularisation.

Under autocast these stay in float32, as in the authors' code: the mapping, the styles, the demodulation, the sum of the
image over resolutions, and all that works on 4 × 4 feature maps, logits included.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from models.bundle import ImageSpec
from models.networks.family import FamilyConfig
from models.networks.layers.conditioning import require_label
from models.networks.layers.equalized import GAIN, SLOPE, EqualizedConv2d, EqualizedLinear, unit_second_moment
from models.networks.layers.full_precision import MixedSequential, full_precision
from models.networks.layers.resample import Blur, Downsample, Upsample
from models.networks.sizes import BASE_RESOLUTION, channel_widths

FAMILY = "stylegan2"

MAPPING_LEARNING_RATE = 0.01
"""Learning rate of the mapping network, as a share of the other layers' (StyleGAN, arXiv:1812.04948, appendix C)."""

W_EMA_DECAY = 0.998
"""Share of the average w that is kept at each training batch."""


class Stylegan2Config(FamilyConfig):
    """Sizes of a StyleGAN2. The paper's networks for CIFAR-10 have 512 of everything, and 2 mapping layers."""

    family: Literal["stylegan2"] = "stylegan2"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector z")] = 128
    style_dim: Annotated[int, Field(ge=4, le=4096, description="length of the style vector w")] = 128
    mapping_layers: Annotated[int, Field(ge=1, le=16, description="layers from z, or a label, to w")] = 2
    width: Annotated[
        int, Field(ge=4, le=512, description="channels of the largest feature map; each halving doubles them")
    ] = 32
    max_width: Annotated[int, Field(ge=4, le=2048, description="no layer has more channels than this")] = 128
    deviation_group: Annotated[
        int, Field(ge=1, le=1024, description="images per group of the discriminator's minibatch standard deviation")
    ] = 8  # 32 in the paper's CIFAR-10 setting, of a batch of 64; 4 elsewhere


class Mapping(nn.Module):
    """Noise float [N, Z], label int64 [N], or both → w float [N, W]."""

    def __init__(self, config: Stylegan2Config, noise_dim: int, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_labels, config.style_dim) if num_labels else None
        sizes = [noise_dim + (config.style_dim if num_labels else 0)] + [config.style_dim] * config.mapping_layers
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            linear = EqualizedLinear(before, after, gain=GAIN, learning_rate=MAPPING_LEARNING_RATE)
            layers += [linear, nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor | None, label: Tensor | None) -> Tensor:
        inputs = [] if noise is None else [unit_second_moment(noise)]
        if self.embedding is not None:
            network = "discriminator" if noise is None else "generator"
            inputs.append(unit_second_moment(self.embedding(require_label(label, network))))
        vectors = torch.cat(inputs, dim=1)
        with full_precision(vectors):
            w: Tensor = self.layers(vectors)
        return w


class Style(EqualizedLinear):
    """w float [N, W] → style float32 [N, channels], the factors of a layer's input channels (A in figure 2)."""

    def __init__(self, style_dim: int, channels: int) -> None:
        super().__init__(style_dim, channels, bias=1.0)

    def forward(self, features: Tensor) -> Tensor:
        with full_precision(features):
            return super().forward(features)


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """Returns the factor that restores unit variance after a modulated convolution, float32 [N, O] (equation 3).

    Takes the weight float32 [O, I, K, K] and the style float32 [N, I].
    """
    with full_precision(style):
        return (style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt()


class StyledConv2d(nn.Module):
    """Float [N, inputs, H, W] and w float [N, W] → float [N, outputs, side, side]. H is ``side``, or half if ``up``.

    The paper multiplies the weights by each image's style and then divides them by their norm (section 2.2). Here the
    inputs are multiplied and the outputs divided. The result is the same, since a convolution is linear, and one weight
    serves the whole batch. Noise is drawn at every call in training, and is constant in evaluation.
    """

    constant_noise: Tensor

    def __init__(self, inputs: int, outputs: int, style_dim: int, side: int, *, up: bool) -> None:
        super().__init__()
        self.affine = Style(style_dim, inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("constant_noise", torch.randn(1, 1, side, side))
        # A transposed convolution leaves three of four pixels 0, hence the gain of 4.
        self.blur = Blur(outputs, padding=1, gain=4.0) if up else None
        self.weight_scale = (9 * inputs) ** -0.5  # demodulation cancels it; it keeps intermediate values small

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        weight = self.weight * self.weight_scale
        # Casts: a product or a sum with a float32 tensor would turn bfloat16 features into float32.
        features = features * style.to(features.dtype)[:, :, None, None]
        if self.blur is None:
            features = functional.conv2d(features, weight, padding=1)
        else:
            features = self.blur(functional.conv_transpose2d(features, weight.transpose(0, 1), stride=2))
        features = features * (GAIN * demodulation(weight, style)).to(features.dtype)[:, :, None, None]
        noise = self.constant_noise
        if self.training:
            noise = torch.randn(len(features), 1, *features.shape[2:], device=features.device)
        shift = GAIN * self.noise_strength * noise
        features = features + (GAIN * self.bias).to(features.dtype) + shift.to(features.dtype)
        return functional.leaky_relu(features, SLOPE)


class ToImage(nn.Module):
    """Float [N, inputs, H, W] and w float [N, W] → this resolution's part of the image, float32 [N, channels, H, W]."""

    def __init__(self, inputs: int, channels: int, style_dim: int) -> None:
        super().__init__()
        self.affine = Style(style_dim, inputs)
        self.convolve = EqualizedConv2d(inputs, channels, 1)

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        image: Tensor = self.convolve(features * self.affine(w).to(features.dtype)[:, :, None, None])
        return image.float()


class Stage(nn.Module):
    """Doubles the side of features and image (figure 7, left)."""

    def __init__(self, inputs: int, outputs: int, channels: int, style_dim: int, side: int) -> None:
        super().__init__()
        self.up = StyledConv2d(inputs, outputs, style_dim, side, up=True)
        self.refine = StyledConv2d(outputs, outputs, style_dim, side, up=False)
        self.upsample = Upsample()
        self.to_image = ToImage(outputs, channels, style_dim)

    def forward(self, features: Tensor, image: Tensor, styles: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Takes the w of its three layers, each float [N, W]."""
        up, refine, to_image = styles
        features = self.refine(self.up(features, up), refine)
        return features, self.upsample(image) + self.to_image(features, to_image)


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W].

    Pixels are mostly in -1 … 1, but nothing bounds them, so that the loss has a gradient everywhere. Clamp them for
    display.
    """

    w_average: Tensor

    def __init__(self, config: Stylegan2Config, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = channel_widths(image, FAMILY, config.width, config.max_width)
        self.num_styles = 2 * len(channels)
        """How many layers may differ in their w: the convolutions, and the last layer to the image."""
        self.mapping = Mapping(config, config.noise_dim, num_labels)
        self.register_buffer("w_average", torch.zeros(config.style_dim))
        self.start = nn.Parameter(torch.randn(1, channels[0], BASE_RESOLUTION, BASE_RESOLUTION))
        self.first = StyledConv2d(channels[0], channels[0], config.style_dim, BASE_RESOLUTION, up=False)
        self.first_image = ToImage(channels[0], image.channels, config.style_dim)
        self.stages = nn.ModuleList(
            Stage(before, after, image.channels, config.style_dim, BASE_RESOLUTION * 2**power)
            for power, (before, after) in enumerate(pairwise(channels), start=1)
        )

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Generates images, mostly in -1 … 1. A conditional generator needs labels.

        Truncation pulls w towards its average over noise and labels; at 0 only the average is left. In training every
        call updates that average.
        """
        w = self.map_noise(noise, label)
        if truncation is not None:
            w = self.w_average + (w - self.w_average) * truncation.unsqueeze(1)
        return self.synthesise([w] * self.num_styles)

    def map_noise(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns w float32 [N, W]. In training every call updates the average w."""
        w: Tensor = self.mapping(noise, label)
        if self.training:
            self._update_w_average(w)
        return w

    def synthesise(self, styles: Sequence[Tensor]) -> Tensor:
        """Generates images float32 [N, C, H, W] from ``num_styles`` w, each float [N, W], from coarse to fine.

        As in the authors' code, a resolution's layer to the image shares the w of the next resolution's first layer.
        """
        with full_precision(self.start):
            features = self.first(self.start, styles[0])
            image: Tensor = self.first_image(features, styles[1])
        for index, stage in enumerate(self.stages):
            features, image = stage(features, image, styles[2 * index + 1 : 2 * index + 4])
        return image

    @torch.no_grad()
    def _update_w_average(self, w: Tensor) -> None:
        self.w_average += (1 - W_EMA_DECAY) * (w.float().mean(dim=0) - self.w_average)


class MinibatchStdDev(nn.Module):
    """Appends the features' standard deviation over a group of images: float [N, C, H, W] → float [N, C + 1, H, W].

    The mean over channels and pixels shows the discriminator if images are too similar (Karras et al. 2018, section 3).
    A group has ``group`` images, or the largest smaller number that divides N. If that is 1, all N form one group.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        images = len(features)
        group = next((size for size in range(self.group, 1, -1) if images % size == 0), images)
        # As in the paper's code, a group is every (N / group)-th image. float32, because squares lose precision.
        grouped = features.float().reshape(group, images // group, *features.shape[1:])
        std = (grouped.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        channel = std.repeat(group)[:, None, None, None].expand(-1, 1, *features.shape[2:])
        return torch.cat([features, channel.to(features.dtype)], dim=1)


class ResidualBlock(nn.Module):
    """Float [N, inputs, H, W] → float [N, outputs, H/2, W/2] (figure 7, right)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # A gain of √½ on each of two paths with equal variance keeps that variance in their sum.
        self.branch = nn.Sequential(
            EqualizedConv2d(inputs, inputs, 3, gain=GAIN, padding=1),
            nn.LeakyReLU(SLOPE),
            Blur(inputs, padding=2),
            EqualizedConv2d(inputs, outputs, 3, gain=GAIN * 0.5**0.5, stride=2),
            nn.LeakyReLU(SLOPE),
        )
        self.shortcut = nn.Sequential(Downsample(inputs), EqualizedConv2d(inputs, outputs, 1, gain=0.5**0.5))

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.branch(features) + self.shortcut(features)
        return output


class Discriminator(nn.Module):
    """Images float [N, C, H, W] and label int64 [N] → logits float [N], high for real.

    A logit depends slightly on the rest of the batch, through the minibatch standard deviation.
    """

    def __init__(self, config: Stylegan2Config, image: ImageSpec, num_labels: int) -> None:
        super().__init__()
        channels = list(reversed(channel_widths(image, FAMILY, config.width, config.max_width)))
        last = channels[-1]
        downsampling = [
            EqualizedConv2d(image.channels, channels[0], 1, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            *(ResidualBlock(before, after) for before, after in pairwise(channels)),
        ]
        at_base_resolution = [
            MinibatchStdDev(config.deviation_group),
            EqualizedConv2d(last + 1, last, 3, gain=GAIN, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            EqualizedLinear(last * BASE_RESOLUTION**2, last, gain=GAIN),
            nn.LeakyReLU(SLOPE),
        ]
        layers = [*downsampling, *at_base_resolution]
        self.features = MixedSequential(*layers, float32=range(len(downsampling), len(layers)))
        self.to_logit = EqualizedLinear(last, config.style_dim if num_labels else 1)
        self.mapping = Mapping(config, 0, num_labels) if num_labels else None

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Returns logits [N]. A conditional discriminator needs labels."""
        features = self.features(images)
        with full_precision(features):
            logits: Tensor = self.to_logit(features)
        if self.mapping is None:
            return logits.squeeze(1)
        # Projection: the inner product with the label's embedding (Miyato and Koyama 2018), as in StyleGAN2-ADA.
        direction = unit_second_moment(self.mapping(None, label))
        return (logits * direction).mean(dim=1) * float(logits.shape[1] ** 0.5)
