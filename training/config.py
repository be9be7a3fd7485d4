"""What a run is made of: a strict model that is checked before anything starts and written beside the result."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.bundle import Name
from models.networks import NetworkConfig
from training.errors import TrainingError

PRESETS = Path(__file__).parent / "presets"

Images = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Strict):
    """How images of the data set become training images."""

    resolution: Annotated[int, Field(ge=8, le=1024, description="side of the square training images, in pixels")]
    channels: Annotated[Literal[1, 3], Field(description="1 = grey, 3 = RGB")]
    fit: Annotated[
        Literal["pad", "crop"],
        Field(description="pad = centre on black, nothing resampled; crop = centre square, resized (Lanczos)"),
    ]


class AdamConfig(_Strict):
    """Adam (Kingma and Ba 2015)."""

    learning_rate: Annotated[float, Field(gt=0, le=1)]
    beta1: Annotated[float, Field(ge=0, lt=1)]
    beta2: Annotated[float, Field(ge=0, lt=1)]


class EmaConfig(_Strict):
    """The moving average of the generator's weights, which is what gets exported."""

    half_life: Annotated[Images, Field(description="images after which a weight's share has halved")]
    ramp: Annotated[
        float, Field(gt=0, le=1, description="the half-life is at most this share of the images seen so far")
    ]


class PaceConfig(_Strict):
    """How often, in images seen, the run reports and saves."""

    tick: Annotated[Images, Field(description="a line of metrics")]
    samples: Annotated[Images, Field(description="a grid of samples")]
    checkpoint: Annotated[Images, Field(description="a checkpoint")]


class AboutConfig(_Strict):
    """What the exported generator's card tells its users."""

    licence: str
    intended_use: str


class Config(_Strict):
    """A whole training run."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    images: Annotated[Images, Field(description="the budget: real images seen by the discriminator")]
    batch_size: Annotated[int, Field(ge=2, le=65536)]
    conditional: Annotated[bool, Field(description="whether labels steer the generator")]
    precision: Annotated[
        Literal["auto", "bfloat16", "float32"],
        Field(description="of convolutions; auto takes bfloat16 where the processor computes it natively"),
    ] = "auto"
    data: DataConfig
    network: NetworkConfig
    loss: Literal["minimax", "non_saturating", "least_squares"]
    generator_optimizer: AdamConfig
    discriminator_optimizer: AdamConfig
    ema: EmaConfig
    pace: PaceConfig
    about: AboutConfig


def preset_names() -> list[str]:
    """The names of the presets that ship."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_config(preset_or_file: str, settings: Iterable[str] = ()) -> Config:
    """The configuration of a preset's name or a YAML file, with ``key=value`` settings laid over it.

    Keys are dotted (``data.resolution``), values are YAML. Raises ``TrainingError``.
    """
    is_file = preset_or_file.endswith((".yaml", ".yml"))
    path = Path(preset_or_file) if is_file else PRESETS / f"{preset_or_file}.yaml"
    if not path.is_file():
        raise TrainingError(
            f"there is no preset or file {preset_or_file!r}; the presets are {', '.join(preset_names())}, "
            "and a file's name ends in .yaml"
        )
    source = str(path) if is_file else f"preset {preset_or_file}"
    values = _parse_yaml(path.read_text(), source)
    if not isinstance(values, dict):
        raise TrainingError(f"{source} holds no settings: it must be a YAML mapping")
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not (key and equals):
            raise TrainingError(f"--set takes key=value, not {setting!r}")
        _assign(values, key, _parse_yaml(text, f"--set {key}"))
    return parse_config(values, source)


def parse_config(values: Any, source: str) -> Config:
    """Checks a configuration. Raises ``TrainingError`` naming every fault, with the nearest key to an unknown one."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(_describe(fault) for fault in error.errors())
        raise TrainingError(f"{source}: {faults}") from error


def dump_config(config: Config) -> str:
    """The configuration as YAML that ``load_config`` reads back equal."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse_yaml(text: str, source: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        nested = values.setdefault(parent, {})
        if not isinstance(nested, dict):
            raise TrainingError(f"--set {key}: {parent} holds no settings of its own")
        values = nested
    values[last] = value


def _describe(fault: Any) -> str:
    where = ".".join(map(str, fault["loc"]))
    if fault["type"] != "extra_forbidden":
        return f"{where}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    nearest = difflib.get_close_matches(where, _known_keys(Config), n=1)
    return f"there is no setting {where}" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _known_keys(field.annotation, f"{prefix}{name}.")
    return keys
