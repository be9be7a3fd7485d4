"""Parts of a network that stay in float32 while autocast runs the rest in bfloat16."""

from collections.abc import Container
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Returns a context without autocast on the device of ``like``.

    Autocast does not cast inputs back: those of a layer inside must be float32 already.
    """
    device = like.device.type
    # Without autocast there is nothing to switch off, and an exported graph must not hold the switch.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class MixedSequential(nn.Sequential):
    """A sequence of layers, some of which stay in float32 under autocast."""

    def __init__(self, *layers: nn.Module, float32: Container[int]) -> None:
        """``float32`` holds the indices of the layers that stay in float32."""
        super().__init__(*layers)
        self.float32 = float32

    def forward(self, features: Tensor) -> Tensor:
        device = features.device.type
        mixed = torch.is_autocast_enabled(device)
        for index, layer in enumerate(self):
            if not mixed:  # no cast: a generator is exported in float16, too
                features = layer(features)
            elif index in self.float32:
                with full_precision(features):
                    features = layer(features.float())
            else:
                # A cast, since residual and resampling layers keep their input's type: float32 would stay for good.
                features = layer(features.to(torch.get_autocast_dtype(device)))
        return features
