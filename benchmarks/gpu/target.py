"""What the checks run on: the GPU, or the CPU in its place."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """A device and the effort that suits it."""

    device: Literal["cuda", "cpu"]
    """As PyTorch and ``FIGMENT_DEVICE`` name it."""
    seconds: float
    """How long one speed is measured."""
    training_steps: int
    """Steps of each training."""
    full_size: bool
    """Whether the presets' networks keep their size."""


GPU = Target("cuda", seconds=0.15, training_steps=48, full_size=True)
CPU = Target("cpu", seconds=0.01, training_steps=4, full_size=False)
"""A stand-in: it shows that the program works, and says nothing about a GPU."""
