"""Measures by nearest neighbours: precision and recall, density and coverage, and memorised training images.

Distances are taken a block at a time, so that memory grows with the number of images and not with its square.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import TrainingError
from training.evaluation.metrics.features import Features, as_matrix, as_pair
from training.evaluation.metrics.reservoir import Reservoir

PRECISION_RECALL_K = 3
DENSITY_COVERAGE_K = 5
COPY_QUANTILE = 0.05

_BLOCK_DISTANCES = 1 << 23


@dataclass(frozen=True)
class PRDC:
    """Shares in [0, 1], except the density, which may pass 1."""

    precision: float
    """Of generated images, how many lie among the real ones."""
    recall: float
    """Of real images, how many lie among the generated ones."""
    density: float
    """How densely real images lie around the generated ones; 1 on average for equal distributions."""
    coverage: float
    """Of real images, how many have a generated one in their neighbourhood."""


def prdc(real: Features, fake: Features, *, limit: int = 10_000, seed: int = 0) -> PRDC:
    """Precision and recall with k = 3 (Kynkäänniemi et al. 2019, equation 2), density and coverage with k = 5.

    The latter are by Naeem et al. 2020, section 3.2; their expected coverage for equal distributions is
    1 - C(m + n - k - 1, m) / C(m + n - 1, m) with m generated and n real images (lemma 2). A ball around an image
    reaches to its k-th neighbour on its own side, the boundary included. Of each side at most ``limit`` images count,
    a random sample drawn from ``seed``. Raises ``TrainingError`` below 6 images a side.
    """
    reals, fakes = as_pair(_bounded(real, limit, seed), _bounded(fake, limit, seed), needed=DENSITY_COVERAGE_K + 1)
    # Distances do not change, but their rounding errors shrink with the features' distance from the origin.
    centre = reals.mean(dim=0)
    reals, fakes = reals - centre, fakes - centre
    recall_balls = _squared_neighbour_distances(fakes, PRECISION_RECALL_K)[:, -1]
    around_reals = _squared_neighbour_distances(reals, DENSITY_COVERAGE_K)
    precision_balls, density_balls = around_reals[:, PRECISION_RECALL_K - 1], around_reals[:, -1]

    precise = inside = 0
    recalled = torch.zeros(len(reals), dtype=torch.bool, device=reals.device)
    nearest = torch.full((len(reals),), torch.inf, device=reals.device)
    for rows, squared in _blocks_of_squared_distances(fakes, reals):
        precise += int((squared <= precision_balls).any(dim=1).sum())
        inside += int((squared <= density_balls).sum())
        recalled |= (squared <= recall_balls[rows, None]).any(dim=0)
        nearest = torch.minimum(nearest, squared.amin(dim=0))
    return PRDC(
        precision=precise / len(fakes),
        recall=float(recalled.double().mean()),
        density=inside / (DENSITY_COVERAGE_K * len(fakes)),
        coverage=float((nearest <= density_balls).double().mean()),
    )


def nearest_training_images(features: Features, training_features: Features) -> tuple[Tensor, Tensor]:
    """For every image its nearest training image: distances float64 [n] and row numbers int64 [n].

    Raises ``TrainingError`` where either side is empty or their dimensions differ.
    """
    training, queries = as_pair(training_features, features, needed=1)
    centre = training.mean(dim=0)
    distances, indices = [], []
    for rows, squared in _blocks_of_squared_distances(queries - centre, training - centre):
        nearest = squared.argmin(dim=1)
        indices.append(nearest)
        # Once more by plain differences: only so is the distance of a copy exactly 0.
        distances.append((queries[rows].double() - training[nearest]).norm(dim=1))
    return torch.cat(distances), torch.cat(indices)


@dataclass(frozen=True)
class Memorisation:
    """How much nearer generated images lie to the training images than held-out real ones do."""

    median_ratio: float
    """Median distance of generated images over that of held-out images; about 1 where nothing is memorised."""
    nearer: float
    """How often a random generated image is nearer than a random held-out one; ½ where nothing is memorised."""
    copies: float
    """Share of generated images nearer than 95 % of the held-out ones; 0.05 where nothing is memorised."""


def memorisation(fake_distances: Tensor, held_out_distances: Tensor) -> Memorisation:
    """Compares distances [n] and [m] to the nearest training image, see ``nearest_training_images``.

    ``nearer`` is the Mann-Whitney statistic of the data-copying test of Meehan, Chaudhuri & Dasgupta 2020, as
    a share, ties counted half. Generated images that are worse, and so far from everything, hide memorisation: read
    it together with the precision. Raises ``TrainingError`` where a side is empty or not finite, or where half of the
    held-out images are themselves training images.
    """
    fakes, held_out = (
        as_matrix(distances[:, None], f"distances of {kind} images")[:, 0].double().cpu()
        for distances, kind in ((fake_distances, "generated"), (held_out_distances, "held-out"))
    )
    if not len(fakes) or not len(held_out):
        raise TrainingError("memorisation needs at least one generated and one held-out image")
    median = held_out.quantile(0.5)
    if median == 0:
        raise TrainingError("at least half of the held-out images are training images; hold out others")
    ranked = held_out.sort().values
    below = torch.searchsorted(ranked, fakes)
    up_to = torch.searchsorted(ranked, fakes, right=True)
    farther = len(ranked) - (below + up_to) / 2
    return Memorisation(
        median_ratio=float(fakes.quantile(0.5) / median),
        nearer=float(farther.mean() / len(ranked)),
        copies=float((fakes < held_out.quantile(COPY_QUANTILE)).double().mean()),
    )


def _bounded(features: Features, limit: int, seed: int) -> Features:
    if len(features) <= limit:
        return features
    reservoir = Reservoir(limit, seed)
    reservoir.add(features)
    sample = reservoir.sample()
    return torch.from_numpy(sample).to(features.device) if isinstance(features, Tensor) else sample


def _squared_neighbour_distances(features: Tensor, k: int) -> Tensor:
    """Each row's squared distances to its k nearest other rows, rising, float32 [n, k]."""
    nearest = []
    for rows, squared in _blocks_of_squared_distances(features, features):
        itself = torch.arange(len(features), device=features.device)[rows]
        squared[torch.arange(len(itself), device=features.device), itself] = torch.inf
        nearest.append(squared.topk(k, largest=False).values)
    return torch.cat(nearest)


def _blocks_of_squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """‖a - b‖² = ‖a‖² + ‖b‖² - 2 a·b for some rows of ``a`` and all of ``b``, float32 [rows, len(b)]."""
    norms = b.square().sum(dim=1)
    height = max(1, _BLOCK_DISTANCES // len(b))
    for begin in range(0, len(a), height):
        rows = slice(begin, begin + height)
        block = a[rows]
        squared = torch.addmm(norms, block, b.T, alpha=-2)
        yield rows, squared.add_(block.square().sum(dim=1, keepdim=True)).clamp_(min=0)
