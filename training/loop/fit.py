"""The training loop, counted in images.

Every step is seeded from the run's seed and the images seen so far, and the order of the data can start anywhere. So a
run that resumes from a checkpoint takes exactly the steps of an uninterrupted run (as in EDM2, Karras et al. 2024).
"""

import functools

import numpy as np
import torch

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.data.loader import BatchLoader
from training.device import without_tf32
from training.errors import DivergenceError
from training.loop.batch import Batch
from training.loop.callbacks import Callback, passed_multiple
from training.loop.signals import read_row, row_number
from training.loop.state import TrainingState, check_freezing
from training.loop.step import TrainStep
from training.loop.step_metrics import MetricAccumulator
from training.loop.treatment import Decision, Treatment, treated_config
from training.parallel.agreement import StopAgreement
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng
from training.parallel.stopping import stop_requested


def fit(config: Config, data: TrainingImages, state: TrainingState, processes: Processes, callback: Callback) -> bool:
    """Trains until the budget is spent, the doctor gives up, or SIGTERM or Ctrl-C requests a stop.

    Returns whether the budget is spent. The callback only observes; what it decides about a run that goes wrong happens
    here, in all processes after the same step.

    Raises ``DivergenceError`` if a metric is NaN or infinite, ``TrainingError`` if the settings do not fit the state or
    the processes, and passes on what the callback raises.
    """
    check_freezing(config, trained=state.images_before > 0)
    intervals, num_labels = config.pace, len(data.label_names or ()) if config.conditional else 0
    train_step = TrainStep(treated_config(config, state.treatments), state, processes)
    metrics = MetricAccumulator(processes, state.images_seen)
    settings = config.data
    batches = BatchLoader(
        data, num_labels, config.seed, config.batch_size, processes, settings.holdout, settings.balance
    )
    agreement = StopAgreement(processes)
    with without_tf32(), stop_requested() as received_signals, batches as loader, callback:
        processes.wait()  # the first process draws, and scores if a stop has left a score out
        stop = processes.any(bool(received_signals))
        while state.images_seen < config.images and not stop:
            before = state.images_seen
            # Random numbers inside the networks differ between processes, and from those of BatchRng.
            torch.manual_seed(step_seed(config.seed, before, stream=1 + processes.rank))
            rng = BatchRng(step_seed(config.seed, before), processes.device, processes.rank, processes.count)
            reals, label = loader.take(before)
            values = train_step.step(Batch(reals, label, rng, budget_used=before / config.images))
            metrics.add(values)
            seen = state.images_seen
            scores = config.judge is not None and passed_multiple(before, seen, config.judge.every)
            saves = passed_multiple(before, seen, intervals.checkpoint)
            decision: Decision | None = None
            try:
                # The tick checks for NaN, so it comes before every score and checkpoint: only usable weights go to
                # disk. A failed score saves a checkpoint, too, and the metrics up to there must be written by then.
                if saves or scores or passed_multiple(before, seen, intervals.tick):
                    callback.tick(seen, metrics.pop_means(seen, loader.waited))
                if config.doctor == "treat" and (saves or scores):
                    state.check_finite()
                if (number := row_number(config, before)) is not None:
                    callback.row(seen, number, read_row(values, processes))
                    if config.doctor != "watch":
                        decision = processes.from_first(functools.partial(callback.decide, seen))
            except DivergenceError:
                if config.doctor == "treat":
                    decision = processes.from_first(functools.partial(callback.diverged, seen))
                if decision is None:
                    raise
            if isinstance(decision, Treatment):
                # Before the checkpoint of this step, so a run that resumes from it is treated, too.
                state.treat(decision, processes.from_first(lambda: state.return_point))
                train_step = TrainStep(treated_config(config, state.treatments), state, processes)
                metrics.discard(seen, loader.waited)
            elif decision:
                state.given_up = decision.reason
            callback.step(before, seen)
            if scores:
                processes.wait()  # the first score needs a judge, which may train for hours
            # A score that a stop has left out belongs to this step: the checkpoint must not come from a later one.
            stop = agreement.reached(bool(received_signals), at_once=scores) or state.given_up is not None
        agreement.close()
        callback.tick(state.images_seen, metrics.pop_means(state.images_seen, loader.waited))
        callback.finish()
        processes.wait()
    return state.images_seen >= config.images


def step_seed(seed: int, images_seen: int, stream: int = 0) -> int:
    """Returns the seed of one stream of random numbers in the step that starts at ``images_seen``."""
    return int(np.random.SeedSequence((seed, images_seen, stream)).generate_state(1, np.uint64)[0] >> np.uint64(1))
