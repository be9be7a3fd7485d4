"""Checks, before the first step, that a run can train on its data; reports what the data is."""

import sys
import unicodedata
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from training.config.schema import Config
from training.data.dataset import TrainingImages
from training.data.near_duplicates import near_duplicate_share
from training.data.sources.find import format_counts
from training.data.sources.names import SPLITS
from training.data.split import describe_held_out, held_out_count, training_indices
from training.errors import TrainingError

CHECKED_IMAGES = 1000
FEW_IMAGES = 100
"""Number of images of the smallest sets in the papers on small sets: DiffAugment (Zhao et al. 2020, arXiv:2006.10738),
FastGAN (Liu et al. 2021, arXiv:2101.04775)."""
MANY_NEAR_DUPLICATES = 0.1
"""Share of images that nearly equal another one, from which on a run is told of it. MNIST has 0.06: its ones."""
UNEVEN_LABELS = 10
"""How many times as many images as the rarest label the most frequent one has, from which on a run is told of it."""
_LABELS_SHOWN = 12
_FEW = (
    f"of fewer than {FEW_IMAGES} images a generator learns little but copies. Add images, or start from a run on "
    "similar ones: --init-from RUN"
)


def check_data(config: Config, data: TrainingImages, needed_by_judge: int = 0) -> None:
    """Raises ``TrainingError`` if a run cannot train on this data, or its judge needs more images."""
    if config.conditional and data.label_names is None:
        raise TrainingError(
            "the configuration is conditional but the data has no labels; put the images into one folder per "
            "label, add a column 'label', or add --set conditional=false"
        )
    if config.data.balance and data.labels is None:
        raise TrainingError(
            "data.balance draws every label equally often, but the data has no labels; put the images into one folder "
            "per label, add a column 'label', or add --set data.balance=false"
        )
    if config.conditional and data.labels is not None:
        used = len(np.unique(data.labels))
        if used == 1:
            raise TrainingError(
                "the configuration is conditional but every image has the same label; add --set conditional=false"
            )
        unused = [name for index, name in enumerate(data.label_names or ()) if index not in data.labels]
        if unused:
            raise TrainingError(f"no image has the label {unused[0]!r}: a generator could not learn what it means")
        trained = data.labels[training_indices(len(data), config.data.holdout)]
        unseen = [name for index, name in enumerate(data.label_names or ()) if index not in trained]
        if unseen:
            raise TrainingError(
                f"every image with the label {unseen[0]!r} would be held out from the generator; add images of it, or "
                "train on all: --set data.holdout=0"
            )
    _check_enough(config, data, needed_by_judge)
    checked = data.images[np.linspace(0, len(data) - 1, min(len(data), CHECKED_IMAGES), dtype=np.int64)]
    if (checked == checked[0]).all():
        raise TrainingError("all images are the same; there is nothing to learn")
    if config.data.channels == 3 and _is_grey(checked):
        print(
            "every image looked at is grey: --set data.channels=1 would spare the networks two channels",
            file=sys.stderr,
        )
    if config.data.channels == 4 and (checked[..., 3] == 255).all():
        print(
            "every image looked at is opaque: --set data.channels=3 would spare the networks a channel",
            file=sys.stderr,
        )


def _check_enough(config: Config, data: TrainingImages, needed_by_judge: int) -> None:
    """Raises one error for everything that needs more images, with the settings that do without them."""
    held_out = held_out_count(len(data), config.data.holdout)
    training = len(data) - held_out
    reasons, remedies = [], []
    if training < config.batch_size:
        hidden = f" once {held_out} are held out" if held_out else ""
        reasons.append(f"fewer than one batch of {config.batch_size}{hidden}")
        fitting = 2 ** (training.bit_length() - 1)
        remedies.append(f"lower batch_size{f': --set batch_size={fitting}' if fitting > 1 else ''}")
    if config.judge and len(data) < needed_by_judge:
        reasons.append(
            f"fewer than the {needed_by_judge} that a judge needs, half to learn from and half to compare with"
        )
        remedies.append("train without scores: --set judge=null")
    if reasons:
        raise TrainingError(
            f"the data holds {_count(len(data), 'image')}, {' and '.join(reasons)}; {', and '.join(remedies)}"
            f"{f'; {_FEW}' if len(data) < FEW_IMAGES else ''}"
        )


def warn_few_images(data: TrainingImages) -> None:
    """Prints what to expect of fewer images than ``FEW_IMAGES``."""
    if len(data) < FEW_IMAGES:
        print(f"{_count(len(data), 'image')} only: {_FEW}", file=sys.stderr)


def warn_near_duplicates(data: TrainingImages, holdout: float) -> None:
    """Prints how many images nearly equal another one, what that means, and what to do, if they are many."""
    share = near_duplicate_share(data.images)
    if share < MANY_NEAR_DUPLICATES:
        return
    if held_out_count(len(data), holdout):
        meaning = "images held out have near copies among those trained on, so copies and nearest_ratio miss memorising"
    else:
        meaning = "the generator sees few different images, and learns them by heart sooner"
    print(
        f"about {round(share * len(data))} of {len(data)} images nearly equal another one, in another size, file or "
        f"colour: {meaning}. Keep one of each such group",
        file=sys.stderr,
    )


def warn_uneven_labels(config: Config, data: TrainingImages) -> None:
    """Prints how uneven the labels of a conditional run are, if one has ``UNEVEN_LABELS`` times as many as another."""
    if not config.conditional or data.labels is None or data.label_names is None:
        return
    counts = np.bincount(data.labels, minlength=len(data.label_names))
    rarest, commonest = int(counts.argmin()), int(counts.argmax())
    times = counts[commonest] / counts[rarest]
    if times < UNEVEN_LABELS:
        return
    images = _count(int(counts[rarest]), "image")
    told = f"labels are uneven: {data.label_names[commonest]!r} has {counts[commonest]} images, "
    told += f"{data.label_names[rarest]!r} {images}"
    if config.data.balance:
        told += f"; data.balance shows each of those {times:.0f} times as often, so expect copies of them"
    else:
        told += f" and is seen {times:.0f} times less often: --set data.balance=true draws all labels equally often"
    print(told, file=sys.stderr)


def _is_grey(images: NDArray[np.uint8]) -> bool:
    return bool((images[..., 0] == images[..., 1]).all() and (images[..., 1] == images[..., 2]).all())


def report_data(data: TrainingImages, holdout: float = 0) -> None:
    """Prints what was found in DATA in one line, and the files that cannot be decoded.

    ``holdout`` is the share of the images that the generator does not get to see.
    """
    print(summary(data, holdout), file=sys.stderr)
    warn_unreadable(data)


def summary(data: TrainingImages, holdout: float = 0) -> str:
    """Returns in one line the images, their labels, the conversions, what was skipped, and what is held out."""
    parts = [f"{data.name}: {_count(len(data), 'image')}, {_describe_labels(data)}"]
    if data.converted:
        parts.append(f"converted: {format_counts(data.converted)}")
    broken = {"broken": len(data.broken)} if data.broken else {}
    if skipped := {**data.skipped, **broken}:
        parts.append(f"passed over: {format_counts(skipped)}")
    if held_out := describe_held_out(len(data), holdout):
        parts.append(f"held out from the generator: {held_out}")
    return "; ".join(parts)


def _describe_labels(data: TrainingImages) -> str:
    if data.labels is None or data.label_names is None:
        return "no labels"
    counts = np.bincount(data.labels, minlength=len(data.label_names)).tolist()
    shown = [f"{name} {count}" for name, count in zip(data.label_names, counts, strict=True)]
    if len(shown) > _LABELS_SHOWN:
        shown = [*shown[: _LABELS_SHOWN - 1], "…", shown[-1]]
    if all(name.casefold() in SPLITS for name in data.label_names):
        shown.append("named like parts of a data set: for one of them, give its folder as DATA")
    alike = Counter(unicodedata.normalize("NFKC", name).strip().casefold() for name in data.label_names)
    similar = [name for name in data.label_names if alike[unicodedata.normalize("NFKC", name).strip().casefold()] > 1]
    if similar:
        shown.append(f"nearly the same name: {', '.join(map(repr, similar[:_LABELS_SHOWN]))}")
    return f"{_count(len(data.label_names), 'label')} ({', '.join(shown)})"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def warn_unreadable(data: TrainingImages) -> None:
    """Prints the first ten files that cannot be decoded."""
    if data.broken:
        shown = "".join(f"\n  {reason}" for reason in data.broken[:10])
        more = f"\n  … and {len(data.broken) - 10} more" if len(data.broken) > 10 else ""
        print(f"passed over {len(data.broken)} files that cannot be decoded:{shown}{more}", file=sys.stderr)
