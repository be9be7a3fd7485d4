"""Compares a run that was stopped at half and resumed with runs that were not.

On a CPU both end bit for bit the same. A GPU may add up in another order each time, so there the check trains the whole
run twice: a resumed run may differ from a whole one about as much as two whole ones differ.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.rows import Row, judged
from benchmarks.gpu.target import Target
from benchmarks.gpu.trainings import (
    newest_weights,
    relative_difference,
    require_torch,
    settings_for,
    workplace,
    write_noise,
)
from training.runs.checkpoints import checkpoints
from training.train import resume_run, train_new_run

CASES = (("digits", "float32"), ("cifar10", "bfloat16"), ("faces64", "float32"))
"""Each takes three trainings: so every kind of network once, and either precision."""

ALLOWED = 3.0
"""How many times as much as two whole runs a resumed run may differ: it is one measurement of a random quantity."""


def check(target: Target) -> Iterator[Row]:
    """Yields a row for each case."""
    require_torch(target)
    with workplace() as folder:
        source = str(write_noise(folder))
        for preset, precision in CASES:
            if preset in target.presets:
                yield _compare(preset, precision, source, folder / f"{preset}-{precision}", target)


def _compare(preset: str, precision: str, source: str, folder: Path, target: Target) -> Row:
    settings = settings_for(preset, precision, target)
    whole, again, resumed = (folder / name for name in ("whole", "again", "resumed"))
    train_new_run(preset, source, settings, None, whole)
    train_new_run(preset, source, settings, None, again)
    shutil.copytree(whole, resumed)
    checkpoints(resumed / "checkpoints")[-1].unlink()  # as a kill before the end leaves it
    if len(checkpoints(resumed / "checkpoints")) != 1:
        raise RuntimeError("the run did not leave a checkpoint at half")
    resume_run(resumed, None, [], None)
    expected = newest_weights(whole)
    difference = relative_difference(expected, newest_weights(resumed))
    noise = relative_difference(expected, newest_weights(again))
    return verdict(f"{preset}, {precision}", difference, noise, target.training_steps)


def verdict(of: str, difference: float, noise: float, steps: int) -> Row:
    """Returns the row for the difference of a resumed run from a whole one, beside that of two whole runs."""
    found = "equal bit for bit" if difference == 0 else f"differs by {difference:.1e} of the weights' norm"
    two = "are equal bit for bit" if noise == 0 else f"differ by {noise:.1e}"
    return judged(
        of,
        difference <= ALLOWED * noise,
        f"resumed at half: {found}; two whole runs {two} ({steps} steps)",
        difference=difference,
        difference_of_whole_runs=noise,
    )
