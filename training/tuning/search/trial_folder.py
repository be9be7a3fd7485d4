"""The folder of a trial's run: begun, gone on with, or left alone. What may have cost hours is never removed here."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.runs.checkpoints import read_newest
from training.runs.folder import RunFolder
from training.tuning.search.study_folder import MOVE_AWAY


def open_run(path: Path, own: Iterable[str], config: Config, source: str, data: TrainingImages) -> RunFolder:
    """The run in a folder if it has a checkpoint, or a new one.

    A folder without a checkpoint, whose worker died early, is put aside under another name. Raises ``TrainingError``
    if the folder holds a run that has finished or that differs in a setting of ``own`` (dotted keys) or in its images,
    or if its checkpoints cannot be read. Raises ``OSError`` if the folder cannot be looked at. Either leaves the folder
    as it is.
    """
    # Not Path.exists and Path.glob: what they cannot look at they take for missing.
    if not _names(path):
        return RunFolder.create(path, config, source, data)
    if not any(name.endswith(".pt") for name in _names(path / "checkpoints")):
        if "best.pt" in _names(path):
            raise TrainingError(
                f"{path} holds a finished run, and its study does not know its result, as if the study's storage were "
                f"older than the folder; put the newer storage back, or, to train the trial again, {MOVE_AWAY}"
            )
        _put_aside(path)
        return RunFolder.create(path, config, source, data)
    try:
        run = RunFolder.open(path)
    except TrainingError as error:
        raise _unreadable(path, error) from error
    if difference := other_run(run, own, config, data):
        raise TrainingError(f"{difference}; {MOVE_AWAY}")
    return run


def newest_checkpoint(run: RunFolder) -> dict[str, Any] | None:
    """The newest checkpoint of a run, or None for a new run. Raises ``TrainingError`` if none can be read."""
    if not _names(run.checkpoints):
        return None
    try:
        return read_newest(run.checkpoints)
    except TrainingError as error:
        raise _unreadable(run.path, error) from error


def _names(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except FileNotFoundError:
        return []


def _put_aside(path: Path) -> None:
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    path.rename(aside)


def other_run(run: RunFolder, own: Iterable[str], config: Config, data: TrainingImages) -> str | None:
    """In what a run differs from one with these settings (of which ``own`` are compared) and images, or None."""
    before, now = run.config.model_dump(mode="json"), config.model_dump(mode="json")
    differences = [
        f"its {key} is {_at(before, key)}, not {_at(now, key)}" for key in own if _at(before, key) != _at(now, key)
    ]
    if run.data.fingerprint != data.fingerprint:
        differences.append("its images are others")
    if not differences:
        return None
    return f"{run.path} holds another run than the trial of that number ({', '.join(differences)})"


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


def _unreadable(path: Path, error: TrainingError) -> TrainingError:
    return TrainingError(
        f"cannot go on with the run in {path} ({error}). Nothing of it was changed: start the same command again, "
        "or, if its files are damaged for good, move it away, and the trial begins anew"
    )
