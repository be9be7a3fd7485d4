"""The kernel distance (KID): unbiased, so values at different sample sizes compare."""

import numpy as np
import torch
from torch import Tensor

from training.errors import TrainingError
from training.evaluation.metrics.estimate import Estimate
from training.evaluation.metrics.features import Features, as_pair


def kernel_distance(real: Features, fake: Features, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> Estimate:
    """Returns the squared maximum mean discrepancy with the kernel (x·y / D + 1)³ (KID, Bińkowski et al. 2018).

    Mean and standard deviation are over ``subsets`` pairs of random subsets of ``size`` images, drawn with ``seed``.
    Equal distributions score 0 on average; single values may be negative. A subset holds at most half of the smaller
    side, so that subsets differ. Raises ``TrainingError`` below 4 images per side.
    """
    reals, fakes = as_pair(real, fake, needed=4)
    size = min(size, len(reals) // 2, len(fakes) // 2)
    random = np.random.RandomState(seed)
    values = [_mmd2(_subset(reals, size, random), _subset(fakes, size, random)) for _ in range(subsets)]
    return Estimate(float(np.mean(values)), float(np.std(values)))


def unbiased_mmd2(real: Features, fake: Features) -> float:
    """Returns the same distance over all pairs of images instead of random subsets: the same mean, and less noise.

    Memory grows with the product of both counts. Raises ``TrainingError`` unless both sides have equally many images,
    at least 2.
    """
    reals, fakes = as_pair(real, fake, needed=2)
    if len(reals) != len(fakes):
        raise TrainingError(f"this distance compares equally many images a side, not {len(reals)} and {len(fakes)}")
    return _mmd2(reals, fakes)


def _subset(features: Tensor, size: int, random: np.random.RandomState) -> Tensor:
    return features[torch.from_numpy(random.choice(len(features), size, replace=False)).to(features.device)]


def _mmd2(x: Tensor, y: Tensor) -> float:
    """Returns the unbiased estimate: a U-statistic without the diagonals (Gretton et al. 2012, equation 3)."""
    n = len(x)
    within = sum(_sum(kernel) - _sum(kernel.diagonal()) for kernel in (_kernel(x, x), _kernel(y, y)))
    return within / (n * (n - 1)) - 2 * _sum(_kernel(x, y)) / n**2


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1]).pow_(3)


def _sum(values: Tensor) -> float:
    # In float64, because the estimate is a small difference of large sums.
    return float(values.sum(dtype=torch.float64))
