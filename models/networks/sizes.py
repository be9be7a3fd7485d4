"""Which image sizes the convolutional families take."""

from models.bundle import ImageSpec

BASE_RESOLUTION = 4
"""Generators begin, and discriminators end, with feature maps of 4 × 4."""

SIDES = (8, 16, 32, 64, 128, 256)


def num_upsamples(image: ImageSpec, family: str) -> int:
    """How often 4 × 4 must double to become the image.

    Raises ``ValueError`` unless the image is square with a side of 8, 16, 32, 64, 128 or 256.
    """
    side = image.height
    if image.width != side or side not in SIDES:
        raise ValueError(
            f"{family} makes square images with a side of {', '.join(map(str, SIDES[:-1]))} or {SIDES[-1]}, "
            f"not {image.width} × {side}"
        )
    return (side // BASE_RESOLUTION).bit_length() - 1


def channel_widths(image: ImageSpec, family: str, width: int, max_width: int) -> list[int]:
    """Channels of the feature maps from 4 × 4 up to the image's own size: ``width`` there, doubled by every halving.

    None has more than ``max_width``. Raises ``ValueError`` as ``num_upsamples`` does.
    """
    return [min(width * 2**power, max_width) for power in reversed(range(num_upsamples(image, family) + 1))]
