"""What any source of images comes down to: rows of encoded images, and their labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any] | None
"""``bytes`` of an encoded image or None, and ``path`` of its file or None; None where the image is missing."""


@dataclass(frozen=True)
class Rows:
    """Encoded images in order."""

    images: Iterable[Row]
    count: int
    labels: NDArray[np.int64] | None
    """int64 [N], positions in ``label_names``."""
    label_names: list[str] | None


def one_line(error: BaseException) -> str:
    """An error's text in one line of at most 300 characters, or its type."""
    return " ".join(str(error).split())[:300] or type(error).__name__
