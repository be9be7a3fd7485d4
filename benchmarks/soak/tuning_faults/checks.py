"""Compares a study that has met faults with one that has not."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from benchmarks.soak.tuning_faults.references import Reference, References, score_lines, weights_of
from benchmarks.soak.tuning_faults.setting import GRACE, Size
from training.tuning.study.folder import FINALS, RERUNS
from training.tuning.study.pruning import PRESET
from training.tuning.study.queue import identity_of
from training.tuning.study.storage import open_storage
from training.tuning.study.study import BUDGET, ENDED, IMAGES, OF, RERUN_TRIALS, SCORES, SEED, SETTINGS


@dataclass
class Found:
    """What the checks of studies have found."""

    problems: list[str] = field(default_factory=list)
    runs: int = 0
    """Runs that were compared with a reference."""
    resumed: int = 0
    """Those of them that took more than one attempt."""
    aside: int = 0
    """Folders that were renamed, since their worker died before its first checkpoint."""
    drafts: int = 0
    """Temporary files that a kill has left behind."""


def backend_of(out: Path, storage: str | None) -> BaseStorage:
    """Returns the storage of a study."""
    return open_storage(storage, out, GRACE).backend


def trials_of(backend: BaseStorage, name: str) -> list[FrozenTrial]:
    """Returns all trials of an Optuna study, also failed attempts; none before it begins."""
    try:
        return optuna.load_study(study_name=name, storage=backend).trials
    except KeyError:
        return []


def check(out: Path, storage: str | None, name: str, size: Size, references: References, found: Found) -> None:
    """Adds what is wrong with a study that has ended to ``found``."""

    def problem(text: str) -> None:
        found.problems.append(f"{out.name}: {text}")

    backend = backend_of(out, storage)
    search = _counted(trials_of(backend, name), problem, "trial")
    if len(search) != size.trials:
        problem(f"{len(search)} trials, not {size.trials}")
    for identity, trial in search.items():
        reference = references.of(trial.user_attrs[SETTINGS], size.images, None, None)
        _compare(f"trial {identity}", out / "trials" / f"{identity:04d}", trial, reference, problem)
    reruns = _counted(trials_of(backend, name + RERUNS), problem, "re-run")
    _check_reruns(search, list(reruns.values()), size, problem)
    finals = _counted(trials_of(backend, name + FINALS), problem, "final run")
    if len(finals) != bool(size.final_images):
        problem(f"{len(finals)} final runs")
    for run in [*reruns.values(), *finals.values()]:
        of, seed, budget = run.user_attrs[OF], run.user_attrs[SEED], run.user_attrs.get(BUDGET)
        reference = references.of(run.user_attrs[SETTINGS], size.images, seed, budget)
        folder = f"finals/{of:04d}-{budget}" if budget else f"reruns/{of:04d}-seed{seed}"
        _compare(folder, out / folder, run, reference, problem)
    everything = [trial for kind in ("", RERUNS, FINALS) for trial in trials_of(backend, name + kind)]
    attempts = Counter((BUDGET in trial.user_attrs, OF in trial.user_attrs, identity_of(trial)) for trial in everything)
    found.runs += len(search) + len(reruns) + len(finals)
    found.resumed += sum(count > 1 for count in attempts.values())
    found.aside += sum(1 for _ in out.rglob("*.aside-*"))
    found.drafts += sum(1 for path in out.rglob("*") if path.name.endswith(".tmp") or path.name.startswith("."))
    _check_report(out, search, list(reruns.values()), problem)


def _counted(trials: list[FrozenTrial], problem: Callable[[str], None], kind: str) -> dict[int, FrozenTrial]:
    """Returns the attempts that count, by identity, after checking that there is one of each, and that it has ended."""
    counted: dict[int, FrozenTrial] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL:
            continue
        identity = identity_of(trial)
        if identity in counted:
            problem(f"{kind} {identity} counts twice")
        if not trial.state.is_finished():
            problem(f"{kind} {identity} is {trial.state.name}")
        counted[identity] = trial
    for identity in {identity_of(trial) for trial in trials if "dropped" not in trial.user_attrs} - counted.keys():
        problem(f"{kind} {identity} is lost")
    return dict(sorted(counted.items()))


def _compare(name: str, run: Path, trial: FrozenTrial, reference: Reference, problem: Callable[[str], None]) -> None:
    lines, ended = score_lines(run), trial.user_attrs.get(ENDED)
    compared_with_others = ended is not None and ended.startswith("place ")
    expected = reference.lines[: len(lines)] if compared_with_others else reference.lines
    curve = dict(list(reference.curve.items())[: len(trial.intermediate_values)])
    if lines != expected or not lines:
        problem(f"{name} has other scores than without faults")
    if trial.intermediate_values != (curve if compared_with_others else reference.curve):
        problem(f"{name} has another learning curve than without faults")
    if compared_with_others:
        if trial.user_attrs[IMAGES] < max(curve) or str(max(curve)) not in str(ended):
            problem(f"{name} ended after {max(curve)} images, and counts {trial.user_attrs[IMAGES]}")
        return
    if (trial.value, ended) != (reference.value, reference.ended):
        problem(f"{name} has the result {trial.value} ({ended}), not {reference.value} ({reference.ended})")
    if trial.user_attrs[IMAGES] != reference.images_seen:
        problem(f"{name} counts {trial.user_attrs[IMAGES]} images, not {reference.images_seen}")
    if reference.ended is None and trial.user_attrs[SCORES] != reference.scores:
        problem(f"{name} reports other scores than without faults")
    if weights_of(run) != reference.weights:
        problem(f"{name} has other weights than without faults")


def _check_reruns(
    search: dict[int, FrozenTrial], reruns: list[FrozenTrial], size: Size, problem: Callable[[str], None]
) -> None:
    complete = [trial for trial in search.values() if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=_value)[:RERUN_TRIALS]
    expected = {identity_of(trial) for trial in best} | {identity_of(trial) for trial in complete[:1]} & {PRESET}
    found = Counter(run.user_attrs[OF] for run in reruns)
    if size.seeds and found != dict.fromkeys(expected, size.seeds):
        problem(f"re-runs of the trials {dict(found)}, not {size.seeds} each of {sorted(expected)}")


def _check_report(
    out: Path, search: dict[int, FrozenTrial], reruns: list[FrozenTrial], problem: Callable[[str], None]
) -> None:
    """Checks that the report names each trial once, the sum of the images, and the winner on fresh seeds."""
    report = out / "report.html"
    if not report.is_file():
        problem("there is no report")
        return
    text = report.read_text()
    images = sum(int(trial.user_attrs[IMAGES]) for trial in search.values())
    if f"All trials together used {images:,} images" not in text:
        problem(f"the report does not say that the trials used {images:,} images")
    table = text[text.rindex("<table>") :]
    rows = [int(number) for number in re.findall(r"<tr><td class=\"\w*\">(\d+)</td>", table)]
    if sorted(rows) != sorted(search):
        problem(f"the report has rows for the trials {sorted(rows)}, not {sorted(search)}")
    winner = min(reruns or list(search.values()), key=_value)
    number = winner.user_attrs.get(OF, identity_of(winner))
    if not re.search(rf"<td class=\"winner\">{number}</td>", table):
        problem(f"the report's winner is not trial {number}")


def _value(trial: FrozenTrial) -> float:
    return math.inf if trial.value is None else trial.value
