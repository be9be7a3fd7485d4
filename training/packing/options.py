"""The guesses that a user can set."""

from dataclasses import dataclass
from typing import Literal

Layout = Literal["nchw", "nhwc"]
Range = Literal["-1..1", "0..1", "0..255"]


@dataclass(frozen=True)
class PackOptions:
    """What the user says about a graph. None: found out by looking at it and running it."""

    noise: str | None = None
    """The name of the noise input."""
    noise_shape: tuple[int, ...] | None = None
    """The size of one image's noise, such as (100, 1, 1)."""
    label: str | None = None
    """The name of the label input."""
    labels: int | tuple[str, ...] | None = None
    """The number of labels, or their names."""
    truncation: str | None = None
    """The name of the truncation input, or ``scale`` to scale the noise."""
    output: str | None = None
    """The name of the output with the images."""
    layout: Layout | None = None
    value_range: Range | None = None
    freeze_random: int | None = None
    """The seed of the constants that replace random numbers."""
