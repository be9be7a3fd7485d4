"""A run starts from another run's networks: what fits is taken, what does not is named, and the copy is its own."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.bundle import read_bundle
from tests.training.tiny_runs import FAMILIES, TINY, arguments, assert_same_weights
from training.config.files import load_config
from training.errors import TrainingError
from training.locks import FileLock
from training.loop.batch import Batch
from training.loop.state import TrainingState
from training.loop.step import TrainStep
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng
from training.runs.folder import LOCK_FILE, RunFolder
from training.runs.transfer import networks_of_run

CPU = torch.device("cpu")
SMALL = [*TINY, *FAMILIES["dcgan"], "precision=float32", "images=64", "ema.half_lives=[100,10000]"]
SETTINGS = arguments(*SMALL)

Train = Callable[..., None]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, train: Train, digits: Path) -> Path:
    """A run of 64 images."""
    run = tmp_path_factory.mktemp("trained") / "run"
    train("fit", "digits", "--data", digits, "--out", run, *SETTINGS)
    return run


@pytest.fixture
def source(trained: Path, tmp_path: Path) -> Path:
    """The same, to do anything with."""
    return Path(shutil.copytree(trained, tmp_path / "source"))


def started(run: Path, labels: int = 10, settings: list[str] | None = None) -> tuple[TrainingState, str]:
    """Returns the state of a run that starts from another one, and what does not fit."""
    config = load_config("digits", [*SMALL, *(settings or [])])
    found = networks_of_run(run, config)
    state = TrainingState(config, labels, CPU)
    images = found.source.record.images_seen
    return state, state.start_from(found.generator, found.discriminator, found.emas, images)


def checkpoint(run: Path) -> dict[str, dict[str, torch.Tensor]]:
    content: dict[str, dict[str, torch.Tensor]] = torch.load(run / "checkpoints" / "000000000064.pt", weights_only=True)
    return content


def assert_equal(network: torch.nn.Module, expected: dict[str, torch.Tensor]) -> None:
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_all_networks_are_taken_and_the_rest_is_fresh(trained: Path) -> None:
    state, left = started(trained, settings=["ema.half_lives=[20000,50]", "seed=9"])
    content = checkpoint(trained)
    assert left == ""
    assert_equal(state.generator, content["generator"])
    assert_equal(state.discriminator, content["discriminator"])
    assert_equal(state.emas[20000], content["average_10000"])
    assert_equal(state.emas[50], content["average_100"])
    assert (state.images_seen, state.images_before, state.best) == (0, 64, None)
    assert not state.generator_optimizer.state
    assert not state.discriminator_optimizer.state


def test_other_labels_and_channels_are_named_and_start_at_random(trained: Path) -> None:
    state, left = started(trained, labels=5, settings=["data.channels=3"])
    assert set(left.split("; ")) == {
        "generator.to_image (8 × 1 × 3 × 3 there, 8 × 3 × 3 × 3 here)",
        "generator.embedding (10 × 64 there, 5 × 64 here)",
        "discriminator.stages.0 (8 × 1 × 4 × 4 there, 8 × 3 × 4 × 4 here)",
        "discriminator.head.embedding (10 × 256 there, 5 × 256 here)",
    }
    content = checkpoint(trained)
    assert torch.equal(state.generator.project.weight, content["generator"]["project.weight"])
    assert torch.equal(state.emas[100].project.weight, content["average_100"]["project.weight"])
    assert torch.equal(state.emas[100].embedding.weight, state.generator.embedding.weight), "the run's own start"


def test_a_spectral_norm_is_taken_with_its_weight_or_not_at_all(tmp_path: Path, train: Train, digits: Path) -> None:
    spectral = ["network.discriminator_norm=spectral"]
    train("fit", "digits", "--data", digits, "--out", tmp_path / "run", *arguments(*SMALL, *spectral))
    state, left = started(tmp_path / "run", settings=[*spectral, "data.channels=3"])
    assert "discriminator.stages.0 (" in left
    largest = torch.linalg.matrix_norm(state.discriminator.stages[0].weight.detach().flatten(1), ord=2)
    assert largest == pytest.approx(1, abs=0.05), "a singular vector of other weights would make it too large"


def test_an_unconditional_run_starts_from_a_conditional_one(trained: Path) -> None:
    _, left = started(trained, labels=0)
    assert "generator.embedding (only there)" in left
    assert "generator.project (256 × 128 there, 256 × 64 here)" in left


def test_the_emas_continue_instead_of_starting_over(trained: Path) -> None:
    """Where the ramp would forget them at the first step, as it forgets random weights."""
    state, _ = started(trained, settings=["ema.ramp=1"])
    state.images_before = 10_000
    state.generator_optimizer.step = lambda: None  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        state.generator.project.weight.fill_(0)
        state.emas[10000].project.weight.fill_(1)
    reals = torch.rand(16, 1, 16, 16) * 2 - 1
    TrainStep(state.config, state, Processes(0, 1, CPU)).step(Batch(reals, torch.arange(16) % 10, BatchRng(0, CPU), 0))
    expected = torch.full_like(state.generator.project.weight, 0.5 ** (16 / 10_000))
    torch.testing.assert_close(state.emas[10000].project.weight, expected)


def test_the_run_is_its_own_from_its_first_second(
    source: Path, tmp_path: Path, train: Train, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It resumes exactly without the run that it came from, from before its first checkpoint and from after it."""
    begin = ["fit", "digits", "--data", digits, "--init-from", source, *SETTINGS, "--set=freeze_discriminator=1"]
    with FileLock(source / LOCK_FILE):  # as while it trains
        train(*begin, "--out", tmp_path / "whole")
    told = capsys.readouterr().err
    assert f"starting from the networks of {source} after 64 images; every layer fits\n" in told
    record = json.loads((tmp_path / "whole" / "initial.json").read_text())
    assert record["run"] == str(source)
    assert record["record"]["images_seen"] == 64
    assert record["record"]["dataset"]["fingerprint"] == RunFolder.open(source).data.fingerprint

    killed = Path(shutil.copytree(tmp_path / "whole", tmp_path / "killed"))
    shutil.rmtree(killed / "checkpoints")
    (killed / "metrics.jsonl").unlink()
    later = Path(shutil.copytree(tmp_path / "whole", tmp_path / "later"))
    train("resume", tmp_path / "whole", "--images", "128")
    shutil.rmtree(source)
    for run in (killed, later):
        train("resume", run, "--images", "128")
        assert_same_weights(tmp_path / "whole", run)
    start = torch.load(killed / "initial.pt", weights_only=True)["discriminator"]
    newest = torch.load(killed / "checkpoints" / "000000000128.pt", weights_only=True)
    assert torch.equal(newest["discriminator"]["stages.0.weight"], start["stages.0.weight"]), "frozen"
    assert not torch.equal(newest["discriminator"]["stages.2.weight"], start["stages.2.weight"])

    train("export", killed, "--to", tmp_path / "zoo")
    initial = read_bundle(tmp_path / "zoo" / "digits" / "1").card.training.initial
    assert initial is not None
    assert (initial.name, initial.images_seen) == ("digits", 64)
    assert str(tmp_path) not in (tmp_path / "zoo" / "digits" / "1" / "card.json").read_text(), "a path is private"


def test_a_chain_of_runs_counts_all_images(source: Path, tmp_path: Path, train: Train, digits: Path) -> None:
    begin = ["fit", "digits", "--data", digits, *SETTINGS]
    train(*begin, "--init-from", source, "--out", tmp_path / "second")
    train(*begin, "--init-from", tmp_path / "second", "--out", tmp_path / "third")
    initial = RunFolder.open(tmp_path / "third").initial
    assert initial is not None
    assert initial.record.images_seen == 128


def test_a_card_of_random_networks_has_no_such_record(trained: Path, tmp_path: Path, train: Train) -> None:
    train("export", trained, "--to", tmp_path)
    assert "initial" not in json.loads((tmp_path / "digits" / "1" / "card.json").read_text())["training"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (FAMILIES["mlp"], "network.family is dcgan there, mlp here. Take its sizes: --set network.family=dcgan; or"),
        (["network.width=16"], "network.width is 8 there, 16 here. Take its sizes: --set network.width=8; or"),
        (["data.resolution=32"], "data.resolution is 16 there, 32 here. Take its sizes: --set data.resolution=16; or"),
        (
            ["network.width=16", "network.max_width=64"],
            "network.width is 8 there, 16 here; network.max_width is 512 there, 64 here. Take its sizes: "
            "--set network.width=8 --set network.max_width=512; or start without --init-from",
        ),
    ],
)
def test_another_family_or_size_is_rejected_with_the_remedy(
    trained: Path, tmp_path: Path, train: Train, digits: Path, settings: list[str], sentence: str
) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=re.escape(sentence)):
        train("fit", "digits", "--data", digits, "--out", run, "--init-from", trained, *SETTINGS, *arguments(*settings))
    assert list(tmp_path.iterdir()) == []


def test_a_size_that_shapes_nothing_may_differ(trained: Path) -> None:
    assert started(trained, settings=["network.max_width=256"])[1] == ""


def test_a_folder_that_is_no_trained_run_is_rejected(source: Path, tmp_path: Path, train: Train, digits: Path) -> None:
    begin = ["fit", "digits", "--data", digits, "--out", tmp_path / "run", *SETTINGS, "--init-from"]
    with pytest.raises(TrainingError, match=r"is not the folder of a run: it has no config\.yaml"):
        train(*begin, tmp_path / "nothing")
    shutil.rmtree(source / "checkpoints")
    with (source / "metrics.jsonl").open("a") as file:
        file.write('{"images_seen": 640}\n')
    with pytest.raises(TrainingError, match="has seen 640 images, but its checkpoints are gone; put them back"):
        train(*begin, source)
    (source / "metrics.jsonl").unlink()
    with pytest.raises(TrainingError, match="the run holds no checkpoint yet; wait for its first, or go on with it"):
        train(*begin, source)
    assert not (tmp_path / "run").exists()


def test_networks_of_another_layout_are_rejected(trained: Path) -> None:
    found = networks_of_run(trained, load_config("digits", SMALL))
    renamed = {f"old.{name}": value for name, value in found.generator.items()}
    state = TrainingState(load_config("digits", SMALL), 10, CPU)
    with pytest.raises(TrainingError, match="no layer fits the generator: another version of the trainer"):
        state.start_from(renamed, found.discriminator, found.emas, 64)


def test_a_damaged_copy_is_not_trained_on(source: Path, tmp_path: Path, train: Train, digits: Path) -> None:
    run = tmp_path / "run"
    train("fit", "digits", "--data", digits, "--out", run, "--init-from", source, *SETTINGS)
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    content = torch.load(run / "initial.pt", weights_only=True)
    content["generator"]["project.weight"] += 1
    torch.save(content, run / "initial.pt")
    with pytest.raises(
        TrainingError, match=r"initial\.pt does not hold the networks that the run starts from: its fin"
    ):
        train("resume", run)
    (run / "initial.pt").unlink()
    with pytest.raises(TrainingError, match=r"cannot read .*initial\.pt, the networks that the run starts from"):
        train("resume", run)


def test_fit_takes_up_a_start_of_the_same_networks_only(
    source: Path, tmp_path: Path, train: Train, digits: Path
) -> None:
    run, begin = tmp_path / "run", ["fit", "digits", "--data", digits, *SETTINGS]
    train(*begin, "--out", run, "--init-from", source)
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    shutil.rmtree(run / "checkpoints")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(TrainingError, match="holds a run of another configuration, data or --init-from"):
        train(*begin, "--out", run)
    train("resume", source, "--images", "128")  # goes on, and the copy stays
    train(*begin, "--out", run, "--init-from", source)
    assert_same_weights(whole, run)


def test_a_dry_run_tells_what_fits(
    trained: Path, train: Train, digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("fit", "digits", "--data", digits, "--init-from", trained, "--dry-run", *SETTINGS, "--set=data.channels=3")
    assert "what does not fit starts at random: generator.to_image (" in capsys.readouterr().err
