"""Errors that end a command with one line for the user."""


class TrainingError(Exception):
    """An error that the user can fix. Its text says in one sentence what is wrong and what to do."""


class DivergenceError(TrainingError):
    """Training diverged (NaN or Inf): its weights are unusable, and further training cannot repair them."""


class LostProcessError(TrainingError):
    """Another training process has ended. Usually that process reports the reason."""
