"""The settings of the service: environment variables ``FIGMENT_…``, each with its unit and its range."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.bundle import Name
from serving.config.cores import usable_cores
from serving.config.origins import checked_origins
from serving.config.service_links import is_service_link

PREFIX = "FIGMENT_"
MODELS = f"{PREFIX}MODELS"
_KEYS = f"{PREFIX}API_KEYS"
_NO_KEY = "it is set and holds no key; give at least one, or unset it for a service that is open to all"

# Not relative to the working folder, which in a built Bento is another one.
_SHIPPED = Path(__file__).resolve().parents[2] / "models" / "zoo"

Device = Literal["auto", "cuda", "tensorrt", "cpu"]
LogFormat = Literal["text", "json"]


def _split(value: Any) -> Any:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def _check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise ValueError(_NO_KEY)
    # A file with one key a line would be one key that no client can send.
    if not all(key.isprintable() and " " not in key for key in keys):
        raise ValueError("a key has no white space or control characters in it; commas are between keys")
    return keys


# `NoDecode`, or pydantic-settings would ask for JSON.
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class SettingsError(Exception):
    """A setting has a value it cannot have; the message is one sentence that names the variable."""


class Settings(BaseSettings):
    """What an operator can decide; ``FIGMENT_`` and the field's name in capitals is the variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, validate_default=False)

    models: Path = Field(default=_SHIPPED, description="folder of bundles, NAME/VERSION below it; unset: models/zoo")
    default_model: Name | None = Field(
        default=None, description="model of requests that name none; unset: the first loaded at the start, by name"
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
    api_keys: Annotated[CommaSeparated, AfterValidator(_check_keys)] = Field(
        default=(), description="keys, any of which every request but for health needs; unset: none", repr=False
    )
    public_metrics: bool = Field(default=False, description="whether /metrics needs no key where others do")
    cors_origins: Annotated[CommaSeparated, AfterValidator(checked_origins)] = Field(
        default=(), description="origins whose pages may read answers, like https://example.com, or * for all"
    )
    log_format: LogFormat = Field(default="text", description="text, or json: one object a line")


def load_settings() -> Settings:
    """Returns the settings of this process's environment. An empty variable counts as unset, except for keys.

    Raises ``SettingsError`` for a value out of range, for ``FIGMENT_API_KEYS`` without a key, and for a ``FIGMENT_``
    variable that does not exist, unless Kubernetes or Docker set it for a service of that name.
    """
    _check_names(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        variable = PREFIX + str(fault["loc"][0]).upper()
        problem = fault["msg"].removeprefix("Value error, ")
        if variable == _KEYS:  # keep keys out of the log
            raise SettingsError(f"{variable}: {problem}.") from None
        raise SettingsError(f"{variable} cannot be {os.environ.get(variable, fault['input'])!r}: {problem}.") from None


def _check_names(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    # pydantic-settings ignores case.
    names = {name: name.upper() for name in environment if name.upper().startswith(PREFIX)}
    unknown = sorted(name for name in names if names[name] not in known and not is_service_link(name, environment))
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting; there are {', '.join(sorted(known))}.")
    # An empty variable, from a secret that is missing, must not open the service.
    if any(names[name] == _KEYS and not environment[name] for name in names):
        raise SettingsError(f"{_KEYS}: {_NO_KEY}.")


def check_folder(models: Path) -> None:
    """Raises ``SettingsError`` if the folder of bundles is a file; one that is missing may still be mounted."""
    try:
        is_file = models.exists() and not models.is_dir()
    except OSError:  # loading reports it
        return
    if is_file:
        raise SettingsError(f"{MODELS} must be a folder of bundles, and {models.absolute()} is none.")
