"""StyleGAN2: style-modulated convolutions (Karras et al. 2020, arXiv:1912.04958) as made for small images.

The skip generator and the residual discriminator are the paper's configuration F; labels, a shallow mapping and
the rest follow the CIFAR-10 setting of StyleGAN2-ADA (Karras et al. 2020, arXiv:2006.06676, appendix), which leaves
out style mixing and path-length regularisation too. Meant for Adam with a learning rate of 0.0025 and betas 0 and
0.99, the non-saturating loss, and the R1 penalty.
"""

from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from models.bundle import ImageSpec
from models.networks.conditioning import needed
from models.networks.equalized import GAIN, SLOPE, EqualizedConv2d, EqualizedLinear, unit_second_moment
from models.networks.resample import Blur, Downsample, Upsample
from models.networks.sizes import BASE_RESOLUTION, channel_widths

FAMILY = "stylegan2"

MAPPING_LEARNING_RATE = 0.01
"""Of the mapping network, as a share of the other layers' (StyleGAN, arXiv:1812.04948, appendix C)."""

W_AVERAGE_KEEP = 0.998
"""Share of the average w that a training batch leaves as it was."""


class Stylegan2Config(BaseModel):
    """Sizes of a StyleGAN2. The paper's networks for CIFAR-10 have 512 of everything, and 2 mapping layers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    family: Literal["stylegan2"] = "stylegan2"
    noise_dim: Annotated[int, Field(ge=1, le=4096, description="length of the noise vector z")] = 128
    style_dim: Annotated[int, Field(ge=4, le=4096, description="length of the style vector w")] = 128
    mapping_layers: Annotated[int, Field(ge=1, le=16, description="layers between z, or a label, and w")] = 2
    width: Annotated[
        int, Field(ge=4, le=512, description="channels of the largest feature map; each halving doubles them")
    ] = 32
    max_width: Annotated[int, Field(ge=4, le=2048, description="no layer has more channels than this")] = 128
    deviation_group: Annotated[
        int, Field(ge=1, le=1024, description="images that the discriminator's minibatch deviation compares")
    ] = 8  # 32 in the paper's CIFAR-10 setting, of a batch of 64; 4 elsewhere


class Mapping(nn.Module):
    """Noise float [N, Z], label int64 [N], or both → w float [N, W]."""

    def __init__(self, config: Stylegan2Config, noise_dim: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(labels, config.style_dim) if labels else None
        sizes = [noise_dim + (config.style_dim if labels else 0)] + [config.style_dim] * config.mapping_layers
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            linear = EqualizedLinear(before, after, gain=GAIN, learning_rate=MAPPING_LEARNING_RATE)
            layers += [linear, nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)

    def forward(self, noise: Tensor | None, label: Tensor | None) -> Tensor:
        inputs = [] if noise is None else [unit_second_moment(noise)]
        if self.embedding is not None:
            player = "discriminator" if noise is None else "generator"
            inputs.append(unit_second_moment(self.embedding(needed(label, player))))
        w: Tensor = self.layers(torch.cat(inputs, dim=1))
        return w


def demodulation(weight: Tensor, style: Tensor) -> Tensor:
    """What brings the output of a modulated convolution back to unit variance, float [N, O] (equation 3).

    Takes the weight float [O, I, K, K] and the style float [N, I].
    """
    return (style.square() @ weight.square().sum(dim=(2, 3)).T + 1e-8).rsqrt()


class StyledConv2d(nn.Module):
    """Float [N, inputs, H, W] and w float [N, W] → float [N, outputs, side, side], where H is side or half of it.

    The paper multiplies the weights by each image's style and then divides them by their norm (section 2.2). Here the
    inputs are multiplied and the outputs divided: the same, for a convolution is linear, but with one weight for the
    whole batch. Noise is drawn afresh in training and is a constant picture in evaluation.
    """

    constant_noise: Tensor

    def __init__(self, inputs: int, outputs: int, style_dim: int, side: int, *, up: bool) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("constant_noise", torch.randn(1, 1, side, side))
        # Of the pixels that a transposed convolution spreads out three in four are 0, hence the gain.
        self.blur = Blur(outputs, padding=1, gain=4.0) if up else None
        self.weight_scale = (9 * inputs) ** -0.5  # demodulation undoes it, but numbers stay small in between

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        style = self.affine(w)
        weight = self.weight * self.weight_scale
        features = features * style[:, :, None, None]
        if self.blur is None:
            features = functional.conv2d(features, weight, padding=1)
        else:
            features = self.blur(functional.conv_transpose2d(features, weight.transpose(0, 1), stride=2))
        features = features * (GAIN * demodulation(weight, style))[:, :, None, None]
        noise = self.constant_noise
        if self.training:
            noise = torch.randn(len(features), 1, *features.shape[2:], device=features.device)
        shift = GAIN * self.noise_strength * noise
        # Cast, lest bfloat16 features become float32 by an addition.
        features = features + (GAIN * self.bias).to(features.dtype) + shift.to(features.dtype)
        return functional.leaky_relu(features, SLOPE)


class ToImage(nn.Module):
    """Float [N, inputs, H, W] and w float [N, W] → this resolution's share of the image, float [N, channels, H, W]."""

    def __init__(self, inputs: int, channels: int, style_dim: int) -> None:
        super().__init__()
        self.affine = EqualizedLinear(style_dim, inputs, bias=1.0)
        self.convolve = EqualizedConv2d(inputs, channels, 1)

    def forward(self, features: Tensor, w: Tensor) -> Tensor:
        image: Tensor = self.convolve(features * self.affine(w)[:, :, None, None])
        return image


class Stage(nn.Module):
    """Features, image and w → features and image of twice the side (figure 7, left)."""

    def __init__(self, inputs: int, outputs: int, channels: int, style_dim: int, side: int) -> None:
        super().__init__()
        self.up = StyledConv2d(inputs, outputs, style_dim, side, up=True)
        self.refine = StyledConv2d(outputs, outputs, style_dim, side, up=False)
        self.upsample = Upsample()
        self.to_image = ToImage(outputs, channels, style_dim)

    def forward(self, features: Tensor, image: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        features = self.refine(self.up(features, w), w)
        return features, self.upsample(image) + self.to_image(features, w)


class Generator(nn.Module):
    """Noise float [N, Z], label int64 [N] and truncation float [N] → images float [N, C, H, W].

    Images are meant for -1 … 1 but nothing bounds them, so that the loss has a gradient everywhere: whoever shows
    them clamps them.
    """

    w_average: Tensor

    def __init__(self, config: Stylegan2Config, image: ImageSpec, labels: int) -> None:
        super().__init__()
        channels = channel_widths(image, FAMILY, config.width, config.max_width)
        self.mapping = Mapping(config, config.noise_dim, labels)
        self.register_buffer("w_average", torch.zeros(config.style_dim))
        self.start = nn.Parameter(torch.randn(1, channels[0], BASE_RESOLUTION, BASE_RESOLUTION))
        self.first = StyledConv2d(channels[0], channels[0], config.style_dim, BASE_RESOLUTION, up=False)
        self.first_image = ToImage(channels[0], image.channels, config.style_dim)
        self.stages = nn.ModuleList(
            Stage(before, after, image.channels, config.style_dim, BASE_RESOLUTION * 2**power)
            for power, (before, after) in enumerate(pairwise(channels), start=1)
        )

    def forward(self, noise: Tensor, label: Tensor | None = None, truncation: Tensor | None = None) -> Tensor:
        """Images, mostly in -1 … 1; a generator with labels needs them.

        Truncation pulls w towards its average over all noise and labels: at 0 that is all there is. In training
        every call moves that average on.
        """
        w = self.mapping(noise, label)
        if self.training:
            self._track(w)
        if truncation is not None:
            w = self.w_average + (w - self.w_average) * truncation.unsqueeze(1)
        features = self.first(self.start, w)
        image: Tensor = self.first_image(features, w)
        for stage in self.stages:
            features, image = stage(features, image, w)
        return image

    @torch.no_grad()
    def _track(self, w: Tensor) -> None:
        self.w_average += (1 - W_AVERAGE_KEEP) * (w.float().mean(dim=0) - self.w_average)


class MinibatchStdDev(nn.Module):
    """Float [N, C, H, W] → float [N, C + 1, H, W]: what the features deviate by among a group of images.

    A mean over channels and pixels, it tells the discriminator of images too much alike (Karras et al. 2018,
    section 3). Groups have ``group`` images, or the next smaller number that divides N; if only 1 does, all N are one
    group.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        images = len(features)
        group = next((size for size in range(self.group, 1, -1) if images % size == 0), images)
        # As in the paper's code, images a whole number of groups apart belong together. In float32, for squares.
        grouped = features.float().reshape(group, images // group, *features.shape[1:])
        deviation = (grouped.var(dim=0, correction=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        channel = deviation.repeat(group)[:, None, None, None].expand(-1, 1, *features.shape[2:])
        return torch.cat([features, channel.to(features.dtype)], dim=1)


class ResidualBlock(nn.Module):
    """Float [N, inputs, H, W] → float [N, outputs, H/2, W/2] (figure 7, right)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        # Each of two paths of equal variance gets a gain of √½, so that their sum has that variance, too.
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

    An image's logit depends on its batch a little, through the minibatch deviation.
    """

    def __init__(self, config: Stylegan2Config, image: ImageSpec, labels: int) -> None:
        super().__init__()
        channels = list(reversed(channel_widths(image, FAMILY, config.width, config.max_width)))
        last = channels[-1]
        self.features = nn.Sequential(
            EqualizedConv2d(image.channels, channels[0], 1, gain=GAIN),
            nn.LeakyReLU(SLOPE),
            *(ResidualBlock(before, after) for before, after in pairwise(channels)),
            MinibatchStdDev(config.deviation_group),
            EqualizedConv2d(last + 1, last, 3, gain=GAIN, padding=1),
            nn.LeakyReLU(SLOPE),
            nn.Flatten(),
            EqualizedLinear(last * BASE_RESOLUTION**2, last, gain=GAIN),
            nn.LeakyReLU(SLOPE),
        )
        self.to_logit = EqualizedLinear(last, config.style_dim if labels else 1)
        self.mapping = Mapping(config, 0, labels) if labels else None

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits [N]; a discriminator with labels needs them."""
        logits: Tensor = self.to_logit(self.features(images))
        if self.mapping is None:
            return logits.squeeze(1)
        # The label's embedding projects the image's (Miyato and Koyama 2018, as StyleGAN2-ADA does it).
        direction = unit_second_moment(self.mapping(None, label))
        return (logits * direction).mean(dim=1) * float(logits.shape[1] ** 0.5)
