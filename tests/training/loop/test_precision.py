"""The faster precision is measured, not guessed: on stand-in clocks, and once for real."""

from collections.abc import Callable

import pytest
import torch

from tests.training.tiny_runs import FAMILIES, TINY
from training.config.files import load_config
from training.config.schema import Config
from training.loop import precision as measuring
from training.loop.precision import MARGIN, SMALLEST_BATCH, PrecisionChoice, choose_precision
from training.loop.step import TrainStep

CPU = torch.device("cpu")


@pytest.fixture
def config() -> Config:
    return load_config("digits", [*TINY, *FAMILIES["mlp"], "batch_size=64"])


@pytest.fixture
def measured(config: Config, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[PrecisionChoice, list[str]]]:
    """Returns a function that measures on a machine with the given seconds per image and precision."""

    def measure(disturbed: int | None = None, **seconds: float) -> tuple[PrecisionChoice, list[str]]:
        clock, steps = [0.0], list[str]()

        def step(self: TrainStep, batch: object) -> None:
            steps.append(self._config.precision)
            factor = 50 if len(steps) == disturbed else 1
            clock[0] += factor * self._config.batch_size * seconds[self._config.precision]

        monkeypatch.setattr(TrainStep, "step", step)
        return choose_precision(config, CPU, lambda: clock[0]), steps

    return measure


@pytest.mark.parametrize(
    ("bfloat16", "expected"),
    [(0.5, "bfloat16"), (0.99 / MARGIN, "bfloat16"), (1.01 / MARGIN, "float32"), (1.5, "float32")],
)
def test_bfloat16_must_be_faster_by_a_margin(
    measured: Callable[..., tuple[PrecisionChoice, list[str]]], bfloat16: float, expected: str
) -> None:
    choice, _ = measured(float32=1e-4, bfloat16=bfloat16 * 1e-4)
    assert choice.precision == expected
    assert choice.images_per_second["float32"] == pytest.approx(1e4)
    assert choice.images_per_second["bfloat16"] == pytest.approx(1e4 / bfloat16)


def test_no_measured_step_is_larger_than_a_part_of_the_batch(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """``micro_batch`` is set where the memory holds no more, and the smaller steps need not be its multiples."""
    sizes: list[int] = []
    monkeypatch.setattr(TrainStep, "step", lambda self, batch: sizes.append(len(batch.reals)))
    choose_precision(config.model_copy(update={"micro_batch": 16}), CPU)
    assert sizes
    assert max(sizes) == 16


@pytest.mark.parametrize("disturbed", range(5, 14))
def test_one_slow_step_decides_nothing(
    measured: Callable[..., tuple[PrecisionChoice, list[str]]], disturbed: int
) -> None:
    """Another program may take the processor for a moment."""
    choice, _ = measured(disturbed, float32=1e-4, bfloat16=0.5e-4)
    assert choice.precision == "bfloat16"


def test_the_batch_fits_the_time_that_a_measurement_may_take(
    measured: Callable[..., tuple[PrecisionChoice, list[str]]],
) -> None:
    """The whole batch on a fast machine, a part of it on a slow one, and one step of each on a very slow one."""
    assert measured(float32=1e-4, bfloat16=1e-4)[0].batch_size == 64
    assert measured(float32=5e-3, bfloat16=1e-2)[0].batch_size == 16
    choice, steps = measured(float32=1.0, bfloat16=3.0)
    assert (choice.precision, choice.batch_size) == ("float32", SMALLEST_BATCH)
    assert steps.count("bfloat16") == 1, "emulated bfloat16 can be a hundred times slower"


def test_a_real_measurement_leaves_the_random_state_alone(config: Config) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    choice = choose_precision(config, CPU)
    assert torch.equal(torch.rand(3), expected)
    assert choice.precision in ("float32", "bfloat16")
    assert min(choice.images_per_second.values()) > 0
    assert f"precision: {choice.precision} (float32 trains " in str(choice)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_can_be_measured(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "ROUNDS", 1)
    lazy = ["loss=non_saturating", "regularization.r1=1", "regularization.interval=2", "discriminator_steps=3"]
    config = load_config("digits", [*TINY, *FAMILIES[family], *lazy])
    assert choose_precision(config, CPU).batch_size in (8, 16)
