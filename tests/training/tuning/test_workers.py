"""Workers of one machine: one GPU each, shared cores, and the report of their death."""

import pytest

from training.errors import TrainingError
from training.tuning.workers import environment, run_workers


@pytest.mark.parametrize(
    ("visible", "expected"), [("0,1,2", ["0", "1", "2", "0"]), ("GPU-a", ["GPU-a"] * 4), ("3,5", ["3", "5", "3", "5"])]
)
def test_each_worker_gets_one_of_the_visible_devices(
    visible: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [environment(number, 4)["CUDA_VISIBLE_DEVICES"] for number in range(4)] == expected


def test_cores_are_shared_unless_the_environment_sets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert environment(0, 3)["OMP_NUM_THREADS"] == "2"
    assert environment(0, 20)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert environment(0, 3)["OMP_NUM_THREADS"] == "5"


def test_it_is_reported_if_no_worker_finishes() -> None:
    with pytest.raises(TrainingError, match="no worker finished; their results are saved"):
        run_workers(1, ["no-such-command"])
