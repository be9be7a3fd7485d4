"""All processes stop after the same step, whichever of them is asked to."""

from collections.abc import Callable

import pytest
import torch

from training.parallel.agreement import StopAgreement
from training.parallel.distributed import Processes


class Group:
    """Answers the questions of two processes that take turns, as a reduction in the background does."""

    def __init__(self) -> None:
        self.questions: list[list[bool]] = [[], []]

    def process(self, rank: int) -> Processes:
        group = self

        class Member(Processes):
            def begin_any(self, flag: bool) -> Callable[[], bool]:
                group.questions[rank].append(flag)
                number = len(group.questions[rank]) - 1

                def answer() -> bool:
                    assert all(len(asked) > number for asked in group.questions), "it would wait for ever"
                    return any(asked[number] for asked in group.questions)

                return answer

        return Member(rank, 2, torch.device("cpu"))


@pytest.mark.parametrize("asked", [0, 1])
def test_both_stop_one_step_after_the_request(asked: int) -> None:
    group = Group()
    members = [StopAgreement(group.process(rank)) for rank in range(2)]
    stopped: list[list[int]] = [[], []]
    for step in range(6):
        for rank in (step % 2, 1 - step % 2):  # either one may be ahead
            if not stopped[rank] and members[rank].reached(requested=rank == asked and step >= 2):
                stopped[rank].append(step)
    assert stopped == [[3], [3]]
    for member in members:
        member.close()


def test_one_process_stops_at_once() -> None:
    alone = StopAgreement(Processes(0, 1, torch.device("cpu")))
    assert not alone.reached(requested=False)
    assert alone.reached(requested=True)
