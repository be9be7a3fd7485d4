"""The folder of a run: its configuration, what it trains on, where it ran, and where its results go."""

import json
import platform
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import pydantic
import torch

from training.config import Config
from training.config_file import dump_config, parse_config
from training.data import TrainingImages
from training.errors import TrainingError
from training.strict_yaml import read_yaml

RUNS = Path("runs")


class DataRecord(pydantic.BaseModel):
    """What a run trains on, so that it goes on with the same images and no others."""

    source: str
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
        """A new run. Raises ``TrainingError`` if the folder holds anything already."""
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise TrainingError(
                f"{path} is there already; choose another --out, or go on with: python -m training resume {path}"
            )
        data = DataRecord(
            source=str(Path(source).absolute()) if Path(source).exists() else source,
            name=images.name,
            fingerprint=images.fingerprint,
            images=len(images),
            label_names=images.label_names,
            broken=images.broken,
        )
        run = cls(path, config, data, _source_revision())
        run.samples.mkdir(parents=True)
        (path / "config.yaml").write_text(dump_config(config), encoding="utf-8")
        (path / "data.json").write_text(data.model_dump_json(indent=2) + "\n")
        (path / "environment.json").write_text(json.dumps(_environment(run.source_revision), indent=2) + "\n")
        return run

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """A run that is there. Raises ``TrainingError`` if it is none."""
        try:
            config = parse_config(read_yaml(path / "config.yaml"), str(path / "config.yaml"))
            data = DataRecord.model_validate_json((path / "data.json").read_bytes())
            environment = json.loads((path / "environment.json").read_text())
        except OSError as error:
            raise TrainingError(f"{path} is not the folder of a run: it has no {Path(error.filename).name}") from error
        except ValueError as error:
            raise TrainingError(f"{path} is not the folder of a run that can be read: {error}") from error
        return cls(path, config, data, environment["source_revision"])


def with_budget(run: RunFolder, images: int) -> RunFolder:
    """The same run with another budget, which is written into its ``config.yaml``."""
    config = run.config.model_copy(update={"images": images})
    draft = run.path / "config.tmp"
    draft.write_text(dump_config(config), encoding="utf-8")
    draft.replace(run.path / "config.yaml")
    return replace(run, config=config)


def numbered_folder(config: Config, settings: list[str]) -> Path:
    """The next free folder below ``runs/``: its number, the preset, and what ``--set`` changed."""
    numbers = [int(match[0]) for path in RUNS.glob("*") if (match := re.match(r"\d+", path.name))]
    name = "-".join([f"{max(numbers, default=-1) + 1:05d}", config.name, *settings])
    return RUNS / re.sub(r"[^\w.=-]+", "_", name)[:120]


def _source_revision() -> str | None:
    here = Path(__file__).parent
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
