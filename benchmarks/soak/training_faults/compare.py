"""Compares a run that was disturbed with one that was not: nothing may differ but times."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from training.errors import TrainingError
from training.runs.folder import open_start
from training.tensor_files import read_tensors

_TIMES = {"time", "images_per_second", "judge_share", "data_wait_share"}
"""What metrics tell about the machine."""
_SET_EACH_STEP = {"lr", "betas"}
"""Of an optimiser: every step sets them by its schedule, so a run that has ended may hold either value."""


def differences(whole: Path, run: Path, all_checkpoints: bool = True) -> list[str]:
    """Returns what differs between two runs that have both spent their budget; an empty list if they are equal.

    Weights, optimisers, scores, the best generator, the doctor's signals and pictures are compared bit for bit, and
    metrics as numbers. A file that one of them does not have is a difference, so drafts of a killed process are.
    Without ``all_checkpoints``, only the newest checkpoint must be equal, and as many be there.
    """
    expected, found = _files(whole), _files(run)
    if not all_checkpoints:
        older = [sorted(name for name in names if name.startswith("checkpoints/"))[:-1] for names in (expected, found)]
        if len(older[0]) == len(older[1]):
            expected, found = expected.difference(older[0]), found.difference(older[1])
    problems = [f"{name} is missing" for name in sorted(expected - found)]
    problems += [f"{name} is left over" for name in sorted(found - expected)]
    for name in sorted(expected & found):
        problems += [f"{name} differs{detail}" for detail in _compare(whole / name, run / name)]
    return problems


def damage(run: Path) -> list[str]:
    """Returns what is broken in the folder of a run that was just killed; an empty list if all is as it should be."""
    problems = []
    if (run / "config.yaml").exists():
        try:
            open_start(run)
        except TrainingError as error:
            problems.append(str(error))
    for path in (*run.glob("checkpoints/*.pt"), *run.glob("best.pt")):
        try:
            read_tensors(path)
        except TrainingError as error:
            problems.append(str(error))
    return problems


def _files(run: Path) -> set[str]:
    """Returns the names of a run's files; events of TensorBoard have other names each time."""
    return {
        str(path.relative_to(run))
        for path in run.rglob("*")
        if path.is_file() and path.parent.name != "tensorboard" and path.name != "environment.json"
    }


def _compare(one: Path, other: Path) -> Iterator[str]:
    if one.suffix == ".pt":
        yield from value_differences(read_tensors(one), read_tensors(other))
    elif one.name == "metrics.jsonl":
        try:
            if _metrics(one) != _metrics(other):
                yield f": {_metrics(other)} instead of {_metrics(one)}"
        except ValueError:
            yield " and is torn"
    elif one.name == "data.json":
        if {**json.loads(one.read_text()), "source": ""} != {**json.loads(other.read_text()), "source": ""}:
            yield ""
    elif one.read_bytes() != other.read_bytes():
        yield ""


def _metrics(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in _TIMES} for line in lines]


def value_differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """Yields where two nested values differ; tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        if not (isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)):
            yield f" in {where}"
    elif isinstance(one, dict):
        if not (isinstance(other, dict) and one.keys() == other.keys()):
            yield f" in the keys of {where}"
        else:
            for key, value in one.items():
                if "param_groups" in where and key in _SET_EACH_STEP:
                    continue
                yield from value_differences(value, other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, value in enumerate(one):
            yield from value_differences(value, other[index], f"{where}.{index}")
    elif one != other:
        yield f" in {where}"
