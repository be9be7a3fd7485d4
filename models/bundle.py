"""Reads and writes bundles: an exported generator as a folder ``NAME/VERSION/``. Nothing else goes to serving.

A bundle holds ``generator.onnx`` (one file), ``card.json`` (the generator's properties and training) and
``samples.png``. Reading verifies it, and raises a ``BundleError`` with one sentence for the first mismatch.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, JsonValue, ValidationError

from models.drafts import draft_folder, sync
from models.onnx_scan import OnnxFileError, check_stands_alone
from models.strict import StrictModel

GENERATOR_FILE = "generator.onnx"
CARD_FILE = "card.json"
SAMPLES_FILE = "samples.png"

MAX_CARD_BYTES: Final = 4 * 2**20
MAX_GENERATOR_BYTES: Final = 2**31 - 1
"""Protobuf's own limit, and the most memory that reading a bundle takes, but for the card."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleError(Exception):
    """A bundle is missing, broken, or does not fit its card."""


class BundleUnreadableError(BundleError):
    """A bundle's files could not be read, but may be later: no permission, too many open files, a lost mount."""


class ImageSpec(StrictModel):
    """The shape of a generator's images: uint8 [height, width, channels].

    1 channel is grey, 3 are RGB, 4 are RGBA with straight alpha.
    """

    # Before the service is ready, it draws noise for up to 512 images and generates FIGMENT_MAX_BATCH of them.
    # A card without limits could make it take any amount of memory there.
    height: int = Field(ge=1, le=8192)
    width: int = Field(ge=1, le=8192)
    channels: Literal[1, 3, 4]


class DatasetRecord(StrictModel):
    """The data set that a generator was trained on."""

    name: str
    fingerprint: Sha256
    images: int = Field(ge=1)


class InitialRecord(StrictModel):
    """The trained networks that a training started from."""

    name: str = Field(description="the name that the other training had in its settings")
    dataset: DatasetRecord = Field(description="the images that they had been trained on")
    images_seen: int = Field(ge=1, description="images that they had seen, those of earlier trainings included")
    weights: Sha256 = Field(description="of all their weights and buffers")


class TrainingRecord(StrictModel):
    """The training that a generator comes from."""

    dataset: DatasetRecord
    configuration: dict[str, JsonValue]
    seed: int = Field(ge=0)
    images_seen: int = Field(ge=0)
    source_revision: str | None = Field(description="git commit of the trainer, where it ran from a checkout")
    initial: InitialRecord | None = Field(
        default=None,
        exclude_if=lambda record: record is None,  # so services of version 0.1 can read the other cards
        description="the trained networks that it started from; absent if they were random",
    )


class Score(StrictModel):
    """One score of a generator, with the protocol that makes it comparable."""

    metric: str
    value: float
    judge: str
    samples: int = Field(ge=1)
    floor: float | None = Field(description="the same metric for real images against real images, at the same count")
    ceiling: float | None = Field(description="the same metric for noise against real images")


class Parity(StrictModel):
    """The difference between ONNX Runtime's images and PyTorch's at export."""

    max_difference: int = Field(ge=0, le=255, description="largest difference of a pixel, in steps of 255")
    batch_sizes: tuple[int, ...]


class TuningRecord(StrictModel):
    """The tuning study that a generator's settings come from."""

    study: str
    trials: int = Field(ge=1, description="number of trials")
    ended_early: int = Field(ge=0, description="trials that ended before their budget was spent")
    images: int = Field(ge=1, description="budget of each trial, in real images seen")
    trial: int = Field(ge=0, description="the trial with these settings; 0 is the preset itself")
    settings: dict[str, JsonValue] = Field(description="settings that differ from the preset")
    judge: str
    objectives: tuple[float, ...] = Field(description="of these settings, on one new seed each; smaller is better")
    preset_objectives: tuple[float, ...] = Field(description="of the preset, on the same seeds")


class OriginRecord(StrictModel):
    """The file of a generator that was trained elsewhere."""

    file: str = Field(description="its name, without its folder")
    sha256: Sha256 | None = Field(description="of that file; null if it was built without one")
    format: Literal["onnx", "torchscript", "torch.export", "factory"]
    producer: str | None = Field(description="the program that wrote it, or the function that built it")
    inputs: dict[str, str] = Field(default={}, description="what each input of its own graph takes")
    output: str = Field(default="", description="what its own graph returns, and how that becomes pixels")
    frozen: tuple[str, ...] = Field(
        default=(), description="its random operators and inputs that have become constants"
    )
    frozen_seed: int | None = Field(default=None, ge=0, description="the seed of these constants")


class Card(StrictModel):
    """The properties of a generator: the content of ``card.json``."""

    schema_version: Literal[1] = 1
    name: Name
    version: int = Field(ge=1, le=2**53 - 1, description="a larger number would change in a client's JSON parser")
    created: AwareDatetime
    architecture: str
    noise_dim: int = Field(ge=1, le=65536)
    labels: tuple[str, ...] | None = Field(min_length=1, description="label names in order, or null if unconditional")
    image: ImageSpec
    sha256: Sha256 = Field(description=f"of {GENERATOR_FILE}")
    opset: int
    precision: Literal["fp32", "fp16"]
    batch_size: int | None = Field(
        default=None,
        ge=1,
        exclude_if=lambda size: size is None,  # so services of version 0.1 can read the other cards
        description="the only number of images that the graph generates at once; absent if it takes any",
    )
    training: TrainingRecord | None = Field(description="null if the generator was trained elsewhere")
    origin: OriginRecord | None = Field(
        default=None,
        exclude_if=lambda record: record is None,
        description="the file of a generator that was trained elsewhere; absent if it was trained here",
    )
    tuning: TuningRecord | None = None
    scores: tuple[Score, ...] = ()
    parity: Parity | None = Field(description="null if the generator was not run in its own framework")
    licence: str
    intended_use: str

    @property
    def num_labels(self) -> int:
        """Returns the number of labels, 0 if the generator is unconditional."""
        return len(self.labels or ())


@dataclass(frozen=True)
class Tensor:
    """An input or output of an ONNX graph. An int in ``shape`` is a fixed size, anything else a dynamic size."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]

    def __str__(self) -> str:
        sizes = ", ".join(str(size) if isinstance(size, int) else "N" for size in self.shape)
        return f"{self.name} {self.dtype} [{sizes}]"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle: its card, and the graph's bytes, which have the card's hash."""

    card: Card
    onnx: bytes


def expected_inputs(card: Card) -> tuple[Tensor, ...]:
    """Returns the graph inputs that a card requires."""
    count = card.batch_size or "N"
    noise = Tensor("noise", "float32", (count, card.noise_dim))
    label = (Tensor("label", "int64", (count,)),) if card.labels else ()
    return (noise, *label, Tensor("truncation", "float32", (count,)))


def expected_outputs(card: Card) -> tuple[Tensor, ...]:
    """Returns the graph output that a card requires."""
    image = card.image
    return (Tensor("images", "uint8", (card.batch_size or "N", image.height, image.width, image.channels)),)


def check_signature(card: Card, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
    """Raises ``BundleError`` unless a graph has the inputs and outputs that its card requires, in any order."""
    for kind, found, expected in (
        ("inputs", inputs, expected_inputs(card)),
        ("outputs", outputs, expected_outputs(card)),
    ):
        has, wants = sorted(map(str, found)), sorted(map(str, expected))
        if has != wants:
            raise BundleError(
                f"{card.name}/{card.version}: the {kind} of {GENERATOR_FILE} are {'; '.join(has) or 'none'}, "
                f"but its card asks for {'; '.join(wants)}"
            )


def read_bundle(folder: Path) -> Bundle:
    """Reads and verifies ``NAME/VERSION/``: the card, its name and version, the graph's hash, and that it stands alone.

    Links are followed within the folder of bundles, which is the parent of ``NAME``. The caller verifies the graph's
    signature once it has opened the graph: see ``check_signature``.

    Raises ``BundleError``, or its subclass ``BundleUnreadableError`` if the files exist but cannot be read.
    """
    label = f"{folder.parent.name}/{folder.name}"
    text = _read_file(folder, CARD_FILE, MAX_CARD_BYTES)
    card = parse_card(text, folder.parent.name, folder.name)
    onnx = _read_file(folder, GENERATOR_FILE, MAX_GENERATOR_BYTES)
    digest = hashlib.sha256(onnx).hexdigest()
    if digest != card.sha256:
        raise BundleError(
            f"{label}: {GENERATOR_FILE} has been changed: its SHA-256 is {digest[:12]}…, "
            f"its card says {card.sha256[:12]}…"
        )
    try:
        check_stands_alone(onnx)
    except OnnxFileError as error:
        raise BundleError(f"{label}: {GENERATOR_FILE} {error}") from error
    return Bundle(card, onnx)


def parse_card(text: bytes, name: str, version: str) -> Card:
    """Returns the card of the bundle ``NAME/VERSION``. Raises ``BundleError`` if it is invalid or another bundle's."""
    label = f"{name}/{version}"
    try:
        card = Card.model_validate_json(text)
    except ValidationError as error:
        raise BundleError(f"{label}: {CARD_FILE} is not a valid card: {_first_error(error)}") from error
    try:
        json.dumps(card.model_dump(mode="json"), allow_nan=False)
    except ValueError as error:  # ``GET /models`` could not write it
        raise BundleError(f"{label}: {CARD_FILE} holds NaN or an infinite number, which JSON does not have") from error
    if (card.name, str(card.version)) != (name, version):
        raise BundleError(f"{label}: its card says {card.name}/{card.version}; the folder must be named like that")
    return card


def _read_file(folder: Path, name: str, limit: int) -> bytes:
    """Returns the content of a bundle's file. Opens nothing but a regular file below the folder of bundles.

    A link to a pipe or a device would block for ever or fill the memory.

    Raises ``BundleError`` if there is none, or if it has more than ``limit`` bytes.
    """
    label = f"{folder.parent.name}/{folder.name}"
    path, root = (Path(os.path.realpath(place)) for place in (folder / name, folder.parent.parent))
    if not path.is_relative_to(root):
        # Not for good: in the middle of a swap, the two paths above may belong to different states.
        raise BundleUnreadableError(
            f"{label}: {name} is a link out of the folder of bundles; copy the bundle into that folder"
        )
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BundleError(f"{label}: {name} is not a regular file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BundleError(f"{label}: {name} has {size} bytes, and {limit} are the most that are read")
            return file.read(size)
    except OSError as error:
        kind = BundleError if isinstance(error, FileNotFoundError) else BundleUnreadableError
        named = name if error.filename else "its files"  # a failed read names no file
        raise kind(f"{label}: cannot read {named} ({error.strerror})") from error


def next_version(root: Path, name: str) -> int:
    """Returns the next free version of a model below ``root``: the newest plus one, or 1."""
    taken = (int(path.name) for path in (root / name).glob("*") if path.name.isdecimal())
    return max(taken, default=0) + 1


def write_bundle(root: Path, card: Card, onnx: bytes, samples_png: bytes) -> Path:
    """Writes ``root/NAME/VERSION/`` completely or not at all, and returns that folder.

    Raises ``BundleError`` if that version exists or the graph does not have the card's hash.
    """
    if hashlib.sha256(onnx).hexdigest() != card.sha256:
        raise BundleError(f"{card.name}/{card.version}: the card's SHA-256 is not that of the graph")
    target = root / card.name / str(card.version)
    if target.exists():
        raise BundleError(f"{card.name}/{card.version} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    text = (card.model_dump_json(indent=2) + "\n").encode()
    with draft_folder(target) as draft:
        for name, content in ((GENERATOR_FILE, onnx), (CARD_FILE, text), (SAMPLES_FILE, samples_png)):
            with (draft / name).open("wb") as file:
                file.write(content)
                sync(file)
    return target


def _first_error(error: ValidationError) -> str:
    first: Any = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])
