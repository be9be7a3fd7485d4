"""A run learns, leaves what it promises in its folder, and goes on from a checkpoint bit for bit."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import training.fit
from training.config import load_config
from training.data import load_images
from training.errors import TrainingError
from training.fit import batch_indices, crossed, step, step_seed
from training.losses import LOSSES
from training.run_folder import RunFolder
from training.sampling import grid_inputs, sample
from training.state import TrainingState, checkpoints

CPU = torch.device("cpu")


def weights(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(checkpoints(run / "checkpoints")[-1], weights_only=True)
    flat: dict[str, torch.Tensor] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            flat[prefix] = value
        elif isinstance(value, dict):
            for key, nested in value.items():
                walk(f"{prefix}.{key}", nested)

    walk("", content)
    return flat


def test_the_folder_holds_what_people_look_for(finished_run: Path) -> None:
    names = {path.name for path in finished_run.iterdir()}
    expected = "config.yaml data.json environment.json metrics.jsonl reals.png samples checkpoints tensorboard"
    assert names == set(expected.split())
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert [line["images_seen"] for line in lines] == [128, 256, 384, 512]
    measured = {"discriminator_loss", "generator_loss", "real_logit", "fake_logit", "images_per_second"}
    assert measured <= lines[0].keys()
    assert [path.stem for path in sorted((finished_run / "samples").iterdir())] == [
        f"{seen:012d}" for seen in (0, 256, 512)
    ]
    assert Image.open(finished_run / "samples" / "000000000512.png").size == (10 * 32, 8 * 32)
    assert list((finished_run / "tensorboard").glob("events*"))


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(loss: str, digits: Path) -> None:
    """The averaged generator's images come closer to real ones, in mean and in spread of their pixels."""
    settings = [
        f"loss={loss}",
        "network.width=16",
        "precision=float32",
        "generator_optimizer.learning_rate=0.002",
        "discriminator_optimizer.learning_rate=0.0002",  # minimax learns nothing from a discriminator that wins
        "ema.half_life=300",
        "ema.ramp=0.2",
    ]
    config = load_config("digits", settings)
    data = load_images(str(digits), config.data)
    state = TrainingState(config, 10, CPU)
    noise, label = grid_inputs(config.network.noise_dim, 10, rows=20)
    target = np.stack([data.images.mean(axis=0), data.images.std(axis=0)])

    def distance() -> float:
        images = sample(state.average, noise, label)
        return float(np.abs(np.stack([images.mean(axis=0), images.std(axis=0)]) - target).mean())

    before = distance()
    while state.images_seen < 3200:
        torch.manual_seed(step_seed(0, state.images_seen))
        reals, real_label = training.fit.real_batch(data, batch_indices(512, 0, state.images_seen, 16), 10)
        step(config, state, reals, real_label)
        state.images_seen += 16
    assert distance() < 0.6 * before


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_resumed_run_ends_bit_for_bit_where_an_undisturbed_one_does(
    tmp_path: Path, train: Callable[..., None], digits: Path, small: list[str], precision: str
) -> None:
    arguments = ["fit", "digits", "--data", str(digits), f"--set=precision={precision}"]
    arguments += [f"--set={setting}" for setting in small]
    train(*arguments, "--out", tmp_path / "whole")
    train(*arguments, "--out", tmp_path / "halves", "--images", "256")
    config = tmp_path / "halves" / "config.yaml"
    config.write_text(config.read_text().replace("images: 256\n", "images: 512\n", 1))
    train("resume", tmp_path / "halves")
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert whole.keys() == halves.keys()
    assert len(whole) > 50, "networks, average and both optimisers"
    for name, value in whole.items():
        assert torch.equal(value, halves[name]), name


def test_a_torn_checkpoint_is_passed_over(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder.open(finished_run)
    newest = checkpoints(run.checkpoints)[-1]
    whole = newest.read_bytes()
    state = TrainingState(run.config, run.labels, CPU)
    try:
        newest.write_bytes(whole[: len(whole) // 2])
        state.load_newest(run.checkpoints)
    finally:
        newest.write_bytes(whole)
    assert state.images_seen == 256
    assert newest.name in capsys.readouterr().err


def test_other_images_are_refused_at_resume(
    tmp_path: Path, train: Callable[..., None], digits: Path, small: list[str]
) -> None:
    data = tmp_path / "data.parquet"
    data.write_bytes(digits.read_bytes())
    train("fit", "digits", "--data", data, "--out", tmp_path / "run", *(f"--set={setting}" for setting in small))
    import pyarrow.parquet as parquet

    parquet.write_table(parquet.read_table(digits).slice(1), data)
    with pytest.raises(TrainingError, match="are not those the run began with"):
        train("resume", tmp_path / "run")


def test_divergence_is_told_and_the_last_checkpoint_kept(
    tmp_path: Path, train: Callable[..., None], digits: Path, small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = training.fit.step

    def spoilt(config, state, reals, label):  # type: ignore[no-untyped-def]
        values = honest(config, state, reals, label)
        if state.images_seen >= 384:
            values["generator_loss"] = values["generator_loss"] * float("nan")
        return values

    monkeypatch.setattr(training.fit, "step", spoilt)
    with pytest.raises(TrainingError, match="generator_loss is nan after 512 images"):
        train("fit", "digits", "--data", digits, "--out", tmp_path / "run", *(f"--set={setting}" for setting in small))
    assert [path.stem for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["000000000256"]


def test_the_average_halves_after_its_half_life() -> None:
    config = load_config("digits", ["network.width=4", "network.noise_dim=4"])
    state = TrainingState(config, 0, CPU)
    weight, average = state.generator.project.weight, state.average.project.weight
    with torch.no_grad():
        weight.fill_(0.0)
        average.fill_(1.0)
    for _ in range(10):
        state.update_average(0.5 ** (64 / 640))
    torch.testing.assert_close(average, torch.full_like(average, 0.5))


@given(size=st.integers(1, 50), seed=st.integers(0, 9), start=st.integers(0, 200), count=st.integers(1, 60))
def test_the_order_of_the_data_starts_anywhere(size: int, seed: int, start: int, count: int) -> None:
    whole = batch_indices(size, seed, 0, start + count)
    np.testing.assert_array_equal(batch_indices(size, seed, start, count), whole[start:])
    for epoch in range((start + count) // size):
        assert sorted(whole[epoch * size : (epoch + 1) * size]) == list(range(size)), "every image once a pass"


def test_step_seeds_differ() -> None:
    assert len({step_seed(seed, seen) for seed in range(20) for seen in range(0, 6400, 64)}) == 2000


def test_crossed() -> None:
    assert crossed(60, 124, 64)
    assert crossed(0, 64, 64)
    assert not crossed(64, 127, 64)
