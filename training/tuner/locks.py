"""The locks of a study are those of runs."""

from training.locks import FileLock

__all__ = ["FileLock"]
