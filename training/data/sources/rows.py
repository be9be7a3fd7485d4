"""Rows of encoded images with their labels: what every kind of source provides."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any] | None
"""``bytes`` (an encoded image, or None) and ``path`` (its file, or None); None for a missing image."""


@dataclass(frozen=True)
class Rows:
    """Encoded images in order."""

    images: Iterable[Row]
    count: int
    labels: NDArray[np.int64] | None
    """int64 [N], positions in ``label_names``; None without labels."""
    label_names: list[str] | None
    sample: Callable[[int], list[Row]]
    """Returns at most so many images from all parts of the source, since images are often sorted by label."""


def spread(count: int, wanted: int) -> list[int]:
    """Returns at most ``wanted`` of the positions 0 … count - 1, evenly spread, ascending, each once."""
    return [int(position) for position in np.linspace(0, count - 1, min(count, wanted), dtype=np.int64)]


def one_line(error: BaseException) -> str:
    """Returns an error's text in one line of at most 300 characters, or its type if it has no text."""
    return " ".join(str(error).split())[:300] or type(error).__name__
