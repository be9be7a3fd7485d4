"""The contenders that this project trains: a configuration, run by the loop that ``fit`` runs."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from models.noise import noise_for_seeds
from training.config.schema import Config
from training.data.checks import check_data
from training.data.dataset import TrainingImages
from training.evaluation.seeds import TELLING
from training.evaluation.target import sample_images, sample_labels
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.precision import choose_precision
from training.loop.state import TrainingState
from training.parallel.distributed import Processes

_CPU = torch.device("cpu")
_SAMPLE_BATCH = 100


class FigmentContender:
    """Trains a configuration without its reports, pictures and checkpoints. The EMA that no judge chose generates."""

    def __init__(self, config: Config, data: TrainingImages) -> None:
        """Decides the precision as ``fit`` does. Raises ``TrainingError`` if the data does not fit the settings."""
        check_data(config, data)
        if config.precision == "auto":
            config = config.model_copy(update={"precision": choose_precision(config, _CPU).precision})
        self._config, self._data = config, data
        self._state = TrainingState(config, len(data.label_names or ()) if config.conditional else 0, _CPU)

    @property
    def images_seen(self) -> int:
        """Real images that the discriminator has seen."""
        return self._state.images_seen

    @property
    def precision(self) -> str:
        """What the steps compute in, as decided for this run."""
        return self._config.precision

    def train(self, after_step: Callable[[], None]) -> None:
        """Trains until the budget is spent or ``after_step`` raises. Raises ``KeyboardInterrupt`` after Ctrl-C."""
        if not fit(self._config, self._data, self._state, Processes(0, 1, _CPU), _AfterStep(after_step)):
            raise KeyboardInterrupt
        self._state.check_finite()

    def sample(self, count: int) -> NDArray[np.uint8]:
        """Returns images uint8 [count, H, W, C] with labels as frequent as in the data."""
        noise = noise_for_seeds(range(TELLING, TELLING + count), self._config.network.noise_dim)
        labels = sample_labels(self._data, count, TELLING) if self._config.conditional else None
        return np.concatenate(
            [
                sample_images(self._state.ema, noise[part], None if labels is None else labels[part])
                for part in (slice(first, first + _SAMPLE_BATCH) for first in range(0, count, _SAMPLE_BATCH))
            ]
        )


class _AfterStep(Callback):
    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def step(self, before: int, images_seen: int) -> None:
        """Passes the event on."""
        self._call()
