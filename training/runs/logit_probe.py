"""The discriminator's logits of images that it trains on, of images that it never sees, and of generated ones."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.noise import noise_for_seeds
from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.data.pixels import to_range
from training.data.split import training_indices
from training.loop.state import TrainingState

PROBE_IMAGES, PROBE_BATCH = 256, 64
"""Images of each kind. 50 probes pass 38 400 images through the discriminator; the steps of a budget of 600 000 images
pass 1 800 000 through it, and back."""


class LogitProbe:
    """Measures in evaluation mode: no running statistic and no singular vector changes, and training goes on as before.

    Random numbers that the networks draw do not matter: the loop seeds every step.
    """

    def __init__(self, data: TrainingImages, config: Config, state: TrainingState) -> None:
        """Chooses the images, always the same ones; none if the run holds none out."""
        self._data, self._state, self._conditional = data, state, config.conditional
        training = training_indices(len(data), config.data.holdout)
        held_out = np.setdiff1d(np.arange(len(data)), training)
        self._kinds = {"train_logit": _choose(training), "held_out_logit": _choose(held_out)}
        self._noise = noise_for_seeds(range(PROBE_IMAGES), config.network.noise_dim)
        self.possible = len(held_out) > 0

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Returns the mean logits, by the fields of ``Signals``."""
        networks = (self._state.generator, self._state.discriminator)
        modes = [network.training for network in networks]
        for network in networks:
            network.eval()
        try:
            means = {kind: _mean(map(self._real_logits, _batches(chosen))) for kind, chosen in self._kinds.items()}
            means["fake_logit"] = _mean(map(self._fake_logits, _batches(np.arange(PROBE_IMAGES))))
        finally:
            for network, mode in zip(networks, modes, strict=True):
                network.train(mode)
        return means

    def _real_logits(self, chosen: NDArray[np.int64]) -> Tensor:
        pixels = torch.from_numpy(self._data.images[chosen]).permute(0, 3, 1, 2)
        return self._logits(to_range(pixels.to(self._state.device)), self._labels(chosen))

    def _fake_logits(self, chosen: NDArray[np.int64]) -> Tensor:
        noise = torch.from_numpy(self._noise[chosen]).to(self._state.device)
        reals = self._kinds["train_logit"]
        label = self._labels(np.resize(reals, PROBE_IMAGES)[chosen])
        return self._logits(self._state.generator(noise, label), label)

    def _labels(self, chosen: NDArray[np.int64]) -> Tensor | None:
        if not self._conditional or self._data.labels is None:
            return None
        return torch.from_numpy(self._data.labels[chosen]).to(self._state.device)

    def _logits(self, images: Tensor, label: Tensor | None) -> Tensor:
        discriminator: nn.Module = self._state.discriminator
        logits: Tensor = discriminator(images, label)
        return logits.float()


def _choose(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.sort(np.random.RandomState(0).permutation(indices)[:PROBE_IMAGES])


def _batches(indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    return [indices[first : first + PROBE_BATCH] for first in range(0, len(indices), PROBE_BATCH)]


def _mean(logits: Iterable[Tensor]) -> float:
    return float(torch.cat(list(logits)).mean())
