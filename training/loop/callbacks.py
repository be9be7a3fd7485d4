"""Callbacks of the training loop: reporting, drawing, scoring and saving happen in them."""

from types import TracebackType

from training.loop.treatment import Decision


class Callback:
    """Does nothing at every event. All processes but the first use it as it is."""

    def __enter__(self) -> "Callback":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        """Runs at every tick, with the means of the metrics since the last one."""

    def row(self, images_seen: int, number: int, signals: dict[str, float]) -> None:
        """Runs at every row of the doctor's signals, after the tick; ``signals`` are fields of ``Signals``."""

    def decide(self, images_seen: int) -> Decision | None:
        """Returns what the loop is to do about the run after this row, if anything. Runs if the doctor may act."""

    def diverged(self, images_seen: int) -> Decision | None:
        """Returns what the loop is to do about weights that are NaN or infinite. Runs if the doctor may treat."""

    def step(self, before: int, images_seen: int) -> None:
        """Runs after every step, and after the tick if there is one; ``before`` is ``images_seen`` before the step."""

    def finish(self) -> None:
        """Runs once at the end, if the budget is spent or a signal has stopped the run."""


def passed_multiple(before: int, after: int, every: int) -> bool:
    """Returns whether a count that went from ``before`` to ``after`` passed a multiple of ``every``."""
    return before // every != after // every
