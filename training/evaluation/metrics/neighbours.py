"""Metrics of nearest neighbours: precision and recall, density and coverage, and memorised training images.

Distances are computed in blocks, so that memory grows with the number of images and not with its square.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from training.errors import TrainingError
from training.evaluation.metrics.features import Features, as_matrix, as_pair
from training.evaluation.metrics.reservoir import random_rows

PRECISION_RECALL_K = 3
DENSITY_COVERAGE_K = 5
COPY_QUANTILE = 0.05

_BLOCK_DISTANCES = 1 << 23


@dataclass(frozen=True)
class PRDC:
    """Shares in [0, 1], except the density, which may pass 1."""

    precision: float
    """Share of generated images that lie among real ones."""
    recall: float
    """Share of real images that lie among generated ones."""
    density: float
    """Density of real images around generated ones; 1 on average if the distributions are equal."""
    coverage: float
    """Share of real images with a generated one in their neighbourhood."""


def prdc(real: Features, fake: Features, *, limit: int = 10_000, seed: int = 0) -> PRDC:
    """Returns precision and recall with k = 3, density and coverage with k = 5.

    Precision and recall are by Kynkäänniemi et al. 2019, equation 2; density and coverage by Naeem et al. 2020,
    section 3.2. For equal distributions of m generated and n real images, the expected coverage is
    1 - C(m + n - k - 1, m) / C(m + n - 1, m) (lemma 2). A ball around an image reaches to its k-th neighbour on the
    same side, boundary included. Each side is limited to ``limit`` images, a random sample drawn with ``seed``.
    Raises ``TrainingError`` below 6 images per side.
    """
    reals, fakes = as_pair(
        random_rows(real, limit, seed), random_rows(fake, limit, seed), needed=DENSITY_COVERAGE_K + 1
    )
    # Centring leaves distances unchanged. Their rounding errors shrink with the distance from the origin.
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
    """Returns the nearest training image of every image: distances float64 [n] and row numbers int64 [n].

    Raises ``TrainingError`` if a side is empty, or the dimensions differ.
    """
    training, queries = as_pair(training_features, features, needed=1)
    centre = training.mean(dim=0)
    distances, indices = [], []
    for rows, squared in _blocks_of_squared_distances(queries - centre, training - centre):
        nearest = squared.argmin(dim=1)
        indices.append(nearest)
        # Recomputed from differences, so that the distance of a copy is exactly 0.
        distances.append((queries[rows].double() - training[nearest]).norm(dim=1))
    return torch.cat(distances), torch.cat(indices)


@dataclass(frozen=True)
class Memorisation:
    """Compares generated images' distances to training images with those of held-out real images."""

    median_ratio: float
    """Median distance of generated images over that of held-out images; about 1 without memorisation."""
    nearer: float
    """Probability that a random generated image is nearer than a random held-out one; ½ without memorisation."""
    copies: float
    """Share of generated images no farther than the nearest 5 % of held-out ones; 0.05 without memorisation."""


def memorisation(fake_distances: Tensor, held_out_distances: Tensor) -> Memorisation:
    """Compares distances [n] and [m] to the nearest training image, see ``nearest_training_images``.

    ``nearer`` is the Mann-Whitney statistic of the data-copying test of Meehan, Chaudhuri & Dasgupta 2020, as a share;
    ties count half. Bad images are far from everything and hide memorisation, so read it together with the precision.
    Raises ``TrainingError`` if a side is empty or not finite, or half of the held-out images are training images.
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
        # Not "nearer": in data with doubles that quantile is 0, and no copy would be nearer.
        copies=float((fakes <= held_out.quantile(COPY_QUANTILE)).double().mean()),
    )


def _squared_neighbour_distances(features: Tensor, k: int) -> Tensor:
    """Returns each row's squared distances to its k nearest other rows, ascending, float32 [n, k]."""
    nearest = []
    for rows, squared in _blocks_of_squared_distances(features, features):
        itself = torch.arange(len(features), device=features.device)[rows]
        squared[torch.arange(len(itself), device=features.device), itself] = torch.inf
        nearest.append(squared.topk(k, largest=False).values)
    return torch.cat(nearest)


def _blocks_of_squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yields ‖a - b‖² = ‖a‖² + ‖b‖² - 2 a·b for blocks of rows of ``a`` and all of ``b``, float32 [rows, len(b)]."""
    norms = b.square().sum(dim=1)
    height = max(1, _BLOCK_DISTANCES // len(b))
    for begin in range(0, len(a), height):
        rows = slice(begin, begin + height)
        block = a[rows]
        squared = torch.addmm(norms, block, b.T, alpha=-2)
        yield rows, squared.add_(block.square().sum(dim=1, keepdim=True)).clamp_(min=0)
