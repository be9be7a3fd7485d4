"""Spectral normalisation: divides every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957).

PyTorch's implementation stores both singular vectors and reuses them in evaluation mode. In an EMA of a network's state
they are averages of unit vectors, hence too short, and the weights become too large. This implementation therefore
takes a step of the power iteration in evaluation mode too, without storing it.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

INITIAL_ITERATIONS = 15


def spectral_normalise(
    network: nn.Module, layers: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.Linear, nn.Embedding)
) -> None:
    """Normalises the weight of every layer of the given types. Initialise the weights before."""
    for module in list(network.modules()):
        if isinstance(module, layers):
            weight = module.get_parameter("weight")
            parametrize.register_parametrization(module, "weight", SpectralNorm(weight))


class SpectralNorm(nn.Module):
    """Weight [O, …] → weight / σ. σ is its largest singular value as a matrix of O rows.

    Every call takes one step of the power iteration (the paper's algorithm 1). Only training mode stores it.
    """

    left: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", torch.randn_like(matrix[:, 0]))
        for _ in range(INITIAL_ITERATIONS):
            self.left, _ = _power_iteration(matrix, self.left)

    def forward(self, weight: Tensor) -> Tensor:
        """Differentiates by the weight; the singular vectors count as constants."""
        with torch.autocast(weight.device.type, enabled=False):  # σ scales the whole layer: do not round it
            matrix = weight.flatten(1)
            left, right = _power_iteration(matrix.detach(), self.left)
            if self.training:
                self.left.copy_(left)
            sigma = left.dot(matrix.mv(right))
            return weight / sigma


def _power_iteration(matrix: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    right = normalize(matrix.T.mv(left), dim=0)
    return normalize(matrix.mv(right), dim=0), right
