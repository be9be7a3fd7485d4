"""The agreement of several processes to stop after the same step.

A signal reaches each process at another moment, or only one of them. A process that left the loop alone would leave the
others in a collective that it never joins.
"""

from collections.abc import Callable

from training.parallel.distributed import Processes


class StopAgreement:
    """Asks all processes after every step whether one of them has to stop, without waiting for an answer.

    The answer to the question of one step is read after the next. By then it has come in, so asking costs next to
    nothing, and all processes read the same answer after the same step.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._asked: Callable[[], bool] | None = None

    def reached(self, requested: bool, at_once: bool = False) -> bool:
        """Returns whether all processes stop after this step. Every process must call it after every step.

        ``requested`` is whether this process has to stop. Several processes then stop one step later, unless they all
        wait for each other's answer ``at_once``.
        """
        if self._processes.count == 1:
            return requested
        earlier, self._asked = self._asked, self._processes.begin_any(requested)
        answer = earlier() if earlier else False
        if at_once and not answer:
            answer, self._asked = self._asked(), None
        return answer

    def close(self) -> None:
        """Waits for the answer to the last question, so that no message is in flight when the group ends."""
        if self._asked:
            self._asked()
            self._asked = None
