"""Checkpoint files of a run."""

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from training.config.changeable import CHANGEABLE, DATA_SELECTION, FREE_TO_CHANGE
from training.config.earlier import with_earlier_values
from training.config.schema import Config
from training.errors import TrainingError
from training.files import atomic_file
from training.loop.state import TrainingState
from training.runs.json_lines import LOG_FILES, count_lines
from training.tensor_files import read_tensors

KEPT_CHECKPOINTS = 2


def checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints in a folder, oldest first."""
    return sorted(folder.glob("*.pt"))


def save_checkpoint(state: TrainingState, folder: Path) -> None:
    """Writes ``folder/IMAGES.pt`` whole or not at all, and removes all but the newest two.

    Raises ``DivergenceError`` if a weight is NaN or infinite, and ``TrainingError`` if the file cannot be written.
    """
    state.check_finite()
    folder.mkdir(exist_ok=True)
    state.logged = {name: count_lines(folder.parent / name) for name in LOG_FILES}
    content = {**state.state_dict(), "configuration": state.config.model_dump(mode="json")}
    write_tensors(folder / f"{state.images_seen:012d}.pt", content)
    drafts = folder.glob("*.pt.tmp")  # of a killed process whose step this one did not save again
    for old in (*checkpoints(folder)[:-KEPT_CHECKPOINTS], *drafts):
        old.unlink()


def load_checkpoint(state: TrainingState, content: dict[str, Any]) -> None:
    """Restores a state from the content of a checkpoint.

    Raises ``TrainingError`` if the checkpoint was written under another configuration, or does not hold that state.
    """
    check_same_run(content["configuration"], state.config)
    try:
        state.load_state_dict(content)
    except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise TrainingError(f"the checkpoint does not hold the state of this run: {_brief(error)}") from error


def read_best(path: Path) -> dict[str, Any]:
    """Returns the content of ``best.pt``: the best generator, and its scores. Raises ``TrainingError``."""
    best = read_tensors(path)
    if not best.keys() >= {"generator", "half_life", "images_seen", "fxd"}:
        raise TrainingError(f"{path} does not hold the best generator of a run; put back a copy of it")
    return best


def read_newest(folder: Path) -> dict[str, Any]:
    """Returns the content of the newest readable checkpoint in a folder. Skips corrupt ones with a warning.

    Raises ``TrainingError`` if there is none.
    """
    saved: list[Path] = []
    while saved != (saved := checkpoints(folder)):  # a training process may replace all of them meanwhile
        for path in reversed(saved):
            try:
                content = read_tensors(path)
                if "configuration" not in content:
                    raise TrainingError(f"{path} is no checkpoint of a run")
            except FileNotFoundError:
                continue
            except (TrainingError, OSError) as error:
                print(f"skipping the unreadable checkpoint {path.name}: {_brief(error)}", file=sys.stderr)
                continue
            return content
    if not saved:
        raise TrainingError(
            f"{folder} holds no checkpoint yet; go on with the run: python -m training resume {folder.parent}"
        )
    raise TrainingError(
        f"no checkpoint in {folder} can be read; put back copies of them, or begin anew with another --out: "
        f"python -m training fit {folder.parent / 'config.yaml'}"
    )


def check_same_run(before: dict[str, Any], config: Config) -> None:
    """Raises ``TrainingError`` naming each setting that differs from a checkpoint and would change the run's course."""
    now = config.model_dump(mode="json")
    with suppress(ValidationError):  # if a setting no longer exists, the comparison below names it
        # A checkpoint older than a setting was written under the setting's default, or under its earlier value.
        before = Config.model_validate(with_earlier_values(before)).model_dump(mode="json")
    before, now = _without_data_selection(before), _without_data_selection(now)
    changed = [
        f"{key} was {_brief(before.get(key))}, is {_brief(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if key not in FREE_TO_CHANGE and before.get(key) != now.get(key)
    ]
    if changed:
        raise TrainingError(
            f"config.yaml is not the one this run began with: {'; '.join(changed)}. Put it back, or begin a new run; "
            f"resume --set changes {', '.join(sorted(CHANGEABLE))}"
        )


def write_tensors(path: Path, content: dict[str, Any]) -> None:
    """Writes a file of tensors whole or not at all. Raises ``TrainingError`` if it cannot."""
    try:
        with atomic_file(path, one_writer=True) as file:
            torch.save(content, file)
    except (OSError, RuntimeError) as error:  # torch's archive writer raises RuntimeError on a full disk
        raise TrainingError(
            f"cannot write {path.name} ({_reason(error)}); what was written before is untouched. "
            "Make room, then resume the run"
        ) from error


def _without_data_selection(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "data": {key: value for key, value in settings["data"].items() if key not in DATA_SELECTION}}


def _reason(error: BaseException) -> str:
    """Returns why a file could not be written: torch's own error hides the system's, which came before it."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return (cause and cause.strerror) or _brief(error)


def _brief(value: object) -> str:
    """Returns the value on one line of at most 200 characters."""
    return " ".join(str(value).split())[:200]
