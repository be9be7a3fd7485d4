"""Spectral normalisation: every weight divided by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

PyTorch's own keeps both singular vectors and trusts them in evaluation mode. In a moving average of a network's
state they are averages of unit vectors, hence too short, and the weights come out too large; so this one takes a step
of the power iteration in evaluation mode as well, without keeping it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

FIRST_ITERATIONS = 15


def spectral_normalise(
    network: nn.Module, layers: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear, nn.Embedding)
) -> None:
    """Normalises the weight of every such layer of a network whose weights are initialised already."""
    for module in list(network.modules()):
        if isinstance(module, layers):
            weight = module.get_parameter("weight")
            parametrize.register_parametrization(module, "weight", SpectralNorm(weight))


class SpectralNorm(nn.Module):
    """A weight [O, …] → the weight over σ, its largest singular value as a matrix of O rows.

    One step of the power iteration at every call (the paper's algorithm 1), kept in training mode only.
    """

    left: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", torch.randn_like(matrix[:, 0]))
        for _ in range(FIRST_ITERATIONS):
            self.left, _ = _power_iteration(matrix, self.left)

    def forward(self, weight: Tensor) -> Tensor:
        """Differentiable in the weight; the singular vectors count as constants."""
        with torch.autocast(weight.device.type, enabled=False):  # σ scales all that follows: no rounding here
            matrix = weight.flatten(1)
            left, right = _power_iteration(matrix.detach(), self.left)
            if self.training:
                self.left.copy_(left)
            sigma = left.dot(matrix.mv(right))
            return weight / sigma


def _power_iteration(matrix: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    right = normalize(matrix.T.mv(left), dim=0)
    return normalize(matrix.mv(right), dim=0), right
