"""Reads files of tensors that may come from strangers: runs no code, and takes no more memory than they have bytes."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError

_LONGEST_REASON = 200


def read_tensors(path: Path) -> dict[str, Any]:
    """Returns the content of a file that ``torch.save`` wrote, on the CPU.

    Raises ``FileNotFoundError``, and ``TrainingError`` for a file that is damaged, holds anything but tensors and plain
    values, or would take more memory than it has bytes.
    """
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict):
            raise ValueError("it holds no tensors by name")
        _check_tensors(content)
    except FileNotFoundError:
        raise
    except Exception as error:  # torch.load raises whatever its archive reader does
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise TrainingError(f"cannot read {path} ({reason})") from error
    return content


def _check_archive(path: Path) -> None:
    """Raises ``ValueError`` unless the file is an archive as ``torch.save`` writes it.

    Nothing in it is compressed, and every part has its checksum.
    """
    if not path.is_file():
        raise FileNotFoundError(path) if not path.exists() else ValueError("it is not a regular file")
    if not zipfile.is_zipfile(path):
        raise ValueError("it is cut off, or was not written by torch.save")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("its content is compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its parts overlap: they have more bytes than the file")
        damaged = archive.testzip()  # torch.load compares no checksums: a flipped bit would be another weight
    if damaged is not None:
        raise ValueError(f"it is damaged: {damaged} in it does not have its checksum")


def _check_tensors(content: Any) -> None:
    """Raises ``ValueError`` if a tensor is larger than its storage, as ``expand`` makes it."""
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple):
            pending += value
        elif isinstance(value, torch.Tensor) and value.layout == torch.strided:
            if value.numel() * value.element_size() > value.untyped_storage().nbytes():
                raise ValueError(f"it holds a tensor of shape {list(value.shape)} with fewer values than that")
        elif isinstance(value, torch.Tensor):
            raise ValueError("it holds a sparse tensor")
