"""The folder of a run: its configuration, its data, where it ran, and its results.

A start writes ``config.yaml`` last and before anything slow. So a folder with it is a run that can be resumed, and a
folder without it holds nothing worth keeping.
"""

import json
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

from training.config.earlier import with_earlier_values
from training.config.files import dump_config, parse_config
from training.config.schema import Config
from training.config.strict_yaml import read_yaml
from training.data.dataset import TrainingImages
from training.errors import TrainingError
from training.files import atomic_file
from training.locks import FileLock
from training.runs.checkpoints import checkpoints
from training.runs.initial_networks import (
    NETWORKS_FILE,
    RECORD_FILE,
    InitialNetworks,
    InitialSource,
    read_source,
)
from training.runs.json_lines import SCORES_FILE

RUNS = Path("runs")

CONFIG_FILE = "config.yaml"
DATA_FILE = "data.json"
ENVIRONMENT_FILE = "environment.json"
LOCK_FILE = "run.lock"


class DataSource(pydantic.BaseModel):
    """Where a run's images lie: all that is known before they are decoded."""

    source: str


class DataRecord(DataSource):
    """The images that a run trains on, so that it continues with the same ones."""

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
    initial: InitialSource | None = None
    """Where its first networks come from; None if they were random."""

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """The folder of sample grids."""
        return self.path / "samples"

    @property
    def best(self) -> Path:
        """The file with the EMA generator of the best score."""
        return self.path / "best.pt"

    @property
    def scores(self) -> Path:
        """The judge's scores, as JSON lines."""
        return self.path / SCORES_FILE

    @property
    def labels(self) -> int:
        """The number of labels that condition the generator; 0 for an unconditional one."""
        return len(self.data.label_names or ()) if self.config.conditional else 0

    @classmethod
    def create(cls, path: Path, config: Config, source: str, images: TrainingImages) -> "RunFolder":
        """Writes a new run. Raises ``TrainingError`` if the folder holds anything else already."""
        return begin_run(path, config, source).complete(images)

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Opens a run. Raises ``TrainingError`` if the folder holds none, or one that has not reached its data yet."""
        start = open_start(path)
        if start.data is None:
            raise TrainingError(f"{path} has not begun to train; go on with: python -m training resume {path}")
        return cls(path, start.config, start.data, start.source_revision, start.initial)


@dataclass(frozen=True)
class RunStart:
    """A run on disk that may not have reached its data yet."""

    path: Path
    config: Config
    source: str
    data: DataRecord | None
    """None until the images have been decoded for the first time."""
    source_revision: str | None
    initial: InitialSource | None = None
    """Where its first networks come from; None if they are random."""
    created: tuple[Path, ...] = ()
    """The folders that this start has created, innermost first."""
    new: bool = False
    """Whether this start has written the run."""

    def complete(self, images: TrainingImages, source: str | None = None) -> RunFolder:
        """Returns the run with its data, and records new ones. ``source`` is where moved images lie now.

        Raises ``TrainingError`` if they are not the images that the run began with.
        """
        if self.data is None:
            data = DataRecord(
                source=_absolute_source(source) if source else self.source,
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
            data = self.data.model_copy(update={"source": _absolute_source(source)} if source else {})
        if data != self.data:
            write_text(self.path / DATA_FILE, data.model_dump_json(indent=2) + "\n")
        run = RunFolder(self.path, self.config, data, self.source_revision, self.initial)
        run.samples.mkdir(exist_ok=True)
        return run

    def undo(self) -> None:
        """Removes everything that this start has written. Leaves a run that was there before."""
        if not self.new:
            return
        (self.path / CONFIG_FILE).unlink(missing_ok=True)  # first, so the rest is no run if this is cut short
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in self.created:
            if any(folder.iterdir()):
                break
            folder.rmdir()


def begin_run(
    path: Path,
    config: Config,
    source: str,
    created: tuple[Path, ...] = (),
    initial: InitialNetworks | None = None,
) -> RunStart:
    """Writes a run's folder. Or opens one without a checkpoint, of the same configuration and data.

    ``created`` are the folders that this start creates, innermost first. ``initial`` are trained networks to start
    from; a folder that is there keeps its copy of them, even if the run that they come from has gone on. Raises
    ``TrainingError`` if the folder holds anything else.
    """
    check_free(path)
    source = _absolute_source(source)
    if (path / CONFIG_FILE).is_file():
        start = open_start(path)
        same_networks = (start.initial and start.initial.run) == (initial and initial.source.run)
        if (start.config, start.source) == (config, source) and same_networks:
            return start
        raise TrainingError(
            f"{path} holds a run of another configuration, data or --init-from that has not reached a checkpoint; "
            f"choose another --out, remove it, or go on with it: python -m training resume {path}"
        )
    path.mkdir(parents=True, exist_ok=True)
    revision = _source_revision()
    if initial:
        initial.write(path)
    write_text(path / DATA_FILE, DataSource(source=source).model_dump_json(indent=2) + "\n")
    write_text(path / ENVIRONMENT_FILE, json.dumps(_environment(revision), indent=2) + "\n")
    write_text(path / CONFIG_FILE, dump_config(config))
    return RunStart(path, config, source, None, revision, initial.source if initial else None, created, new=True)


def missing_folders(path: Path) -> tuple[Path, ...]:
    """Returns those of a folder and its parents that do not exist, innermost first."""
    return tuple(folder for folder in (path, *path.parents) if not folder.exists())


def check_free(path: Path) -> None:
    """Raises ``TrainingError`` unless a run may begin in a folder.

    It may in a missing or empty folder, and in one that an earlier start left before its first checkpoint.
    """
    if (path / CONFIG_FILE).is_file():
        if checkpoints(path / "checkpoints"):
            raise TrainingError(
                f"{path} is there already; choose another --out, or go on with: python -m training resume {path}"
            )
    elif path.exists() and not (path.is_dir() and all(map(_is_leftover, path.iterdir()))):
        raise TrainingError(f"{path} is there already, and is no run; choose another --out")


def open_start(path: Path) -> RunStart:
    """Opens a run, however far it has got. Raises ``TrainingError`` if the folder holds none."""
    try:
        recorded = with_earlier_values(read_yaml(path / CONFIG_FILE))
        config = parse_config(recorded, str(path / CONFIG_FILE))
        record = (path / DATA_FILE).read_bytes()
        known = DataSource.model_validate_json(record)
        data = DataRecord.model_validate_json(record) if json.loads(record).keys() - known.model_dump() else None
        environment = json.loads((path / ENVIRONMENT_FILE).read_text())
        initial = read_source(path)
    except OSError as error:
        raise TrainingError(f"{path} is not the folder of a run: it has no {Path(error.filename).name}") from error
    except ValueError as error:
        raise TrainingError(f"{path} is not the folder of a run that can be read: {error}") from error
    return RunStart(path, config, known.source, data, environment["source_revision"], initial)


class RunLock:
    """The lock on a run. The process that trains in its folder holds it until the end of a ``with`` block."""

    def __init__(self, run: Path) -> None:
        self._run, self._lock = run, FileLock(run / LOCK_FILE)

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def acquire(self) -> None:
        """Takes the lock. Raises ``TrainingError`` if another process holds it, or the file system has no locks."""
        if not self._lock.try_acquire():
            raise TrainingError(f"another process is training in {self._run}; wait until it has ended, or stop it")


def with_config(run: RunFolder, config: Config) -> RunFolder:
    """Writes another configuration into a run's ``config.yaml``, and returns the run under it."""
    write_text(run.path / CONFIG_FILE, dump_config(config))
    return replace(run, config=config)


def write_text(path: Path, text: str) -> None:
    """Writes a file of a run whole or not at all. A run has one writer: the process that holds its lock."""
    with atomic_file(path, one_writer=True) as file:
        file.write(text.encode())


def numbered_folder(config: Config, settings: list[str]) -> Path:
    """Returns the next free folder below ``runs/``, named after its number, the preset and the ``--set`` settings."""
    numbers = [int(match[0]) for path in RUNS.glob("*") if (match := re.match(r"\d+", path.name))]
    name = "-".join([f"{max(numbers, default=-1) + 1:05d}", config.name, *settings])
    return RUNS / re.sub(r"[^\w.=-]+", "_", name)[:120]


def _absolute_source(source: str) -> str:
    """Returns a path as an absolute one, and the name of a Hugging Face data set as it is."""
    return str(Path(source).absolute()) if Path(source).exists() else source


def _is_leftover(entry: Path) -> bool:
    """Whether a start that was killed before it wrote ``config.yaml``, or while it undid itself, leaves this entry."""
    if entry.name == "samples" and entry.is_dir():
        return not any(entry.iterdir())
    return entry.name.removesuffix(".tmp") in {
        CONFIG_FILE, DATA_FILE, ENVIRONMENT_FILE, LOCK_FILE, NETWORKS_FILE, RECORD_FILE
    }  # fmt: skip


def _source_revision() -> str | None:
    """Returns the trainer's git commit, with ``+changes`` if its files differ from it; None outside a checkout."""
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
