"""Who watches a run: nobody, or the first process, which reports, draws, scores and saves."""

from types import TracebackType


class Callback:
    """Watches and does nothing, as every process but the first."""

    def __enter__(self) -> "Callback":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def tick(self, images_seen: int, means: dict[str, float]) -> None:
        """Takes what was measured since the last tick."""

    def step(self, before: int, images_seen: int) -> None:
        """Is told of every step, after the tick that may come with it."""

    def finish(self) -> None:
        """Is told that the budget is spent, or that the run stops in good order."""


def passed_multiple(before: int, after: int, every: int) -> bool:
    """Whether a count that went from before to after passed a multiple of every."""
    return before // every != after // every
