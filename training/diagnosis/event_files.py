"""Reads TensorBoard's event files, without TensorFlow."""

import math
from collections.abc import Iterator
from pathlib import Path

from training.diagnosis.names import find_names
from training.diagnosis.watched_runs import WatchedRuns
from training.doctor.signals import Signals
from training.errors import TrainingError

PATTERN = "*tfevents*"


def has_events(path: Path) -> bool:
    """Returns whether a path is an event file, or a folder with one at any depth."""
    return "tfevents" in path.name if path.is_file() else any(path.rglob(PATTERN))


def read_events(path: Path, runs: WatchedRuns, loss: str, tags: dict[str, str]) -> None:
    """Passes every run below ``path`` to a doctor. Raises ``TrainingError`` if one has no losses.

    A record that is being written is left out.
    """
    for run, files in _runs(path).items():
        names = find_names(
            (name for folder, file in files for _, name, _ in _scalars(folder, file)), tags, f"{path}, run {run}"
        )
        # A writer of its own for each line of a chart: the folders are read side by side, each in its own order.
        values: dict[int, dict[str, float]] = {}
        for folder, file in files:
            for step, name, value in _scalars(folder, file):
                if name in names:
                    values.setdefault(step, {})[names[name]] = value
        watched = runs.add(run, loss)
        for step in sorted(values):
            runs.observe(watched, Signals(step, **values[step]))


def _runs(path: Path) -> dict[str, list[tuple[str, Path]]]:
    """Returns run → (folder of a chart's line or "", event file), oldest file first.

    ``SummaryWriter.add_scalars`` writes each line of a chart into a folder CHART_LINE of its own. It belongs to the
    run in the folder above.
    """
    if path.is_file():
        return {path.parent.name: [("", path)]}
    folders = sorted({file.parent for file in path.rglob(PATTERN)})
    runs: dict[str, list[tuple[str, Path]]] = {}
    for folder in folders:
        line = folder.name if folder.parent in folders else ""
        owner = folder.parent if line else folder
        name = path.name if owner == path else owner.relative_to(path).as_posix()
        runs.setdefault(name, []).extend((line, file) for file in sorted(folder.glob(PATTERN)))
    return runs


def _scalars(folder: str, file: Path) -> Iterator[tuple[int, str, float]]:
    """Yields step, name and value of every scalar. Raises ``TrainingError`` for a damaged file."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    try:
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value if event.HasField("summary") else ():
                if value.HasField("tensor") and value.metadata.plugin_data.plugin_name == "scalars":
                    scalar = float(tensor_util.make_ndarray(value.tensor).item())
                    name = folder if folder.startswith(f"{value.tag}_") else value.tag
                    yield event.step, name, scalar if math.isfinite(scalar) else math.nan
    except Exception as error:
        raise TrainingError(f"{file} is no event file of TensorBoard, or it is damaged ({error})") from error
