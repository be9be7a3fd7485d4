"""What the trainer says to a person when it cannot go on."""


class TrainingError(Exception):
    """Something the user can mend; its text is one sentence that says what and how."""


class DivergenceError(TrainingError):
    """The settings have led a run astray: its weights are spoilt, and more training cannot mend them."""


class LostProcessError(TrainingError):
    """Another of the processes that train together has ended; mostly that one has said why."""
