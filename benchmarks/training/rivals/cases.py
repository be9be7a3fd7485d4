"""The data sets of the comparison."""

import dataclasses
from dataclasses import dataclass

from training.config.schema import DataConfig
from training.data.dataset import TrainingImages, load_images
from training.data.split import judge_split
from training.errors import TrainingError


@dataclass(frozen=True)
class Case:
    """A data set, as the contenders without settings of their own see it, and as it is judged."""

    name: str
    title: str
    source: str
    """The option of the command that says where its images are."""
    data: DataConfig
    conditional: bool
    """Whether the StyleGAN2-ADA-like rival gets the labels."""
    preset: str
    preset_settings: tuple[str, ...] = ()
    """What is laid over the preset. Its images must be as large as those of ``data``."""
    images: int | None = None
    """How many images the contenders train on; None = all. They are judged by all images in any case."""


CASES = {
    case.name: case
    for case in (
        Case("mnist", "MNIST", "mnist", DataConfig(resolution=32, channels=1, fit="pad"), True, "digits"),
        Case("cifar10", "CIFAR-10", "cifar10", DataConfig(resolution=32, channels=3, fit="pad"), True, "cifar10-small"),
        Case(
            "cifar10-2000",
            "2 000 images of CIFAR-10",
            "cifar10",
            DataConfig(resolution=32, channels=3, fit="pad"),
            False,
            "photos",
            ("data.resolution=32", "regularization.r1=0.5"),  # as ``fit`` chooses for small photographs
            images=2000,
        ),
        Case(
            "emoji",
            "emoji",
            "emoji",
            DataConfig(resolution=64, channels=3, fit="crop"),
            True,
            "sprites",
            ("conditional=true",),  # as ``fit`` chooses where most folders hold 100 images or more
        ),
    )
}


def training_images(case: Case, source: str, config: DataConfig | None = None) -> TrainingImages:
    """Returns the images that contenders train on, decoded for ``config`` or as the case says.

    Raises ``TrainingError`` if there are too few for the cut, or if the images of ``config`` are of another size or
    hold out another share than those of the other contenders.
    """
    config = config or case.data
    if (config.resolution, config.holdout) != (case.data.resolution, case.data.holdout):
        raise TrainingError(
            f"the preset {case.preset} trains on images of side {config.resolution} and holds {config.holdout:g} of "
            f"them out, and its rivals on {case.data.resolution} and {case.data.holdout:g}: set data.resolution and "
            f"data.holdout in the settings of {case.name} in cases.py"
        )
    data = load_images(source, config)
    return data if case.images is None else _cut(data, case.images)


def judged_images(case: Case, source: str) -> TrainingImages:
    """Returns the images that judge: all of the data set, opaque."""
    return load_images(source, case.data)


def _cut(data: TrainingImages, count: int) -> TrainingImages:
    """Returns ``count`` images of the half that judges neither learn from nor compare with.

    So an image that repeats one of them is no nearer to the judges' images than any other good one.
    """
    unseen = judge_split(len(data))[1]
    if len(unseen) < count:
        raise TrainingError(
            f"{data.name} holds {len(data)} images, and a cut of {count} comes from one half of them: give the whole "
            f"data set, {2 * count} images or more"
        )
    chosen = sorted(unseen[:count])
    return dataclasses.replace(
        data,
        name=f"{data.name}-{count}",
        images=data.images[chosen],
        labels=None if data.labels is None else data.labels[chosen],
    )
