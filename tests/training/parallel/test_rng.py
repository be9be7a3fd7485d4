"""The parts of a batch draw what the whole batch draws, whoever computes them and however many they are."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from training.parallel.rng import BatchRng

CPU = torch.device("cpu")


def draw(rng: BatchRng, count: int) -> torch.Tensor:
    """Draws as a phase does: several times, in different shapes."""
    return torch.cat([rng.normal(count, 3), rng.uniform(count, 2), rng.normal(count, 1, 4).flatten(1)], 1)


@given(processes=st.integers(1, 3), parts=st.integers(1, 4), size=st.integers(1, 5))
def test_parts_of_shares_draw_what_the_whole_batch_draws(processes: int, parts: int, size: int) -> None:
    alone = BatchRng(7, CPU)
    whole, following = draw(alone, processes * parts * size), alone.normal(processes, 2)
    drawn, followed = [], []
    for rank in range(processes):
        rng = BatchRng(7, CPU, rank, processes)
        drawn += [draw(part, size) for part in rng.split(parts)]
        followed.append(rng.normal(1, 2))
    assert torch.equal(torch.cat(drawn), whole)
    assert torch.equal(torch.cat(followed), following), "the next phase draws as if nothing had been split"
