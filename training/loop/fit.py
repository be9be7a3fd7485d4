"""The training loop, counted in images.

Every step is seeded from the run's seed and the images seen so far, and the data's order starts anywhere, so a run
that goes on from a checkpoint takes exactly the steps it would have taken (the way of EDM2, Karras et al. 2024).
"""

import numpy as np
import torch

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.data.loader import BatchLoader
from training.loop.callbacks import Callback, passed_multiple
from training.loop.state import TrainingState
from training.loop.statistics import Statistics
from training.loop.step import Batch, TrainStep
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng
from training.parallel.stopping import stop_requested

AGREE_STEPS = 16
"""Steps after which several processes agree whether to stop: a launcher that passes a signal on kills after 30 s."""


def fit(config: Config, data: TrainingImages, state: TrainingState, processes: Processes, callback: Callback) -> bool:
    """Trains until the budget is spent or SIGTERM or Ctrl-C asks to stop; says whether the budget is spent.

    Raises ``TrainingError`` if a measurement stops being a number, and whatever the observer raises.
    """
    pace, labels = config.pace, len(data.label_names or ()) if config.conditional else 0
    train_step, statistics = TrainStep(config, state, processes), Statistics(processes, state.images_seen)
    feeding = BatchLoader(data, labels, config.seed, config.batch_size, processes)
    with stop_requested() as stopping, feeding as feed, callback:
        stop = False
        while state.images_seen < config.images and not stop:
            before = state.images_seen
            # What networks draw inside differs between processes, and from what is drawn for them.
            torch.manual_seed(step_seed(config.seed, before, stream=1 + processes.rank))
            draws = BatchRng(step_seed(config.seed, before), processes.device, processes.rank, processes.count)
            reals, label = feed.take(before)
            statistics.add(train_step.step(Batch(reals, label, draws, progress=before / config.images)))
            seen = state.images_seen
            # What is written to disk must be sound, so a checkpoint is always preceded by a tick's check.
            if passed_multiple(before, seen, pace.tick) or passed_multiple(before, seen, pace.checkpoint):
                callback.tick(seen, statistics.take(seen, feed.waited))
            callback.step(before, seen)
            if processes.count == 1 or passed_multiple(
                before, seen, AGREE_STEPS * config.batch_size
            ):  # to agree is a message
                stop = processes.any(bool(stopping))
        callback.tick(state.images_seen, statistics.take(state.images_seen, feed.waited))
        callback.finish()
        processes.wait()
    return state.images_seen >= config.images


def step_seed(seed: int, images_seen: int, stream: int = 0) -> int:
    """The seed of a stream of random numbers in the step that begins after so many images."""
    return int(np.random.SeedSequence((seed, images_seen, stream)).generate_state(1, np.uint64)[0] >> np.uint64(1))
