"""The settings of the service: environment variables ``FIGMENT_…``, each with its unit and its range."""

import math
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.bundle import Name

PREFIX = "FIGMENT_"

# Not relative to the working folder, which in a built Bento is another one.
_SHIPPED = Path(__file__).resolve().parents[1] / "models" / "zoo"

Device = Literal["auto", "cuda", "tensorrt", "cpu"]
LogFormat = Literal["text", "json"]


# Linux's control group of a container (version 2): microseconds of processor time in each period, or "max".
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """The cores that this process may use: those it may run on, or fewer where a container's limit is below that.

    A container with a limit of two cores sees all of its machine's. With a thread for each, it would use up its share
    in no time, and stand still for the rest of every period.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_MAX.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, math.ceil(int(quota) / int(period))))


def _split(value: Any) -> Any:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


# `NoDecode`, or pydantic-settings would ask for JSON.
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class SettingsError(Exception):
    """A setting has a value it cannot have; the message is one sentence that names the variable."""


class Settings(BaseSettings):
    """What an operator can decide; ``FIGMENT_`` and the field's name in capitals is the variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    models: Path = Field(default=_SHIPPED, description="folder of bundles, NAME/VERSION below it; unset: models/zoo")
    default_model: Name | None = Field(
        default=None, description="model of requests that name none; unset: the first loaded, by name"
    )
    device: Device = Field(default="auto", description="where generators run; auto: CUDA, or else the CPU")
    max_batch: int = Field(default=64, ge=1, le=1024, description="images in one batch on the device, at most")
    max_images: int = Field(default=256, ge=1, le=1024, description="images in one request, at most")
    queue_images: int = Field(default=2048, ge=1, le=1_000_000, description="images that may wait, per model")
    deadline_seconds: float = Field(default=30.0, gt=0, le=3600, description="seconds until a request is given up")
    keep_alive_seconds: float = Field(
        default=75.0,
        gt=0,
        le=3600,
        description="seconds until an idle connection is closed; more than proxies keep theirs",
    )
    linger_seconds: float = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="seconds that requests are still taken after SIGTERM, when not ready any more",
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="seconds that work in hand may take after that"
    )
    stuck_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="seconds on one batch after which /livez says that the device is stuck"
    )
    reload_seconds: float = Field(
        default=0.0, ge=0, le=86400, description="seconds between looks for bundles that came or went; 0: never"
    )
    encode_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=usable_cores, description="threads that encode images; unset: one per core"
    )
    intra_op_threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        default_factory=usable_cores, description="cores that compute on a CPU; unset: all"
    )
    workers: int = Field(
        default=1, ge=1, le=64, description="processes, each with its own queue; with several GPUs, one for each card"
    )
    cuda_graphs: bool = Field(default=False, description="whether each batch size is recorded as a CUDA graph")
    max_pixels: int = Field(default=2**26, ge=1, le=2**30, description="pixels of all images in one request, at most")
    api_keys: CommaSeparated = Field(
        default=(), description="keys, any of which every request but for health needs; unset: none", repr=False
    )
    public_metrics: bool = Field(default=False, description="whether /metrics needs no key where others do")
    cors_origins: CommaSeparated = Field(
        default=(), description="origins whose pages may read answers, like https://example.com, or * for all"
    )
    log_format: LogFormat = Field(default="text", description="text, or json: one object a line")


def load_settings() -> Settings:
    """The settings of this process's environment.

    Raises ``SettingsError`` for a value out of range and for a ``FIGMENT_`` variable that does not exist.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting; there are {', '.join(sorted(known))}.")
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        variable = PREFIX + str(fault["loc"][0]).upper()
        raise SettingsError(f"{variable} cannot be {fault['input']!r}: {fault['msg']}.") from None
