"""The folder of a run: its configuration, what it trains on, where it ran, and where its results go.

A run begins on disk before anything slow: ``config.yaml`` comes last, so a folder with it is a run that can be resumed,
and one without it holds nothing that anybody needs.
"""

import json
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

import numpy
import pydantic
import torch

from training.config.files import dump_config, parse_config
from training.config.schema import Config
from training.config.strict_yaml import read_yaml
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.locks import FileLock
from training.loop.state import checkpoints

RUNS = Path("runs")

CONFIG_FILE = "config.yaml"
DATA_FILE = "data.json"
ENVIRONMENT_FILE = "environment.json"
LOCK_FILE = "run.lock"


class DataSource(pydantic.BaseModel):
    """Where a run's images lie: all that is known before they are decoded."""

    source: str


class DataRecord(DataSource):
    """What a run trains on, so that it goes on with the same images and no others."""

    name: str
    fingerprint: str
    images: int
    label_names: tuple[str, ...] | None
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunFolder:
    """A run on disk."""

    path: Path
    config: Config
    data: DataRecord
    source_revision: str | None

    @property
    def checkpoints(self) -> Path:
        """Where checkpoints lie."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Where grids of samples lie."""
        return self.path / "samples"

    @property
    def best(self) -> Path:
        """Where the averaged generator lies that the judge has liked best."""
        return self.path / "best.pt"

    @property
    def scores(self) -> Path:
        """Where the judge's scores lie, as JSON lines."""
        return self.path / "scores.jsonl"

    @property
    def labels(self) -> int:
        """How many labels steer the generator; 0 for an unconditional one."""
        return len(self.data.label_names or ()) if self.config.conditional else 0

    @classmethod
    def create(cls, path: Path, config: Config, source: str, images: TrainingImages) -> "RunFolder":
        """A new run. Raises ``TrainingError`` if the folder holds anything else already."""
        return begin_run(path, config, source).complete(images)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A run that is there. Raises ``TrainingError`` if it is none, or has not got to its data yet."""
        start = open_start(path)
        if start.data is None:
            raise TrainingError(f"{path} has not begun to train; go on with: python -m training resume {path}")
        return cls(path, start.config, start.data, start.source_revision)


@dataclass(frozen=True)
class RunStart:
    """A run on disk that may not have got to its data yet."""

    path: Path
    config: Config
    source: str
    data: DataRecord | None
    """None until the images have been decoded for the first time."""
    source_revision: str | None
    made: tuple[Path, ...] = ()
    """The folders that this start has made, innermost first."""
    new: bool = False
    """Whether this start has written the run."""

    def complete(self, images: TrainingImages, source: str | None = None) -> RunFolder:
        """The run with its data; notes what is new about them. ``source`` is where the images lie now, if elsewhere.

        Raises ``TrainingError`` if they are not the images that the run began with.
        """
        if self.data is None:
            data = DataRecord(
                source=_whole_name(source) if source else self.source,
                name=images.name,
                fingerprint=images.fingerprint,
                images=len(images),
                label_names=images.label_names,
                broken=images.broken,
            )
        elif images.fingerprint != self.data.fingerprint:
            raise TrainingError(
                f"the images in {source or self.source} are not those the run began with "
                f"(fingerprint {images.fingerprint[:12]}…, then {self.data.fingerprint[:12]}…)"
            )
        else:
            data = self.data.model_copy(update={"source": _whole_name(source)} if source else {})
        if data != self.data:
            write_text(self.path / DATA_FILE, data.model_dump_json(indent=2) + "\n")
        run = RunFolder(self.path, self.config, data, self.source_revision)
        run.samples.mkdir(exist_ok=True)
        return run

    def undo(self) -> None:
        """Removes what this start has written; what was there before stays."""
        if not self.new:
            return
        (self.path / CONFIG_FILE).unlink(missing_ok=True)  # first: what is left then is no run
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in self.made:
            if any(folder.iterdir()):
                break
            folder.rmdir()


def begin_run(path: Path, config: Config, source: str, made: tuple[Path, ...] = ()) -> RunStart:
    """Writes a run's folder, or takes up one that has no checkpoint yet and is of the same configuration and data.

    ``made`` are the folders that this start has made or makes, innermost first. Raises ``TrainingError`` if the folder
    holds anything else.
    """
    check_free(path)
    source = _whole_name(source)
    if (path / CONFIG_FILE).is_file():
        start = open_start(path)
        if (start.config, start.source) == (config, source):
            return start
        raise TrainingError(
            f"{path} holds a run of another configuration or data that has not reached a checkpoint; choose another "
            f"--out, remove it, or go on with it: python -m training resume {path}"
        )
    path.mkdir(parents=True, exist_ok=True)
    revision = _source_revision()
    write_text(path / DATA_FILE, DataSource(source=source).model_dump_json(indent=2) + "\n")
    write_text(path / ENVIRONMENT_FILE, json.dumps(_environment(revision), indent=2) + "\n")
    write_text(path / CONFIG_FILE, dump_config(config))
    return RunStart(path, config, source, None, revision, made, new=True)


def missing_folders(path: Path) -> tuple[Path, ...]:
    """A folder and those above it that are not there yet, innermost first."""
    return tuple(folder for folder in (path, *path.parents) if not folder.exists())


def check_free(path: Path) -> None:
    """Raises ``TrainingError`` unless a run may begin in a folder.

    It may where there is none, in an empty one, and in one that a start has left behind before its first checkpoint.
    """
    if (path / CONFIG_FILE).is_file():
        if checkpoints(path / "checkpoints"):
            raise TrainingError(
                f"{path} is there already; choose another --out, or go on with: python -m training resume {path}"
            )
    elif path.exists() and not (path.is_dir() and all(map(_unfinished, path.iterdir()))):
        raise TrainingError(f"{path} is there already, and is no run; choose another --out")


def open_start(path: Path) -> RunStart:
    """A run that is there, however far it has got. Raises ``TrainingError`` if it is none."""
    try:
        config = parse_config(read_yaml(path / CONFIG_FILE), str(path / CONFIG_FILE))
        record = (path / DATA_FILE).read_bytes()
        known = DataSource.model_validate_json(record)
        data = DataRecord.model_validate_json(record) if json.loads(record).keys() - known.model_dump() else None
        environment = json.loads((path / ENVIRONMENT_FILE).read_text())
    except OSError as error:
        raise TrainingError(f"{path} is not the folder of a run: it has no {Path(error.filename).name}") from error
    except ValueError as error:
        raise TrainingError(f"{path} is not the folder of a run that can be read: {error}") from error
    return RunStart(path, config, known.source, data, environment["source_revision"])


class RunLock:
    """The lock on a run, held by the process that trains in its folder until the end of a ``with`` block."""

    def __init__(self, run: Path) -> None:
        self._run, self._lock = run, FileLock(run / LOCK_FILE)

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def acquire(self) -> None:
        """Takes the lock. Raises ``TrainingError`` if another process has it, or the file system has no locks."""
        if not self._lock.try_acquire():
            raise TrainingError(f"another process is training in {self._run}; wait until it has ended, or stop it")


def with_config(run: RunFolder, config: Config) -> RunFolder:
    """The same run under another configuration, which is written into its ``config.yaml``."""
    write_text(run.path / CONFIG_FILE, dump_config(config))
    return replace(run, config=config)


def write_text(path: Path, text: str) -> None:
    """Writes a file of a run whole or not at all. A run has one writer, so the draft's name is always the same."""
    draft = path.with_name(path.name + ".tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def numbered_folder(config: Config, settings: list[str]) -> Path:
    """The next free folder below ``runs/``: its number, the preset, and what ``--set`` changed."""
    numbers = [int(match[0]) for path in RUNS.glob("*") if (match := re.match(r"\d+", path.name))]
    name = "-".join([f"{max(numbers, default=-1) + 1:05d}", config.name, *settings])
    return RUNS / re.sub(r"[^\w.=-]+", "_", name)[:120]


def _whole_name(source: str) -> str:
    """A path that means the same from anywhere; the name of a Hugging Face data set stays as it is."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _unfinished(entry: Path) -> bool:
    """Whether a file is one that a start leaves behind which was killed before the folder became a run."""
    return entry.name.removesuffix(".tmp") in {CONFIG_FILE, DATA_FILE, ENVIRONMENT_FILE, LOCK_FILE}


def _source_revision() -> str | None:
    here = Path(__file__).parents[1]
    try:
        revision = _git("rev-parse", "HEAD", cwd=here)
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", "../models", cwd=here)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{revision}+changes" if changed else revision


def _git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


def _environment(source_revision: str | None) -> dict[str, str | int | None]:
    return {
        "source_revision": source_revision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.system(),
        "processor": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine(),
        "threads": torch.get_num_threads(),
    }
