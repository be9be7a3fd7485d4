"""Files that are there whole or not at all."""

import os
import tempfile
from pathlib import Path

from training.errors import TrainingError


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file under a passing name and renames it; makes the folder. Raises ``TrainingError`` if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            Path(draft).chmod(0o644)
            Path(draft).replace(path)
        finally:
            Path(draft).unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot write {path} ({error.strerror})") from error
