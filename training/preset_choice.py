"""Chooses the preset of a run that names none, and the settings to lay over it: by its images and its device.

``RULES`` is the table of presets, in order of precedence. Everything else follows from the images' size and labels.
"""

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from training.config.files import apply_settings, error_messages, load_config, value_at
from training.config.schema import DataConfig
from training.data.checks import UNEVEN_LABELS
from training.data.sources.names import SPLITS
from training.data.survey import Survey, survey_images
from training.errors import TrainingError

MIN_IMAGES_PER_LABEL = 100
"""Fewest images of a label that a generator can learn.

On small sets, labels make a GAN collapse that learns well without them (Shahbazi et al. 2022, arXiv:2201.06578).
"""
MAX_RARE_SHARE = 0.05
"""Largest share of images with rarer labels in a conditional run.

Of 3 786 emoji, 2 % have such labels. With all ten labels, ``sprites`` halved its distance: docs/small-data.md.
"""
MAX_LABELS = 1000
"""Most labels of a conditional run: ImageNet's, the most that the papers behind the networks train on."""
MANY_IMAGES = 10_000
"""Images from which on a preset for large sets, without DiffAugment, is chosen."""

_SMALL = 32
"""Largest side of the small images that have presets of their own."""
_SMALL_PHOTOS_R1 = 0.5
"""R1's weight of ``photos`` for small images: a quarter of the preset's, which is for 64 × 64.

A discriminator that sees the same at half the side has the same slope over a quarter of the pixels, so the squared norm
of its gradient is four times as large.
"""
_CPU_SIDE = 64
"""Largest side on a CPU: with twice the side a step takes four times as long."""
_GPU_SIDES = {128: 8 * 2**30, 256: 16 * 2**30}
"""Side → bytes of memory from which on a GPU trains it; with less, ``_CPU_SIDE``."""
_PRESET_SIDES = {"faces64": 64}
"""Preset → the side that its networks and its budget are for."""
_MIN_SIDE = 8
_REACHED = 7 / 8
"""Share of a side from which on images are taken for it, such as MNIST's 28 for 32, and 250 for 256."""


class Seen(NamedTuple):
    """What the choice depends on."""

    survey: Survey
    gpu_memory: int | None
    """In bytes; None on a CPU."""

    @property
    def small(self) -> bool:
        """Whether the images fit into 32 × 32 pixels."""
        return _largest_side(self.survey.short_side, _CPU_SIDE) <= _SMALL

    @property
    def many(self) -> bool:
        """Whether there are enough images to train without DiffAugment."""
        return self.survey.images >= MANY_IMAGES

    @property
    def most_transparent(self) -> bool:
        """Whether more than half of the images are transparent somewhere."""
        return self.survey.transparent > 0.5

    @property
    def most_drawn(self) -> bool:
        """Whether more than half of the images have few colours, as icons and pixel art."""
        return self.survey.drawn > 0.5


class Rule(NamedTuple):
    """A preset, and the images and devices that it is for."""

    preset: str
    fits: Callable[[Seen], bool]
    reason: str


RULES = (
    Rule("sprites", lambda seen: seen.most_transparent, "for drawings on transparency"),
    Rule("digits", lambda seen: seen.survey.grey and seen.small, "for small grey images"),
    Rule("sprites", lambda seen: seen.most_drawn, "for drawings of few colours"),
    Rule("photos", lambda seen: not seen.many, f"for fewer than {MANY_IMAGES} photographs"),
    Rule("cifar10", lambda seen: seen.small and seen.gpu_memory is not None, "for small colour images on a GPU"),
    Rule("cifar10-small", lambda seen: seen.small, "for small colour images on a CPU"),
    Rule(
        "faces64",
        lambda seen: seen.gpu_memory is not None and not seen.survey.grey,
        f"for {MANY_IMAGES} images and more on a GPU",
    ),
    Rule("photos", lambda seen: True, "for photographs"),
)
"""The first rule that fits decides. The last one always does."""


@dataclass(frozen=True)
class Choice:
    """A preset, the settings to lay over it, and why."""

    preset: str
    settings: dict[str, Any]
    """Dotted key → value. The preset may have the same value."""
    reasons: tuple[str, ...]


def choose_preset(seen: Survey, gpu_memory: int | None) -> Choice:
    """Returns the preset and the settings for images, on a GPU of so many bytes or, with None, on the CPU."""
    facts = Seen(seen, gpu_memory)
    rule = next(rule for rule in RULES if rule.fits(facts))
    reasons = [rule.reason]
    channels = 4 if facts.most_transparent else 1 if seen.grey else 3
    limits = {"a CPU" if gpu_memory is None else "this GPU": _device_limit(gpu_memory)}
    if rule.preset in _PRESET_SIDES:
        limits[rule.preset] = _PRESET_SIDES[rule.preset]
    limited_by = min(limits, key=lambda name: limits[name])
    side = _largest_side(seen.short_side, limits[limited_by])
    if side < _largest_side(seen.short_side, max(_GPU_SIDES)):
        reasons.append(f"at {side} × {side} pixels, the most for {limited_by}")
    conditional, why_not = _can_condition(seen)
    if why_not:
        reasons.append(why_not)
    settings: dict[str, Any] = {
        "data.resolution": side,
        "data.channels": channels,
        "conditional": conditional,
    }
    if seen.size != (side, side):  # else nothing is to be fitted, and the preset's own way will do
        settings["data.fit"] = "pad" if _can_pad(seen, side) else "crop"
    counts = seen.labels.values() if conditional and seen.labels else ()
    # Few images, drawn as often as others, would be learned by heart.
    if counts and min(counts) >= MIN_IMAGES_PER_LABEL and max(counts) >= UNEVEN_LABELS * min(counts):
        settings["data.balance"] = True
        reasons.append("labels are uneven, so they are drawn equally often")
    if rule.preset == "photos" and side <= _SMALL:
        settings["regularization.r1"] = _SMALL_PHOTOS_R1
        reasons.append(f"with a weaker R1, as it suits {_SMALL} × {_SMALL} pixels")
    if seen.grey and rule.preset == "photos":
        settings["augmentation.flip"] = False
        reasons.append("grey images are often writing or scans, which have no mirror image")
    return Choice(rule.preset, settings, tuple(reasons))


def _device_limit(gpu_memory: int | None) -> int:
    """Returns the largest side that a device trains in reasonable time."""
    sides = [side for side, needed in _GPU_SIDES.items() if gpu_memory is not None and gpu_memory >= needed]
    return max([_CPU_SIDE, *sides])


def _largest_side(short_side: int, limit: int) -> int:
    """Returns the largest power of two up to ``limit`` that images of this size reach."""
    side = limit
    while side > _MIN_SIDE and short_side < _REACHED * side:
        side //= 2
    return side


def _can_pad(seen: Survey, side: int) -> bool:
    """Returns whether the images have one size up to the side, and a ground that the padding continues."""
    return seen.size is not None and max(seen.size) <= side and seen.empty_corners > 0.5


def _can_condition(seen: Survey) -> tuple[bool, str | None]:
    """Returns whether the labels can condition a generator, and why not if there are any."""
    labels = seen.labels
    if labels is None:
        return False, None
    rarest = min(labels, key=lambda name: labels[name])
    if all(name.casefold() in SPLITS for name in labels):
        return False, f"without labels, since {', '.join(labels)} are parts of a data set"
    if not 2 <= len(labels) <= MAX_LABELS:
        return False, f"without labels, since there are {len(labels)} and not 2 to {MAX_LABELS}"
    rare = sum(count for count in labels.values() if count < MIN_IMAGES_PER_LABEL) / sum(labels.values())
    if rare > MAX_RARE_SHARE:
        return False, (
            f"without labels, since {rare:.0%} of the images have one of fewer than {MIN_IMAGES_PER_LABEL} images, "
            f"such as {rarest!r} with {labels[rarest]}"
        )
    return True, None


def choose_and_report(
    data: str, settings: list[str], gpu_memory: int | None, options: list[str]
) -> tuple[str, list[str]]:
    """Looks at DATA, and returns a preset and the settings to lay over it: those chosen, then those given.

    Prints the choice with its reasons, and the command that names it, with its other ``options``. Settings that are
    given are not chosen. Raises ``TrainingError``.
    """
    given: dict[str, Any] = {}
    apply_settings(given, settings)
    survey = survey_images(data, _reading(given))
    # Who sets `conditional` has decided about labels, and so about balance.
    labels = survey.labels if value_at(given, "conditional") is None else None
    choice = choose_preset(replace(survey, labels=labels), gpu_memory)
    chosen = [f"{key}={str(value).lower()}" for key, value in _changes(choice) if value_at(given, key) is None]
    named = [option for setting in (*chosen, *settings) for option in ("--set", setting)]
    print(_describe(survey, choice, gpu_memory), file=sys.stderr)
    command = ["python", "-m", "training", "fit", choice.preset, "--data", data, *options, *named]
    print(f"the same run by name: {shlex.join(command)}", file=sys.stderr, flush=True)
    return choice.preset, [*chosen, *settings]


def _reading(given: dict[str, Any]) -> DataConfig:
    """Returns how to read DATA: as the settings say, and with all channels."""
    columns = {
        key: value for key in ("labels", "image_column", "label_column") if (value := value_at(given, f"data.{key}"))
    }
    try:
        return DataConfig(resolution=_CPU_SIDE, channels=4, fit="crop", **columns)
    except ValidationError as error:
        raise TrainingError("; ".join(f"data.{message}" for message in error_messages(error))) from error


def _changes(choice: Choice) -> Iterator[tuple[str, Any]]:
    """Yields the choice's settings that its preset does not have by itself."""
    own = load_config(choice.preset).model_dump()
    yield from ((key, value) for key, value in choice.settings.items() if value_at(own, key) != value)


def _describe(survey: Survey, choice: Choice, gpu_memory: int | None) -> str:
    size = f"{survey.size[0]} × {survey.size[1]} pixels" if survey.size else f"sizes around {survey.short_side} pixels"
    colours = f"{survey.transparent:.0%} transparent" if survey.transparent else "grey" if survey.grey else "in colour"
    labels = f"{len(survey.labels)} labels" if survey.labels else "no labels"
    return (
        f"no preset is named; {survey.name} holds {survey.images} images ({size}, {colours}, {labels}) and this "
        f"machine {'no GPU' if gpu_memory is None else 'a GPU'}, so the preset is {choice.preset}, "
        f"{'; '.join(choice.reasons)}"
    )
