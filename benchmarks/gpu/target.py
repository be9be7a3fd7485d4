"""What the checks run on: the GPU, or the CPU in its place."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Target:
    """A device and the effort that suits it."""

    device: Literal["cuda", "cpu"]
    """As PyTorch and ``FIGMENT_DEVICE`` name it."""
    check_seconds: float
    """Longest time that one check may take."""
    measured_seconds: float
    """How long one speed is measured."""
    max_batch: int
    """Images in the service's largest batch."""
    presets: tuple[str, ...]
    """The trainings."""
    settings: tuple[str, ...]
    """Settings over each preset."""
    training_steps: int
    """Steps of each training."""


GPU = Target(
    "cuda",
    check_seconds=100,
    measured_seconds=0.15,
    max_batch=64,  # the default of FIGMENT_MAX_BATCH
    # DCGAN with lazy R1, R3GAN with R1 and R2, StyleGAN2 with path length, DCGAN with RGBA and DiffAugment.
    presets=("digits", "cifar10", "faces64", "sprites"),
    settings=(),
    training_steps=24,
)
CPU = Target(
    "cpu",
    check_seconds=280,
    measured_seconds=0.01,
    max_batch=4,
    presets=("digits",),
    settings=("network.width=8",),
    training_steps=4,
)
"""A stand-in: it shows that the program works, and says nothing about a GPU."""
