"""A batch that is computed in parts takes the step of the whole batch, in the memory of one part."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.tiny_runs import FAMILIES, OBJECTIVES, TINY, arguments
from training.config.files import load_config
from training.errors import TrainingError
from training.loop.batch import Batch, num_micro_batches
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
ALL_PHASES = ["regularization.r1=1", "regularization.r2=0.5", "regularization.interval=2", "discriminator_steps=2"]


class OneStep:
    """The gradients, metrics, buffers and following random numbers of one step that changes no weight."""

    def __init__(self, settings: list[str]) -> None:
        config = load_config("digits", [*TINY, "precision=float32", *settings])
        self.state = TrainingState(config, 10, CPU)
        # The second step: lazy penalties and a generator's turn after two of the discriminator's are due.
        self.state.images_seen = config.batch_size
        self.gradients: dict[str, Tensor] = {}
        for player in ("generator", "discriminator"):
            optimizer, network = getattr(self.state, f"{player}_optimizer"), getattr(self.state, player)
            optimizer.step = lambda player=player, network=network: self._record(player, network)
        self.sizes: set[int] = set()
        self.state.discriminator.register_forward_pre_hook(lambda _, given: self.sizes.add(len(given[0])))
        numbers = torch.Generator().manual_seed(0)
        reals = torch.rand((config.batch_size, 1, 16, 16), generator=numbers) * 2 - 1
        label = torch.arange(config.batch_size) % 10
        self.rng = BatchRng(5, CPU)
        torch.manual_seed(1)
        step = TrainStep(config, self.state, ALONE)
        self.metrics = step.step(Batch(reals, label, self.rng, budget_used=0.25))

    def _record(self, player: str, network: torch.nn.Module) -> None:
        turn = sum(name.startswith(f"{player} ") and name.endswith(" turn") for name in self.gradients)
        self.gradients[f"{player} {turn} turn"] = torch.zeros(())
        for name, weight in network.named_parameters():
            if weight.grad is not None:
                self.gradients[f"{player} {turn} {name}"] = weight.grad.clone()


@pytest.mark.parametrize("family", ["mlp", "r3gan"])
@pytest.mark.parametrize("objective", [name for name in OBJECTIVES if name != "styles"])
def test_gradients_and_metrics_are_those_of_the_whole_batch(family: str, objective: str) -> None:
    """For every loss, penalty, augmentation and noise, where no network compares the images of a batch."""
    chosen = [setting for setting in OBJECTIVES[objective] if not setting.startswith("network.")]
    interval = ["regularization.interval=2"] if objective == "lazy" else []
    settings = [*FAMILIES[family], *chosen, *interval]
    whole, parts = OneStep(settings), OneStep([*settings, "micro_batch=4"])
    assert parts.sizes == {4}, "memory is that of four images"
    assert len(whole.gradients) > 8
    assert whole.gradients.keys() == parts.gradients.keys()
    for name, gradient in whole.gradients.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(parts.gradients[name], gradient, rtol=1e-4, atol=1e-5 * scale + 1e-9, msg=name)
    assert whole.metrics.keys() == parts.metrics.keys()
    for name, value in whole.metrics.items():
        torch.testing.assert_close(parts.metrics[name], value, rtol=1e-4, atol=1e-6, msg=name)
    if whole.state.augmentation:
        assert parts.state.augmentation
        expected, found = (state.augmentation.state_dict()["sums"] for state in (whole.state, parts.state))
        assert torch.equal(found, expected), "ADA counts every real once"
    assert torch.equal(parts.rng.normal(3, 2), whole.rng.normal(3, 2)), "the next step is not touched"


@pytest.mark.parametrize("family", ["dcgan", "sngan", "biggan", "stylegan2"])
def test_buffers_move_once_a_step_as_over_the_whole_batch(family: str) -> None:
    settings = [*FAMILIES[family], *ALL_PHASES]
    whole, parts = (OneStep([*settings, *more]).state for more in ([], ["micro_batch=4"]))
    # Singular vectors, the average w and the first statistics see what they see in the whole batch; later statistics
    # follow a normalisation over four images, and only count.
    exact = {"dcgan": "project_norm.running_mean", "sngan": ".left", "biggan": ".left", "stylegan2": "w_average"}
    compared = 0
    for player in ("generator", "discriminator"):
        expected, found = dict(getattr(whole, player).named_buffers()), dict(getattr(parts, player).named_buffers())
        for name, value in expected.items():
            if name.endswith(exact[family]):
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
                compared += 1
            elif not value.is_floating_point():
                assert torch.equal(found[name], value), name
            elif "running_var" in name:
                assert (found[name] / value).log2().abs().max() < 1, name
    assert compared


def test_parts_that_do_not_fit_are_rejected_by_name() -> None:
    with pytest.raises(TrainingError, match="micro_batch 24 does not divide batch_size 64: take 16, or another batch_"):
        load_config("digits", ["batch_size=64", "micro_batch=24"])
    config = load_config("digits", ["batch_size=64", "micro_batch=32"])
    assert num_micro_batches(config, Processes(0, 2, CPU)) == 1
    with pytest.raises(
        TrainingError,
        match="micro_batch is 32, which does not divide the 16 images of batch_size 64 that each of 4 processes "
        "computes; take 16",
    ):
        num_micro_batches(config, Processes(0, 4, CPU))
    with pytest.raises(TrainingError, match="micro_batch: input should be greater than or equal to 2"):
        load_config("digits", ["micro_batch=1"])


def test_a_resume_on_a_smaller_device_computes_in_parts(
    tmp_path: Path, train: Callable[..., None], digits: Path
) -> None:
    run = tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", run, *arguments(*TINY, *FAMILIES["mlp"], "images=64"))
    train("resume", run, "--set=micro_batch=8", "--images=96")
    (change,) = [json.loads(line) for line in (run / "changes.jsonl").read_text().splitlines()]
    assert change["settings"]["micro_batch"] == {"from": None, "to": 8}
    with pytest.raises(TrainingError, match="micro_batch 5 does not divide batch_size 16: take 4"):
        train("resume", run, "--set=micro_batch=5")
