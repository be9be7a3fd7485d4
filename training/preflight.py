"""What is looked at before the first step: whether a run can train on this data at all."""

import sys

import numpy as np

from training.config import Config
from training.data import TrainingImages
from training.errors import TrainingError

LOOKED_AT = 1000


def check_data(config: Config, data: TrainingImages) -> None:
    """Raises ``TrainingError`` if a run cannot train on this data."""
    if config.conditional and data.label_names is None:
        raise TrainingError(
            "the configuration is conditional but the data has no labels; put the images into one sub-folder per "
            "label, add a column 'label', or add --set conditional=false"
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
    if len(data) < config.batch_size:
        raise TrainingError(
            f"the data holds {len(data)} images, fewer than one batch of {config.batch_size}; lower batch_size"
        )
    some = data.images[np.linspace(0, len(data) - 1, min(len(data), LOOKED_AT), dtype=np.int64)]
    if (some == some[0]).all():
        raise TrainingError("all images are the same; there is nothing to learn")
    if config.data.channels == 3 and (some[..., 0] == some[..., 1]).all() and (some[..., 1] == some[..., 2]).all():
        print(
            "every image looked at is grey: --set data.channels=1 would spare the networks two channels",
            file=sys.stderr,
        )


def tell_broken(data: TrainingImages) -> None:
    """Names the files that were passed over."""
    if data.broken:
        shown = "".join(f"\n  {reason}" for reason in data.broken[:10])
        more = f"\n  … and {len(data.broken) - 10} more" if len(data.broken) > 10 else ""
        print(f"passed over {len(data.broken)} files that cannot be decoded:{shown}{more}", file=sys.stderr)
