"""The folder of a trial's run: created, resumed, or left alone. A run that may have cost hours is never deleted."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.config.files import value_at
from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.runs.checkpoints import read_newest
from training.runs.folder import RunFolder

MOVE_AWAY = "move it away, and start the same command again"


def open_run(path: Path, keys: Iterable[str], config: Config, source: str, data: TrainingImages) -> RunFolder:
    """Opens the run in a folder if it has a checkpoint, or creates one.

    A folder without a checkpoint, whose worker died early, is renamed. Raises ``TrainingError`` if the folder holds a
    finished run, a run with other images or other values of ``keys`` (dotted), or unreadable checkpoints. Raises
    ``OSError`` if the folder cannot be read. Both leave the folder unchanged.
    """
    # Not Path.exists and Path.glob: they take an unreadable folder for a missing one.
    if not _names(path):
        return RunFolder.create(path, config, source, data)
    if not any(name.endswith(".pt") for name in _names(path / "checkpoints")):
        if "best.pt" in _names(path):
            raise TrainingError(
                f"{path} holds a finished run, but its study does not know the result: the study's storage seems older "
                f"than the folder; restore the newer storage, or, to train the trial again, {MOVE_AWAY}"
            )
        _move_aside(path)
        return RunFolder.create(path, config, source, data)
    try:
        run = RunFolder.open(path)
    except TrainingError as error:
        raise _unreadable(path, error) from error
    if mismatch := run_mismatch(run, keys, config, data):
        raise TrainingError(f"{mismatch}; {MOVE_AWAY}")
    return run


def newest_checkpoint(run: RunFolder) -> dict[str, Any] | None:
    """Returns the newest checkpoint of a run, or None for a new run. Raises ``TrainingError`` if none can be read."""
    if not _names(run.checkpoints):
        return None
    try:
        return read_newest(run.checkpoints)
    except TrainingError as error:
        raise _unreadable(run.path, error) from error


def run_mismatch(run: RunFolder, keys: Iterable[str], config: Config, data: TrainingImages) -> str | None:
    """Returns how a run differs from these images and from the values of ``keys`` in ``config``, or None."""
    found, expected = run.config.model_dump(mode="json"), config.model_dump(mode="json")
    differences = [
        f"its {key} is {value_at(found, key)}, not {value_at(expected, key)}"
        for key in keys
        if value_at(found, key) != value_at(expected, key)
    ]
    if run.data.fingerprint != data.fingerprint:
        differences.append("its images differ")
    if not differences:
        return None
    return f"{run.path} holds another run than the trial of that number ({', '.join(differences)})"


def _names(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except FileNotFoundError:
        return []


def _move_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    path.rename(aside)


def _unreadable(path: Path, error: TrainingError) -> TrainingError:
    return TrainingError(
        f"cannot resume the run in {path} ({error}). Nothing was changed: start the same command again, or, if its "
        "files are permanently damaged, move it away, and the trial starts again"
    )
