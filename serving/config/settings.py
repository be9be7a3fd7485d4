"""Defines every setting of the service: environment variables ``FIGMENT_…``, each with its unit and range."""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.bundle import Name
from models.store import StoreUrl, StoreUrlError, check_package
from serving.config.cores import usable_cores
from serving.config.origins import validate_origins
from serving.config.service_links import is_service_link

PREFIX = "FIGMENT_"
MODELS_VARIABLE = f"{PREFIX}MODELS"
CACHE_VARIABLE = f"{PREFIX}MODELS_CACHE"
_KEYS_VARIABLE = f"{PREFIX}API_KEYS"
_SECRET_VARIABLES = (_KEYS_VARIABLE, MODELS_VARIABLE)  # a URL may hold a password
_NO_KEY = "it is set and holds no key; give at least one, or unset it for a service that is open to all"
_HIGHEST_SECONDS = 3600

# Absolute: in a built Bento the working folder is another one.
_SHIPPED_MODELS = Path(__file__).resolve().parents[2] / "models" / "zoo"

Device = Literal["auto", "cuda", "tensorrt", "cpu"]
LogFormat = Literal["text", "json"]


def _split(value: Any) -> Any:
    return tuple(item.strip() for item in value.split(",") if item.strip()) if isinstance(value, str) else value


def _path_or_url(value: Any) -> Any:
    if not isinstance(value, str) or "://" not in value:
        return Path(value) if isinstance(value, str) else value
    if not value.startswith("file://"):
        return StoreUrl.parse(value)
    path = Path(value.removeprefix("file://"))
    if not path.is_absolute():
        raise ValueError(f"{value} has no absolute path; write it like file:///srv/zoo, or without file://")
    return path


def _check_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise ValueError(_NO_KEY)
    # A file with one key per line would be a single key that no client can send.
    if not all(key.isprintable() and " " not in key for key in keys):
        raise ValueError("a key has no white space or control characters in it; commas separate keys")
    return keys


_PATH = re.compile(r"(?:/[A-Za-z0-9._~:@-]+)+", re.ASCII)


def _check_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError("a path is needed, such as /predict, of letters, digits and the characters / . _ ~ : @ -")
    return path


# Without `NoDecode`, pydantic-settings would require JSON.
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class SettingsError(Exception):
    """A setting has an invalid value. The message is one sentence that names the variable."""


class Settings(BaseSettings):
    """The settings of one process. A field's variable is ``FIGMENT_`` and the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, validate_default=False)

    models: Annotated[Path | InstanceOf[StoreUrl], BeforeValidator(_path_or_url)] = Field(
        default=_SHIPPED_MODELS,
        description="folder or URL (s3://, gs://, az://, hf://, https://, …) of bundles, NAME/VERSION below it; "
        "unset: models/zoo",
    )
    models_cache: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()),
        description="folder for bundles that are fetched from a URL; unset: the system's for temporary files",
    )
    default_model: Name | None = Field(
        default=None,
        description="model of requests that name none; unset: of the models loaded at the start, the first by name",
    )
    device: Device = Field(default="auto", description="device that generators run on; auto: CUDA, or else the CPU")
    max_batch: int = Field(default=64, ge=1, le=1024, description="most images in one batch on the device")
    max_images: int = Field(default=256, ge=1, le=1024, description="most images in one request")
    queue_images: int = Field(default=2048, ge=1, le=1_000_000, description="most images that may wait, per model")
    deadline_seconds: float = Field(
        default=30.0, gt=0, le=_HIGHEST_SECONDS, description="seconds until a request times out"
    )
    keep_alive_seconds: float = Field(
        default=75.0,
        gt=0,
        le=_HIGHEST_SECONDS,
        description="seconds until an idle connection is closed; set it longer than that of proxies",
    )
    linger_seconds: float = Field(
        default=5.0,
        ge=0,
        le=_HIGHEST_SECONDS,
        description="seconds after SIGTERM in which requests are still accepted, while not ready",
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, le=_HIGHEST_SECONDS, description="seconds that requests in flight may take after that"
    )
    stuck_seconds: float = Field(
        default=60.0,
        gt=0,
        le=_HIGHEST_SECONDS,
        description="seconds on one batch after which /livez reports a stuck device",
    )
    reload_seconds: float = Field(
        default=0.0,
        ge=0,
        le=86400,
        description="seconds between two polls for added and removed bundles; 0: no reloading",
    )
    encode_threads: Annotated[int, Field(ge=1, le=256)] = Field(
        default_factory=usable_cores, description="threads that encode images; unset: one per core"
    )
    intra_op_threads: Annotated[int, Field(ge=1, le=1024)] = Field(
        default_factory=usable_cores, description="cores that compute on a CPU; unset: all"
    )
    workers: int = Field(
        default=1, ge=1, le=64, description="processes, each with its own queue; with several GPUs, one per card"
    )
    cuda_graphs: bool = Field(default=False, description="whether each batch size is recorded as a CUDA graph")
    max_pixels: int = Field(default=2**26, ge=1, le=2**30, description="most pixels of all images in one request")
    api_keys: Annotated[CommaSeparated, AfterValidator(_check_keys)] = Field(
        default=(),
        description="keys; every request but health checks needs one of them; unset: no key needed",
        repr=False,
    )
    public_metrics: bool = Field(default=False, description="whether /metrics is served without a key")
    cors_origins: Annotated[CommaSeparated, AfterValidator(validate_origins)] = Field(
        default=(), description="origins whose pages may read responses, like https://example.com, or * for all"
    )
    health_route: Annotated[str, AfterValidator(_check_path)] | None = Field(
        default=None, description="one more path that answers like /readyz, for a platform that asks for its own"
    )
    predict_route: Annotated[str, AfterValidator(_check_path)] | None = Field(
        default=None, description="one more path for images, for a platform that asks for its own"
    )
    log_format: LogFormat = Field(default="text", description="text, or json: one object per line")

    @field_validator("predict_route")
    @classmethod
    def _check_differs(cls, path: str | None, info: ValidationInfo) -> str | None:
        if path is not None and path == info.data.get("health_route"):
            raise ValueError(f"{PREFIX}HEALTH_ROUTE has the same path, and needs another one")
        return path


def load_settings() -> Settings:
    """Returns the settings from the environment. An empty variable counts as unset, except for keys.

    Raises ``SettingsError`` for a value out of range, for ``FIGMENT_API_KEYS`` without a key, and for an unknown
    ``FIGMENT_`` variable, unless Kubernetes or Docker set it for a service of that name.
    """
    _check_names(os.environ)
    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        variable = PREFIX + str(fault["loc"][0]).upper()
        problem = fault["msg"].removeprefix("Value error, ")
        if variable in _SECRET_VARIABLES:  # keep them out of the log
            raise SettingsError(f"{variable}: {problem}.") from None
        raise SettingsError(f"{variable} cannot be {os.environ.get(variable, fault['input'])!r}: {problem}.") from None


def _check_names(environment: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    # pydantic-settings ignores case.
    names = {name: name.upper() for name in environment if name.upper().startswith(PREFIX)}
    unknown = sorted(name for name in names if names[name] not in known and not is_service_link(name, environment))
    if unknown:
        raise SettingsError(f"{unknown[0]} is not a setting; there are {', '.join(sorted(known))}.")
    # A missing secret gives an empty variable: it must not open the service to all.
    if any(names[name] == _KEYS_VARIABLE and not environment[name] for name in names):
        raise SettingsError(f"{_KEYS_VARIABLE}: {_NO_KEY}.")


def check_models(models: Path | StoreUrl) -> None:
    """Raises ``SettingsError`` if bundles can never come from there: a file, or a URL without a package for it.

    A missing folder may still be mounted later.
    """
    if isinstance(models, StoreUrl):
        try:
            check_package(models)
        except StoreUrlError as error:
            raise SettingsError(f"{MODELS_VARIABLE}: {error}.") from None
        return
    try:
        is_file = models.exists() and not models.is_dir()
    except OSError:  # the loader reports it
        return
    if is_file:
        raise SettingsError(f"{MODELS_VARIABLE} must be a folder of bundles, and {models.absolute()} is none.")
