"""Image sizes and channel widths of the convolutional families."""

from models.bundle import ImageSpec

BASE_RESOLUTION = 4
"""Side of a generator's first and a discriminator's last feature map."""

SIDES = (8, 16, 32, 64, 128, 256)


def num_upsamples(image: ImageSpec, family: str) -> int:
    """Returns how often 4 × 4 doubles up to the image's size.

    Raises ``ValueError`` unless the image is square with a side of 8, 16, 32, 64, 128 or 256.
    """
    side = image.height
    if image.width != side or side not in SIDES:
        raise ValueError(
            f"{family} generates square images with a side of {', '.join(map(str, SIDES[:-1]))} or {SIDES[-1]}, "
            f"not {image.width} × {side}"
        )
    return (side // BASE_RESOLUTION).bit_length() - 1


def channel_widths(image: ImageSpec, family: str, width: int, max_width: int) -> list[int]:
    """Returns the channels of the feature maps from 4 × 4 up to the image's size.

    The largest map has ``width`` channels. Every halving doubles them, up to ``max_width``. Raises ``ValueError`` as
    ``num_upsamples`` does.
    """
    return [min(width * 2**power, max_width) for power in reversed(range(num_upsamples(image, family) + 1))]
