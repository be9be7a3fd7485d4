"""Rows of signals come from single steps, evenly over the budget, so no interruption can change them."""

import pytest

from training.config.files import load_config
from training.loop.signals import ROWS_PER_BUDGET, row_number
from training.loop.step import GRADIENT_NORM_INTERVAL

MIN_ROWS_WITH_NORM = 50


@pytest.mark.parametrize("discriminator_steps", [1, 2, 5])
@pytest.mark.parametrize("images", [64_000, 200_000, 600_000, 5_000_000])
def test_rows_are_spread_over_the_budget(images: int, discriminator_steps: int) -> None:
    config = load_config("digits", [f"images={images}", f"discriminator_steps={discriminator_steps}", "batch_size=32"])
    steps = range(0, images, 32)
    rows = [(before // 32, number) for before in steps if (number := row_number(config, before)) is not None]
    assert [number for _, number in rows] == list(range(len(rows)))
    generator_steps = images // 32 // discriminator_steps
    assert min(generator_steps, 0.6 * ROWS_PER_BUDGET) <= len(rows) <= 2 * ROWS_PER_BUDGET
    assert all((step + 1) % discriminator_steps == 0 for step, _ in rows), "the generator trains in each"
    measured = [step for step, _ in rows if (step // discriminator_steps) % GRADIENT_NORM_INTERVAL == 0]
    assert len(measured) >= min(generator_steps / GRADIENT_NORM_INTERVAL, MIN_ROWS_WITH_NORM)
