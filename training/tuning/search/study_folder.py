"""Which study a folder belongs to, whatever the folder is called, and whether the runs in it are that study's."""

import re
from collections.abc import Iterable
from pathlib import Path

import optuna
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import TrainingError
from training.files import write_atomic
from training.tuning.search.storage import Storage

STUDY_FILE = "study.json"
RERUNS, FINALS = "-reruns", "-finals"
"""What the names of a study's re-runs and final runs end in."""
MOVE_AWAY = "move it away, and start the same command again"

_RUNS = {"trials": re.compile(r"\d+"), "reruns": re.compile(r"\d+-seed\d+"), "finals": re.compile(r"\d+-\d+")}


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str = Field(min_length=1)


def study_name(folder: Path, storage: Storage) -> str:
    """The name of the folder's study in the storage, or the name that a new one gets.

    A journal belongs to its folder, so the only study in it is meant, even after the folder was copied or renamed. In
    a database, which has other folders' studies too, the name noted in ``study.json`` decides, or else the folder's.
    Raises ``TrainingError`` if the note cannot be read, or a journal holds several studies and the note names none.
    """
    noted = _noted(folder)
    if not storage.shared:
        found = _searches(optuna.get_all_study_names(storage.backend))
        if len(found) == 1:
            return found[0]
        if found and noted not in found:
            raise TrainingError(
                f"{storage.name} holds {len(found)} studies: {', '.join(found)}; name the one to go on with by writing "
                f'{{"name": "{found[0]}"}} into {folder / STUDY_FILE}, or begin another study with another --out'
            )
    return noted or folder.resolve().name


def record_name(folder: Path, name: str) -> None:
    """Notes the study's name in the folder, so that the study is found after the folder was renamed."""
    if _noted(folder) != name:
        write_atomic(folder / STUDY_FILE, (_Record(name=name).model_dump_json() + "\n").encode())


def runs_in(folder: Path) -> list[Path]:
    """The folders of trials, re-runs and final runs in a study's folder, in order."""
    found = []
    for kind, name in _RUNS.items():
        if (folder / kind).is_dir():
            found += sorted(path for path in (folder / kind).iterdir() if name.fullmatch(path.name) and path.is_dir())
    return found


def check_known(folder: Path, found: list[Path], known: Iterable[Path], name: str, storage: Storage) -> None:
    """Raises ``TrainingError`` if ``found`` has a run that is not among those the study knows.

    The study would give the run's number to another trial, which would train over it.
    """
    strange = sorted(set(found) - set(known))
    if not strange:
        return
    first = strange[0]
    runs = f"{first} is a run" if len(strange) == 1 else f"{first} and {len(strange) - 1} more are runs"
    remedy = f'write its study\'s name into {folder / STUDY_FILE} ({{"name": "…"}}) if the folder was renamed, or '
    raise TrainingError(
        f"{runs} that the study {name!r} in {storage.name} does not know, and would train over; "
        f"put the storage back that knows {'it' if len(strange) == 1 else 'them'}, "
        f"{remedy if storage.shared else ''}move {'it' if len(strange) == 1 else 'them'} away, "
        "or begin another study with another --out"
    )


def _noted(folder: Path) -> str | None:
    path = folder / STUDY_FILE
    try:
        return _Record.model_validate_json(path.read_bytes()).name
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise TrainingError(f'{path} must hold {{"name": "…"}}, the name of the study in its storage') from error


def _searches(names: list[str]) -> list[str]:
    """The studies that are no re-runs or final runs of another."""
    return [
        name
        for name in names
        if not any(name.endswith(end) and name.removesuffix(end) in names for end in (RERUNS, FINALS))
    ]
