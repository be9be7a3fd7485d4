"""Every network family makes images of the promised shape and range, at every size it claims."""

import pytest
import torch

from models.bundle import ImageSpec
from models.networks import build_discriminator, build_generator
from models.networks.dcgan import DcganConfig

CONFIG = DcganConfig(noise_dim=8, width=4)


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [0, 5])
def test_shapes_and_ranges(side: int, channels: int, labels: int) -> None:
    image = ImageSpec.model_validate({"height": side, "width": side, "channels": channels})
    label = torch.tensor([0, 4]) if labels else None
    images = build_generator(CONFIG, image, labels)(torch.randn(2, 8), label)
    assert images.shape == (2, channels, side, side)
    assert images.abs().max() <= 1
    assert build_discriminator(CONFIG, image, labels)(images, label).shape == (2,)


def test_labels_steer_both_players() -> None:
    torch.manual_seed(0)
    image = ImageSpec(height=16, width=16, channels=1)
    generator = build_generator(CONFIG, image, 5).eval()
    discriminator = build_discriminator(CONFIG, image, 5).eval()
    noise = torch.randn(1, 8)
    one, other = (generator(noise, torch.tensor([label])) for label in (0, 1))
    assert not torch.equal(one, other)
    assert discriminator(one, torch.tensor([0])) != discriminator(one, torch.tensor([1]))
    with pytest.raises(ValueError, match="needs labels"):
        generator(noise)


def test_truncation_scales_the_noise() -> None:
    generator = build_generator(CONFIG, ImageSpec(height=16, width=16, channels=1), 0).eval()
    noise = torch.randn(2, 8)
    torch.testing.assert_close(generator(noise, None, torch.tensor([1.0, 1.0])), generator(noise))
    torch.testing.assert_close(generator(noise, None, torch.tensor([0.5, 0.5])), generator(noise / 2))


@pytest.mark.parametrize(("height", "width"), [(32, 64), (28, 28), (512, 512)])
def test_a_size_that_does_not_fit_is_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="dcgan makes square images"):
        build_generator(CONFIG, ImageSpec(height=height, width=width, channels=1), 0)
