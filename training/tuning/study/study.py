"""A study: its trials, the re-runs of the best, the final run of the winner, and their results."""

import math
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from training.errors import TrainingError
from training.files import write_atomic
from training.locks import FileLock
from training.tuning.space.reading import dump_space
from training.tuning.space.space import Values
from training.tuning.study.folder import FINALS, RERUNS, check_known, find_study_name, record_name, runs_in
from training.tuning.study.plan import SamplerName, StudyPlan
from training.tuning.study.pruning import PRESET, AshaPruner, rungs
from training.tuning.study.queue import Queue, identity_of
from training.tuning.study.storage import Storage
from training.tuning.trial.run import TrialContext

SETTINGS, ENDED, IMAGES, SCORES = "settings", "ended", "images_seen", "scores"
"""A trial's attributes: the drawn settings, why it ended early, the images it has seen, its scores."""
FINDINGS = "findings"
"""A trial's attribute: what the doctor has found, see ``training/tuning/trial/findings.py``."""
SEED, OF, BUDGET = "seed", "of", "budget"
"""Further attributes of a re-run: its seed, and the identity of its trial; of a final run also its images."""
_SPACE, _HOLDOUT = "space", "holdout"
"""Attributes of a study: its space, and the share of the images that no run has seen."""

RERUN_TRIALS = 3
"""Number of best trials that are run again, beside the preset."""
_MAX_SEEDS = 100
_MAX_BUDGET = 10**12


@dataclass(frozen=True)
class Finalist:
    """A trial with its re-runs on fresh seeds."""

    trial: FrozenTrial
    reruns: tuple[FrozenTrial, ...]
    """The re-runs that have spent their budget."""

    @property
    def values(self) -> list[float]:
        """The objective on each fresh seed, or the trial's own without re-runs."""
        return [_value(run) for run in self.reruns or (self.trial,)]

    @property
    def mean(self) -> float:
        """The mean objective over the fresh seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over the fresh seeds, or None below two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def best(self) -> FrozenTrial:
        """The best of the re-runs, or the trial itself without re-runs."""
        return min(self.reruns or (self.trial,), key=_value)


class Study:
    """The trials of a search, the re-runs of the best, and the final run of the winner."""

    def __init__(self, folder: Path, storage: Storage, plan: StudyPlan, context: TrialContext) -> None:
        """Starts a study, or continues the one in the folder.

        Raises ``TrainingError`` if that one has another plan, other images or another judge, or if the folder holds
        runs of another study.
        """
        self.folder, self.plan, self.context = folder, plan, context
        self._storage = storage
        lock = study_lock(folder)
        with lock:
            self.name = find_study_name(folder, storage)
            found = runs_in(folder)  # before reading the storage, which then also knows runs started meanwhile
            check_known(folder, found, self._known_runs(), self.name, storage)
            search = self._open(self.name, plan.sampler, plan.prune)
            # A study of an earlier version has recorded its space, but nothing about images held out.
            self.plan = plan = replace(plan, earlier=_SPACE in search.user_attrs and _HOLDOUT not in search.user_attrs)
            _check_same(search, self._identity())
            reruns = self._open(self.name + RERUNS, "random", prune=False)
            finals = self._open(self.name + FINALS, "random", prune=False)
            record_name(folder, self.name)
            write_atomic(folder / "space.yaml", dump_space(plan.space).encode())
        self.search = Queue(search, storage, folder / "trials", lock)
        self.reruns = Queue(reruns, storage, folder / "reruns", lock)
        self.finals = Queue(finals, storage, folder / "finals", lock)
        self.search.add(PRESET, plan.space.parameters_of(plan.base), {SETTINGS: {}})

    def draw(self, trial: optuna.Trial, identity: int) -> Values:
        """Returns the settings of a trial of the search; the preset's trial has none."""
        if identity == PRESET:
            self.plan.space.draw(self.plan.base, _suggest_preset(trial, self.plan.space.parameters_of(self.plan.base)))
            return {}
        settings = self.plan.space.draw(self.plan.base, lambda name, distribution: _suggest(trial, name, distribution))
        trial.set_user_attr(SETTINGS, settings)
        return settings

    def trial_folder(self, identity: int) -> Path:
        """Returns the folder of a trial of the search."""
        return self.folder / "trials" / f"{identity:04d}"

    def rerun_folder(self, rerun: FrozenTrial | optuna.Trial) -> Path:
        """Returns the folder of a re-run."""
        return self.folder / "reruns" / f"{rerun.user_attrs[OF]:04d}-seed{rerun.user_attrs[SEED]}"

    def final_folder(self, final: FrozenTrial | optuna.Trial) -> Path:
        """Returns the folder of a final run."""
        return self.folder / "finals" / f"{final.user_attrs[OF]:04d}-{final.user_attrs[BUDGET]}"

    def ranking(self) -> list[FrozenTrial]:
        """Returns the trials that have spent their budget, best first."""
        complete = [trial for trial in self.search.trials if trial.state == TrialState.COMPLETE]
        return sorted(complete, key=_value)

    def preset(self) -> FrozenTrial | None:
        """Returns the preset's trial, or None before it has spent its budget."""
        return next((trial for trial in self.ranking() if identity_of(trial) == PRESET), None)

    def plan_reruns(self, seeds: int) -> None:
        """Enqueues re-runs of the best trials and the preset, on ``seeds`` seeds that no trial has used."""
        best = self.ranking()[:RERUN_TRIALS]
        preset = self.preset()
        for trial in [*best, *([preset] if preset and preset not in best else [])]:
            identity = identity_of(trial)
            for number in range(1, seeds + 1):
                attributes = {
                    OF: identity,
                    SEED: (self.plan.base.seed + number) % 2**32,
                    SETTINGS: trial.user_attrs[SETTINGS],
                }
                self.reruns.add(identity * _MAX_SEEDS + number, {}, attributes)

    def plan_final(self, images: int) -> None:
        """Enqueues the final run of the winner, with the seed of its best run and a budget of ``images``."""
        finalists = self.finalists()
        if finalists:
            winner = finalists[0]
            seed = winner.best.user_attrs.get(SEED, self.plan.base.seed)
            attributes = {
                OF: identity_of(winner.trial),
                SEED: seed,
                BUDGET: images,
                SETTINGS: winner.trial.user_attrs[SETTINGS],
            }
            self.finals.add(_final_identity(winner, images), {}, attributes)

    def why_final_ended(self, images: int) -> str | None:
        """Returns why the winner's final run of this budget ended early or was abandoned, or None."""
        identity = _final_identity(self.finalists()[0], images)
        run = next((run for run in self.finals.trials if identity_of(run) == identity), None)
        if run is None:
            return self.finals.why_abandoned(identity)
        return run.user_attrs[ENDED] if run.state == TrialState.PRUNED else None

    def final(self) -> FrozenTrial | None:
        """Returns the winner's final run, the longest of several, or None."""
        finalists = self.finalists()
        runs = [
            run
            for run in self.finals.trials
            if run.state == TrialState.COMPLETE and run.user_attrs[OF] == identity_of(finalists[0].trial)
        ]
        return max(runs, key=lambda run: int(run.user_attrs[BUDGET]), default=None)

    def finalists(self) -> list[Finalist]:
        """Returns the trials that were run again, or all if there are no re-runs, by their mean objective."""
        complete = [run for run in self.reruns.trials if run.state == TrialState.COMPLETE]
        found = []
        for trial in self.ranking():
            runs = tuple(run for run in complete if run.user_attrs[OF] == identity_of(trial))
            if runs or not complete:
                found.append(Finalist(trial, runs))
        return sorted(found, key=lambda finalist: finalist.mean)

    def run_folder(self, run: FrozenTrial) -> Path:
        """Returns the folder of a trial, a re-run or a final run."""
        if BUDGET in run.user_attrs:
            return self.final_folder(run)
        return self.rerun_folder(run) if OF in run.user_attrs else self.trial_folder(identity_of(run))

    def images_seen(self) -> int:
        """Returns the images seen by all trials of the search together."""
        return sum(int(trial.user_attrs.get(IMAGES, 0)) for trial in self.search.trials)

    def _known_runs(self) -> set[Path]:
        """Returns the folders of all trials, re-runs and final runs in the storage, without changing it."""
        names = {self.name, self.name + RERUNS, self.name + FINALS}
        storage = self._storage.backend
        studies = [study for study in storage.get_all_studies() if study.study_name in names]
        return {self.run_folder(trial) for study in studies for trial in storage.get_all_trials(study._study_id)}

    def _open(self, name: str, sampler: SamplerName, prune: bool) -> optuna.Study:
        pruner: BasePruner = AshaPruner(rungs(self.plan.images)) if prune else NopPruner()
        storage, proposer = self._storage.backend, _sampler(sampler)
        try:
            return optuna.load_study(study_name=name, storage=storage, sampler=proposer, pruner=pruner)
        except KeyError:
            return optuna.create_study(
                storage=storage, study_name=name, sampler=proposer, pruner=pruner, load_if_exists=True
            )

    def _identity(self) -> dict[str, Any]:
        # The share held out comes first: a study that a kill leaves with its space alone would pass for an earlier one.
        return {
            **({} if self.plan.earlier else {_HOLDOUT: self.plan.base.data.holdout}),
            _SPACE: self.plan.space.model_dump(mode="json"),
            "images": self.plan.images,
            "sampler": self.plan.sampler,
            "prune": self.plan.prune,
            "data": self.context.data.fingerprint,
            "judge": self.context.judge.name,
        }


def _final_identity(winner: Finalist, images: int) -> int:
    return identity_of(winner.trial) * _MAX_BUDGET + images


def study_lock(folder: Path) -> FileLock:
    """Returns the lock for changes of a study's folder or queue."""
    return FileLock(folder / "study.lock")


def _check_same(study: optuna.Study, identity: dict[str, Any]) -> None:
    before = study.user_attrs
    for key, value in identity.items():
        if key not in before:
            study.set_user_attr(key, value)
        elif before[key] != value:
            raise TrainingError(_DIFFERENT[key].format(was=_brief(before[key]), now=_brief(value)))


_START_ANOTHER = "; start another study with another --out"
_DIFFERENT = {
    _HOLDOUT: "this study was started with data.holdout {was}, not {now}" + _START_ANOTHER,
    _SPACE: "this study was started with another space" + _START_ANOTHER,
    "images": "this study compares runs of {was} images, not of {now}" + _START_ANOTHER,
    "sampler": "this study was started with --sampler {was}, not {now}" + _START_ANOTHER,
    "prune": "this study was started with another choice of --prune" + _START_ANOTHER,
    "data": "this study was started with other images (fingerprint {was}, now {now}); restore them, or "
    "start another study with another --out",
    "judge": "this study's scores are by the judge {was}, but the one here is {now}: use a folder that all workers "
    "share, or copy its judge.pt",
}


def _brief(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _sampler(name: SamplerName) -> BaseSampler:
    if name == "random":
        return RandomSampler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # In groups, because parameters within a case are missing from some trials.
        return TPESampler(multivariate=True, group=True, constant_liar=True)


def _suggest(trial: optuna.Trial, name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, optuna.distributions.IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    assert isinstance(distribution, optuna.distributions.FloatDistribution)
    return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)


def _suggest_preset(trial: optuna.Trial, own: Mapping[str, Any]) -> Any:
    """Suggests the preset's own values, and no value for a parameter whose range excludes the preset."""

    def choose(name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
        if name in own:
            return _suggest(trial, name, distribution)
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            return distribution.choices[0]
        return distribution.low  # type: ignore[attr-defined]

    return choose


def _value(trial: FrozenTrial) -> float:
    return math.inf if trial.value is None else trial.value
