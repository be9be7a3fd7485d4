"""Finds the study of a folder, even if the folder was renamed, and checks that its runs belong to that study."""

import re
from collections.abc import Iterable
from pathlib import Path

import optuna
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import TrainingError
from training.files import write_atomic
from training.tuning.study.storage import Storage

STUDY_FILE = "study.json"
RERUNS, FINALS = "-reruns", "-finals"
"""Suffixes of the names of a study's re-runs and final runs in the storage."""

_RUN_NAMES = {"trials": re.compile(r"\d+"), "reruns": re.compile(r"\d+-seed\d+"), "finals": re.compile(r"\d+-\d+")}


class _StudyRecord(BaseModel):
    model_config = ConfigDict(strict=True)
    name: str = Field(min_length=1)


def find_study_name(folder: Path, storage: Storage) -> str:
    """Returns the name of the folder's study in the storage, or the name for a new one.

    A journal belongs to its folder, so its only study is the one, even after the folder was copied or renamed. A
    database also holds studies of other folders: there the name in ``study.json`` decides, or else the folder's name.
    Raises ``TrainingError`` if ``study.json`` is invalid, or a journal holds several studies and it names none of them.
    """
    recorded = _recorded_name(folder)
    if not storage.shared:
        found = _searches(optuna.get_all_study_names(storage.backend))
        if len(found) == 1:
            return found[0]
        if found and recorded not in found:
            raise TrainingError(
                f"{storage.name} holds {len(found)} studies: {', '.join(found)}; choose the one to continue by writing "
                f'{{"name": "{found[0]}"}} into {folder / STUDY_FILE}, or start another study with another --out'
            )
    return recorded or folder.resolve().name


def record_name(folder: Path, name: str) -> None:
    """Writes the study's name into the folder, so that a renamed folder finds its study."""
    if _recorded_name(folder) != name:
        write_atomic(folder / STUDY_FILE, (_StudyRecord(name=name).model_dump_json() + "\n").encode())


def runs_in(folder: Path) -> list[Path]:
    """Returns the folders of trials, re-runs and final runs in a study's folder, in order."""
    found = []
    for kind, name in _RUN_NAMES.items():
        if (folder / kind).is_dir():
            found += sorted(path for path in (folder / kind).iterdir() if name.fullmatch(path.name) and path.is_dir())
    return found


def check_known(folder: Path, found: list[Path], known: Iterable[Path], name: str, storage: Storage) -> None:
    """Raises ``TrainingError`` if a run of ``found`` is not among those the study knows.

    The study would give the run's number to another trial, which would overwrite it.
    """
    unknown = sorted(set(found) - set(known))
    if not unknown:
        return
    first = unknown[0]
    runs = f"{first} is a run" if len(unknown) == 1 else f"{first} and {len(unknown) - 1} more are runs"
    them = "it" if len(unknown) == 1 else "them"
    rename = f'write its study\'s name into {folder / STUDY_FILE} ({{"name": "…"}}) if the folder was renamed, or '
    raise TrainingError(
        f"{runs} that the study {name!r} in {storage.name} does not know, and would overwrite; "
        f"restore the storage that knows {them}, {rename if storage.shared else ''}move {them} away, "
        "or start another study with another --out"
    )


def _recorded_name(folder: Path) -> str | None:
    path = folder / STUDY_FILE
    try:
        return _StudyRecord.model_validate_json(path.read_bytes()).name
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise TrainingError(f'{path} must hold {{"name": "…"}}, the name of the study in its storage') from error


def _searches(names: list[str]) -> list[str]:
    """Returns the studies that are not re-runs or final runs of another."""
    return [
        name
        for name in names
        if not any(name.endswith(suffix) and name.removesuffix(suffix) in names for suffix in (RERUNS, FINALS))
    ]
