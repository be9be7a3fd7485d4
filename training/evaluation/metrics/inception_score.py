"""The Inception Score: high if each image looks like one class, and all images together like many."""

import torch

from training.errors import TrainingError
from training.evaluation.metrics.estimate import Estimate
from training.evaluation.metrics.features import Features, as_matrix

_SUM_TOLERANCE = 1e-3


class InceptionScore:
    """exp(E KL(p(y|x) ‖ p(y))) over a stream of class probabilities (Salimans et al. 2016, section 4).

    It ranges from 1 (the classifier sees no difference between images) to the number of classes. The stream is cut into
    ``splits`` consecutive parts that differ by at most one image. Mean and standard deviation are over these parts, so
    the stream must come in random order. Only sums are held in memory.
    """

    def __init__(self, total: int, splits: int = 10) -> None:
        """Raises ``TrainingError`` for fewer than two images per split."""
        if total < 2 * splits:
            raise TrainingError(
                f"an Inception score in {splits} splits needs at least {2 * splits} images, not {total}"
            )
        self._ends = [total * (split + 1) // splits for split in range(splits)]
        self._count = 0
        self._classes: int | None = None
        self._sums: list[torch.Tensor] = []
        """Per split so far: the sum of p, float64 [K]."""
        self._entropies: list[float] = []
        """Per split so far: the sum of the entropies of p."""

    def add(self, probabilities: Features) -> None:
        """Adds one batch of class probabilities [n, K].

        Raises ``TrainingError`` if they are not probabilities, or exceed ``total`` images.
        """
        batch = as_matrix(probabilities, "class probabilities").double().cpu()
        if self._classes not in (None, batch.shape[1]):
            raise TrainingError(f"probabilities of {batch.shape[1]} classes follow probabilities of {self._classes}")
        if (batch < 0).any() or ((batch.sum(dim=1) - 1).abs() > _SUM_TOLERANCE).any():
            raise TrainingError("class probabilities must be at least 0 and sum to 1 for every image")
        if self._count + len(batch) > self._ends[-1]:
            raise TrainingError(f"the Inception score takes {self._ends[-1]} images, and got more")
        self._classes = batch.shape[1]
        while len(batch):
            split = sum(end <= self._count for end in self._ends)
            part, batch = batch.tensor_split([self._ends[split] - self._count])
            if split == len(self._sums):
                self._sums.append(torch.zeros(self._classes, dtype=torch.float64))
                self._entropies.append(0.0)
            self._sums[split] += part.sum(dim=0)
            self._entropies[split] += float(torch.special.entr(part).sum())
            self._count += len(part)

    def score(self) -> Estimate:
        """Returns mean and standard deviation over the splits. Raises ``TrainingError`` if images are missing."""
        if self._count < self._ends[-1]:
            raise TrainingError(f"the Inception score needs {self._ends[-1]} images, and got {self._count}")
        sizes = [end - begin for begin, end in zip([0, *self._ends], self._ends, strict=False)]
        # The mean KL divergence from the mean is the entropy of the mean minus the mean entropy.
        scores = torch.stack(
            [
                torch.exp(torch.special.entr(total / size).sum() - entropy / size)
                for total, entropy, size in zip(self._sums, self._entropies, sizes, strict=True)
            ]
        )
        return Estimate(float(scores.mean()), float(scores.std(correction=0)))
