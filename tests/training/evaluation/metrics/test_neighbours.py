"""Neighbour metrics match their papers for any block size, and detect dropped modes and copies."""

from math import comb

import numpy as np
import pytest
import torch

import training.evaluation.metrics.neighbours
from training.errors import TrainingError
from training.evaluation.metrics.neighbours import PRDC, memorisation, nearest_training_images, prdc


def naive_prdc(real: np.ndarray, fake: np.ndarray) -> PRDC:
    """Kynkäänniemi et al. 2019, equations 1 and 2; Naeem et al. 2020, section 3.2, point by point."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radii(points: np.ndarray, k: int) -> list[float]:
        return [
            sorted(distance(point, other) for index, other in enumerate(points) if index != own)[k - 1]
            for own, point in enumerate(points)
        ]

    between = [[distance(x, y) for y in fake] for x in real]
    real3, real5, fake3 = radii(real, 3), radii(real, 5), radii(fake, 3)
    n, m = len(real), len(fake)
    return PRDC(
        precision=sum(any(between[i][j] <= real3[i] for i in range(n)) for j in range(m)) / m,
        recall=sum(any(between[i][j] <= fake3[j] for j in range(m)) for i in range(n)) / n,
        density=sum(between[i][j] <= real5[i] for i in range(n) for j in range(m)) / (5 * m),
        coverage=sum(any(between[i][j] <= real5[i] for j in range(m)) for i in range(n)) / n,
    )


def modes(which: list[int], count: int, seed: int) -> torch.Tensor:
    """Points around the corners of a simplex, one tight Gaussian each."""
    random = np.random.RandomState(seed)
    centres = 20 * np.eye(8)
    return torch.from_numpy(centres[random.choice(which, count)] + random.randn(count, 8)).float()


@pytest.mark.parametrize("block", [1, 100, 1 << 23])
def test_it_is_the_papers_formulas_in_blocks_of_any_size(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluation.metrics.neighbours, "_BLOCK_DISTANCES", block)
    random = np.random.RandomState(0)
    for dimension, spread in ((3, 0.7), (8, 1.2), (3, 2.5)):
        real, fake = random.randn(60, dimension), spread * random.randn(45, dimension) + 0.6
        assert prdc(real + 100, fake + 100) == naive_prdc(real, fake)


def test_equal_distributions_score_what_the_theory_says() -> None:
    """Density 1, and the coverage of Naeem et al. 2020, lemma 2; precision and recall agree by symmetry."""
    random = np.random.RandomState(0)
    n, m, k = 400, 300, 5
    runs = [prdc(random.randn(n, 4), random.randn(m, 4)) for _ in range(30)]
    assert np.mean([run.density for run in runs]) == pytest.approx(1, abs=0.03)
    assert np.mean([run.coverage for run in runs]) == pytest.approx(
        1 - comb(m + n - k - 1, m) / comb(m + n - 1, m), abs=0.01
    )


def test_the_same_images_on_both_sides_score_one() -> None:
    real = torch.randn(50, 4)
    scores = prdc(real, real)
    assert (scores.precision, scores.recall, scores.coverage) == (1, 1, 1)


def test_dropped_modes_cost_recall_and_coverage_but_no_precision() -> None:
    real = modes(list(range(8)), 400, seed=0)
    whole, half, one = (prdc(real, modes(which, 400, seed=1)) for which in (list(range(8)), [0, 1, 2, 3], [0]))
    assert whole.recall > half.recall + 0.3 > one.recall + 0.5
    assert whole.coverage > half.coverage + 0.3 > one.coverage + 0.5
    assert min(half.precision, one.precision) > whole.precision - 0.05


def test_noise_costs_precision_and_density() -> None:
    real = modes(list(range(8)), 400, seed=0)
    clean = modes(list(range(8)), 400, seed=1)
    noisy = clean + 3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert prdc(real, noisy).precision < prdc(real, clean).precision - 0.5
    assert prdc(real, noisy).density < prdc(real, clean).density - 0.5


def test_order_does_not_matter() -> None:
    real, fake = torch.randn(70, 4), torch.randn(50, 4)
    assert prdc(real, fake) == prdc(real.flip(0), fake.flip(0))


def test_beyond_its_limit_it_takes_a_random_sample() -> None:
    """Not the first rows: data often comes sorted by class."""
    real = modes(list(range(8)), 400, seed=0)
    fake = torch.cat([modes([mode], 100, seed=mode) for mode in range(8)])
    assert prdc(real, fake, limit=200).recall > 0.6
    assert prdc(real, fake, limit=200, seed=1) == prdc(real, fake, limit=200, seed=1)


def test_the_nearest_training_image_is_found_at_its_exact_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training.evaluation.metrics.neighbours, "_BLOCK_DISTANCES", 300)
    random = np.random.RandomState(0)
    training_features = (random.randn(80, 5) + 1000).astype(np.float32)
    queries = (random.randn(30, 5) + 1000).astype(np.float32)
    queries[7] = training_features[42]
    distances, indices = nearest_training_images(queries, training_features)
    every = np.linalg.norm(queries[:, None].astype(np.float64) - training_features[None], axis=2)
    np.testing.assert_array_equal(indices, every.argmin(axis=1))
    np.testing.assert_allclose(distances, every.min(axis=1), rtol=1e-12)
    assert (int(indices[7]), float(distances[7])) == (42, 0)


def test_memorisation_is_neutral_for_new_images_and_clear_for_copies() -> None:
    random = np.random.RandomState(0)
    training_features, held_out, fresh = (random.randn(1500, 4) for _ in range(3))
    copies = training_features[:500] + 1e-3 * random.randn(500, 4)
    from_held_out, _ = nearest_training_images(held_out, training_features)

    neutral = memorisation(nearest_training_images(fresh, training_features)[0], from_held_out)
    assert neutral.median_ratio == pytest.approx(1, abs=0.05)
    assert neutral.nearer == pytest.approx(0.5, abs=0.03)
    assert neutral.copies == pytest.approx(0.05, abs=0.02)

    copied = memorisation(nearest_training_images(copies, training_features)[0], from_held_out)
    assert copied.median_ratio < 0.02
    assert copied.nearer > 0.99
    assert copied.copies > 0.99

    tenth = torch.cat([nearest_training_images(part, training_features)[0] for part in (copies[:150], fresh[:1350])])
    assert memorisation(tenth, from_held_out).copies == pytest.approx(0.1 + 0.9 * 0.05, abs=0.02)


def test_memorisation_matches_its_definition() -> None:
    fakes, held_out = torch.tensor([0.0, 2.0, 2.0, 9.0]), torch.tensor([1.0, 2.0, 3.0])
    result = memorisation(fakes, held_out)
    pairs = [1.0 if fake < other else 0.5 if fake == other else 0.0 for fake in fakes for other in held_out]
    assert result.nearer == pytest.approx(np.mean(pairs))
    assert result.median_ratio == pytest.approx(2 / 2)
    assert result.copies == 0.25, "one is below the 5 % quantile, 1.1"


def test_bad_input_is_rejected() -> None:
    good = torch.randn(10, 4)
    with pytest.raises(TrainingError, match="at least 6 real images, not 5"):
        prdc(good[:5], good)
    with pytest.raises(TrainingError, match="generated features must be finite, but column 3 of row 9 is inf"):
        prdc(good, torch.cat([good[:9], torch.tensor([[0, 0, 0, torch.inf]])]))
    with pytest.raises(TrainingError, match="of 2 and of 4 dimensions"):
        nearest_training_images(good, good[:, :2])
    with pytest.raises(TrainingError, match="at least one generated and one held-out image"):
        memorisation(torch.ones(3), torch.ones(0))
    with pytest.raises(TrainingError, match="distances of generated images must be finite"):
        memorisation(torch.tensor([torch.nan]), torch.ones(2))
    with pytest.raises(TrainingError, match="half of the held-out images are training images"):
        memorisation(torch.ones(3), torch.zeros(3))
