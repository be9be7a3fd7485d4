"""Out of memory: the study reports what needed it, and blames the settings only if they caused it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState

from tests.training.tuning.conftest import trials_of
from training.config.files import load_config
from training.config.schema import Config
from training.errors import DivergenceError, TrainingError
from training.evaluation.in_loop import LoopJudge
from training.loop.fit import fit
from training.tuning.trial.memory import OOM_IN_SCORING, OOM_IN_TRAINING, memory_of_other_processes, ran_out_of_memory

Tune = Callable[..., None]
GIB = 2**30
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def raise_for(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any) -> Any:
        raise error

    return fail


def caused_by(error: Exception) -> TrainingError:
    found = TrainingError("cannot score a batch of 1")
    found.__cause__ = error
    return found


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        MemoryError(),
        np._core._exceptions._ArrayMemoryError((1,), np.dtype(np.int64)),  # type: ignore[attr-defined]
        caused_by(FULL),
    ],
)
def test_every_librarys_error_is_recognised(error: Exception) -> None:
    assert ran_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("out of memory"),
        DivergenceError("generator_loss is nan"),
        caused_by(OSError(28, "No space left on device")),
    ],
)
def test_other_errors_are_not_recognised(error: Exception) -> None:
    assert not ran_out_of_memory(error)


def test_out_of_memory_in_scoring_is_not_blamed_on_the_settings(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoopJudge, "score", raise_for(FULL))
    with pytest.raises(TrainingError, match="all ended early"):
        tune(tmp_path / "study", "--trials=1", "--seeds=0")
    (trial,) = trials_of(tmp_path / "study")
    assert trial.user_attrs["ended"] == OOM_IN_SCORING
    assert trial.user_attrs["images_seen"] == 80, "it trained until it was first scored"
    assert OOM_IN_SCORING in (tmp_path / "study" / "report.html").read_text()


def test_out_of_memory_in_training_is_blamed_on_the_settings(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.loop.step.TrainStep.step", raise_for(FULL))
    with pytest.raises(TrainingError, match="all ended early"):
        tune(tmp_path / "study", "--trials=1", "--seeds=0")
    (trial,) = trials_of(tmp_path / "study")
    assert trial.user_attrs["ended"] == OOM_IN_TRAINING


def test_out_of_memory_before_training_ends_the_worker_and_not_the_trial(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LoopJudge, "__init__", raise_for(FULL))
        with pytest.raises(
            TrainingError, match="too little memory for the features of the real images, which no setting"
        ):
            tune(tmp_path / "study", "--trials=1", "--seeds=0")
    (trial,) = trials_of(tmp_path / "study")
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["error"].startswith("TrainingError: the device has too little memory for the")


def test_any_other_error_is_recorded_with_the_interrupted_trial(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "training.loop.step.TrainStep.step", raise_for(RuntimeError("CUDA error: an illegal\nmemory access"))
        )
        with pytest.raises(RuntimeError, match="illegal"):
            tune(tmp_path / "study", "--trials=1", "--seeds=0")
    tune(tmp_path / "study", "--trials=1", "--seeds=0")
    cut, done = trials_of(tmp_path / "study")
    assert (cut.state, done.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert cut.user_attrs["error"] == "RuntimeError: CUDA error: an illegal"
    assert not {"error", "ended"} & done.user_attrs.keys()


@pytest.mark.parametrize(
    ("free", "reserved", "words"),
    [(1, 78, ""), (1, 49, " (other processes hold 30.0 of its 80.0 GiB)"), (79, 0, "")],
)
def test_memory_of_other_processes_is_reported(
    free: int, reserved: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved * GIB)
    assert memory_of_other_processes(torch.device("cuda", 0)) == words
    assert memory_of_other_processes(torch.device("cpu")) == ""


def test_a_trial_after_an_out_of_memory_error_starts_with_an_empty_device(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error holds its frames, and they hold the networks."""
    import weakref

    states: list[Any] = []

    def fit_or_fail(config: Config, data: Any, state: Any, *others: Any) -> bool:
        assert all(state() is None for state in states), "the last trial's networks are still there"
        states.append(weakref.ref(state))
        if config.generator_optimizer.learning_rate != load_config("digits").generator_optimizer.learning_rate:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return fit(config, data, state, *others)

    monkeypatch.setattr("training.tuning.trial.run.fit", fit_or_fail)
    tune(tmp_path / "study", "--trials=3", "--seeds=0")
    assert len(states) == 3
