"""A study: a folder, a storage, a space and a budget; what of it is to be done next, and what has come of it."""

import math
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from training.config.files import parse_config
from training.config.schema import Config
from training.errors import TrainingError
from training.files import write_atomic
from training.locks import FileLock
from training.tuning.search.pruning import PRESET, AshaPruner, rungs
from training.tuning.search.queue import Queue, identity_of
from training.tuning.search.storage import Storage
from training.tuning.search.study_folder import FINALS, RERUNS, check_known, record_name, runs_in, study_name
from training.tuning.search.trial import TrialContext, fixed_settings
from training.tuning.space.space import Space, Values, dump_space

SETTINGS, ENDED, IMAGES, SCORES, SEED, OF = "settings", "ended", "images_seen", "scores", "seed", "of"
"""A trial's attributes: what was drawn, why it ended early, what it has cost, what the judge says; in re-runs the seed
and the trial that is run again."""
BUDGET = "budget"
"""And of a final run: its images."""

BEST = 3
"""So many of the best trials are run again, and the preset."""
_SEEDS_AT_MOST = 100
_BUDGETS_AT_MOST = 10**12

SamplerName = Literal["tpe", "random"]


@dataclass(frozen=True)
class Plan:
    """What a study was asked for: trials are comparable only within one plan."""

    space: Space
    images: int
    """The budget of each run."""
    sampler: SamplerName
    prune: bool
    precision: str
    """Of convolutions on this machine; others of the study may have another."""

    @cached_property
    def base(self) -> Config:
        """The preset with the space's settings and the study's budget. Raises ``TrainingError``."""
        return self.config({})

    def config(self, drawn: Values, seed: int | None = None, images: int | None = None) -> Config:
        """The configuration of a run, of the study's budget or another. Raises ``TrainingError``."""
        own = {} if seed is None else {"seed": seed}
        fixed = fixed_settings(images or self.images)
        values = self.space.values_of({**drawn, **fixed, "precision": self.precision, **own})
        return parse_config(values, f"space over preset {self.space.preset}")


@dataclass(frozen=True)
class Finalist:
    """A trial that was run again on fresh seeds."""

    trial: FrozenTrial
    reruns: tuple[FrozenTrial, ...]
    """Those that have spent their budget."""

    @property
    def values(self) -> list[float]:
        """The objective on each fresh seed; of a trial that was not run again, its own."""
        return [_value(run) for run in self.reruns or (self.trial,)]

    @property
    def mean(self) -> float:
        """Over the fresh seeds."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the fresh seeds, from two on."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def best(self) -> FrozenTrial:
        """The best of the re-runs, or the trial itself where there are none."""
        return min(self.reruns or (self.trial,), key=_value)


class Study:
    """The trials of a search, the re-runs of the best, and the final run of the winner."""

    def __init__(self, folder: Path, storage: Storage, plan: Plan, workshop: TrialContext) -> None:
        """Begins a study, or goes on with the one that is there.

        Raises ``TrainingError`` if that one was begun with another plan, other images or another judge, or if the
        folder has runs that are not the study's.
        """
        self.folder, self.plan, self.workshop = folder, plan, workshop
        self._storage = storage
        lock = study_lock(folder)
        with lock:
            self.name = study_name(folder, storage)
            found = runs_in(folder)  # before the storage is asked: what others begin meanwhile is then known
            check_known(folder, found, self._known_runs(), self.name, storage)
            search = self._open(self.name, plan.sampler, plan.prune)
            _check_same(search, self._about())
            reruns = self._open(self.name + RERUNS, "random", prune=False)
            finals = self._open(self.name + FINALS, "random", prune=False)
            record_name(folder, self.name)
            write_atomic(folder / "space.yaml", dump_space(plan.space).encode())
        self.search = Queue(search, storage, folder / "trials", lock)
        self.reruns = Queue(reruns, storage, folder / "reruns", lock)
        self.finals = Queue(finals, storage, folder / "finals", lock)
        self.search.add(PRESET, plan.space.parameters_of(plan.base), {SETTINGS: {}})

    def draw(self, trial: optuna.Trial, identity: int) -> Values:
        """The settings of a trial of the search; those of the preset's own are none."""
        if identity == PRESET:
            self.plan.space.draw(self.plan.base, _suggest_own(trial, self.plan.space.parameters_of(self.plan.base)))
            return {}
        settings = self.plan.space.draw(self.plan.base, lambda name, distribution: _suggest(trial, name, distribution))
        trial.set_user_attr(SETTINGS, settings)
        return settings

    def trial_folder(self, identity: int) -> Path:
        """Where a trial of the search trains."""
        return self.folder / "trials" / f"{identity:04d}"

    def rerun_folder(self, rerun: FrozenTrial | optuna.Trial) -> Path:
        """Where a re-run trains."""
        return self.folder / "reruns" / f"{rerun.user_attrs[OF]:04d}-seed{rerun.user_attrs[SEED]}"

    def final_folder(self, final: FrozenTrial | optuna.Trial) -> Path:
        """Where the winner trains for good."""
        return self.folder / "finals" / f"{final.user_attrs[OF]:04d}-{final.user_attrs[BUDGET]}"

    def ranking(self) -> list[FrozenTrial]:
        """The trials that have spent their budget, best first."""
        complete = [trial for trial in self.search.trials if trial.state == TrialState.COMPLETE]
        return sorted(complete, key=_value)

    def preset(self) -> FrozenTrial | None:
        """The trial that is the preset itself, if it has spent its budget."""
        return next((trial for trial in self.ranking() if identity_of(trial) == PRESET), None)

    def plan_reruns(self, seeds: int) -> None:
        """Puts the best trials and the preset into the queue of re-runs, on ``seeds`` seeds that no trial has had."""
        best = self.ranking()[:BEST]
        own = self.preset()
        for trial in [*best, *([own] if own and own not in best else [])]:
            identity = identity_of(trial)
            for number in range(1, seeds + 1):
                attributes = {
                    OF: identity,
                    SEED: (self.plan.base.seed + number) % 2**32,
                    SETTINGS: trial.user_attrs[SETTINGS],
                }
                self.reruns.add(identity * _SEEDS_AT_MOST + number, {}, attributes)

    def plan_final(self, images: int) -> None:
        """Puts the winner's best run into the queue of final runs, with a budget of its own."""
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
        """Why the winner's final run of this budget ended early or was given up, if it did or was."""
        identity = _final_identity(self.finalists()[0], images)
        run = next((run for run in self.finals.trials if identity_of(run) == identity), None)
        if run is None:
            return self.finals.given_up(identity)
        return run.user_attrs[ENDED] if run.state == TrialState.PRUNED else None

    def final(self) -> FrozenTrial | None:
        """The winner's final run, the longest if there are several."""
        finalists = self.finalists()
        runs = [
            run
            for run in self.finals.trials
            if run.state == TrialState.COMPLETE and run.user_attrs[OF] == identity_of(finalists[0].trial)
        ]
        return max(runs, key=lambda run: int(run.user_attrs[BUDGET]), default=None)

    def finalists(self) -> list[Finalist]:
        """The best trials and the preset, by their mean on fresh seeds where they were run again."""
        complete = [run for run in self.reruns.trials if run.state == TrialState.COMPLETE]
        found = []
        for trial in self.ranking():
            runs = tuple(run for run in complete if run.user_attrs[OF] == identity_of(trial))
            if runs or not complete:
                found.append(Finalist(trial, runs))
        return sorted(found, key=lambda finalist: finalist.mean)

    def run_folder(self, run: FrozenTrial) -> Path:
        """Where a trial, a re-run or a final run has trained."""
        if BUDGET in run.user_attrs:
            return self.final_folder(run)
        return self.rerun_folder(run) if OF in run.user_attrs else self.trial_folder(identity_of(run))

    def images_seen(self) -> int:
        """By all trials of the search together."""
        return sum(int(trial.user_attrs.get(IMAGES, 0)) for trial in self.search.trials)

    def _known_runs(self) -> set[Path]:
        """Where the trials, re-runs and final runs lie that the storage has; it is left as it is."""
        names = {self.name, self.name + RERUNS, self.name + FINALS}
        storage = self._storage.backend
        studies = [study for study in storage.get_all_studies() if study.study_name in names]
        return {self.run_folder(trial) for study in studies for trial in storage.get_all_trials(study._study_id)}

    def _open(self, name: str, sampler: SamplerName, prune: bool) -> optuna.Study:
        pruner: BasePruner = AshaPruner(rungs(self.plan.images)) if prune else NopPruner()
        storage, proposing = self._storage.backend, _sampler(sampler)
        try:
            return optuna.load_study(study_name=name, storage=storage, sampler=proposing, pruner=pruner)
        except KeyError:
            return optuna.create_study(
                storage=storage, study_name=name, sampler=proposing, pruner=pruner, load_if_exists=True
            )

    def _about(self) -> dict[str, Any]:
        return {
            "space": self.plan.space.model_dump(mode="json"),
            "images": self.plan.images,
            "sampler": self.plan.sampler,
            "prune": self.plan.prune,
            "data": self.workshop.data.fingerprint,
            "judge": self.workshop.judge.name,
        }


def _final_identity(winner: Finalist, images: int) -> int:
    return identity_of(winner.trial) * _BUDGETS_AT_MOST + images


def study_lock(folder: Path) -> FileLock:
    """The lock that whoever changes a study's folder or queue holds."""
    return FileLock(folder / "study.lock")


def _check_same(study: optuna.Study, about: dict[str, Any]) -> None:
    before = study.user_attrs
    for key, value in about.items():
        if key not in before:
            study.set_user_attr(key, value)
        elif before[key] != value:
            raise TrainingError(_DIFFERENT[key].format(was=_brief(before[key]), now=_brief(value)))


_BEGIN_ANEW = "; begin another study with another --out"
_DIFFERENT = {
    "space": "the space is not the one this study was begun with" + _BEGIN_ANEW,
    "images": "this study compares runs of {was} images, not of {now}" + _BEGIN_ANEW,
    "sampler": "this study was begun with --sampler {was}, not {now}" + _BEGIN_ANEW,
    "prune": "this study was begun with other words on pruning" + _BEGIN_ANEW,
    "data": "the images are not those this study was begun with (fingerprint {now}, then {was}); put them back, or "
    "begin another study with another --out",
    "judge": "this study's scores are by the judge {was}, and the one here is {now}: put the study's folder where all "
    "workers see it, or copy its judge.pt",
}


def _brief(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def _sampler(name: SamplerName) -> BaseSampler:
    if name == "random":
        return RandomSampler()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # In groups, for behind a case there are parameters that not every trial has.
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


def _suggest_own(trial: optuna.Trial, own: Mapping[str, Any]) -> Any:
    """Notes the preset's place in the space, and asks for nothing where it lies outside."""

    def choose(name: str, distribution: optuna.distributions.BaseDistribution) -> Any:
        if name in own:
            return _suggest(trial, name, distribution)
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            return distribution.choices[0]
        return distribution.low  # type: ignore[attr-defined]

    return choose


def _value(trial: FrozenTrial) -> float:
    return math.inf if trial.value is None else trial.value
