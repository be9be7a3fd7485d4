"""Callbacks of the training loop: reporting, drawing, scoring and saving happen in them."""

from types import TracebackType


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

    def step(self, before: int, images_seen: int) -> None:
        """Runs after every step, and after the tick if there is one; ``before`` is ``images_seen`` before the step."""

    def finish(self) -> None:
        """Runs once at the end, if the budget is spent or a signal has stopped the run."""


def passed_multiple(before: int, after: int, every: int) -> bool:
    """Returns whether a count that went from ``before`` to ``after`` passed a multiple of ``every``."""
    return before // every != after // every
