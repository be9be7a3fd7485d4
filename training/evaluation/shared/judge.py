"""The judge that all data sets share: the pooled features of EfficientNet-Lite0, trained on ImageNet.

A data set's own judge knows it better, but its distances compare with no other data set's. Those of this judge do, on
every machine: the weights are published, and every image reaches the network at one size.
"""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from models.pretrained import efficientnet_lite0
from models.pretrained.efficientnet_lite0 import POOLED_DIM, load_efficientnet_lite0
from models.pretrained.weights import SHA256, PretrainedWeightsError
from models.transparency import MID_GREY, lay_over
from training.device import best_device
from training.errors import TrainingError
from training.runs.sampling import in_batches

NAME = "lite0"
"""The judge's name in scores. Values compare only under the same name, so another ``SIDE`` needs another one."""

SIDE = 64
"""Side in pixels at which the network sees every image. Its time grows with the square of it."""

_BATCH = 100


class SharedJudge:
    """EfficientNet-Lite0, frozen."""

    def __init__(self) -> None:
        """Loads the weights. Raises ``TrainingError`` if their package is missing or another version."""
        try:
            self._network = load_efficientnet_lite0()
        except PretrainedWeightsError as error:
            raise TrainingError(f"the judge {NAME} cannot start: {error}") from error
        self._device = best_device()
        self._network.to(self._device)

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Maps images uint8 [N, H, W, C], grey, RGB or RGBA, to features float32 [N, ``POOLED_DIM``], each in 0 … 6."""

        def apply(first: int, last: int) -> Tensor:
            batch = torch.from_numpy(opaque(images[first:last])).to(self._device)
            features: Tensor = self._network.pooled(resized(batch) / 127.5 - 1)
            return features.cpu()

        # TF32 would round the features of a GPU to three digits, which a CPU's are not.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            batches = list(in_batches(apply, len(images), _BATCH))
        return torch.cat(batches).numpy() if batches else np.empty((0, POOLED_DIM), np.float32)


@cache
def features_digest() -> str:
    """Returns a SHA-256 of everything that decides the features, 12 hex digits: cached ones are read only under it."""
    sources = (Path(__file__), Path(efficientnet_lite0.__file__))
    return hashlib.sha256(SHA256.encode() + b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def opaque(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns a copy of images uint8 [N, H, W, C]; RGBA is laid over a middle grey, on which black and white show."""
    return lay_over(images, MID_GREY) if images.shape[3] == 4 else np.array(images)


def resized(images: Tensor) -> Tensor:
    """Maps images uint8 [N, H, W, C] to RGB levels float [N, 3, ``SIDE``, ``SIDE``], whole numbers in 0 … 255.

    The resize is bicubic, with antialiasing where it shrinks (Parmar et al. 2022, arXiv:2104.11222). Rounding it to
    levels removes the last digits, in which machines differ.
    """
    levels = _rgb(images).permute(0, 3, 1, 2).float()
    if levels.shape[2:] != (SIDE, SIDE):
        levels = interpolate(levels, (SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
    return levels.clamp(0, 255).round()


def _rgb(images: Tensor) -> Tensor:
    """Returns images [N, H, W, 1 or 3] with three channels: grey is repeated."""
    return images.expand(-1, -1, -1, 3) if images.shape[3] == 1 else images
