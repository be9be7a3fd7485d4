"""Exports the winner of a study as a bundle whose card describes the study."""

from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from models.bundle import Score, TuningRecord
from training.errors import TrainingError
from training.evaluation.in_loop import LoopJudge
from training.evaluation.metrics.table import LOOP_METRICS
from training.export import export
from training.runs.folder import RunFolder
from training.tuning.study.pruning import PRESET
from training.tuning.study.queue import identity_of
from training.tuning.study.study import BUDGET, SCORES, SEED, SETTINGS, Study, study_lock
from training.tuning.trial.folder import run_mismatch
from training.tuning.trial.run import RUN_SETTINGS

_EXPORTED = "exported"


def export_winner(study: Study, to: Path, name: str | None) -> Path:
    """Exports the winner's final run, or else the best of its re-runs, once for all workers. Returns the bundle.

    Raises ``TrainingError`` if the run is on another machine, or cannot be exported.
    """
    with study_lock(study.folder):
        best = study.final() or study.finalists()[0].best
        path = study.run_folder(best)
        key = f"{path.relative_to(study.folder)} → {to.resolve()} {name or ''}"
        attributes: dict[str, Any] = study.search.study.user_attrs
        done = attributes.get(_EXPORTED, {})
        if key in done and Path(done[key]).exists():
            return Path(done[key])
        if not (path / "best.pt").is_file():
            raise TrainingError(
                f"the winner was trained on another machine: export it there, or copy {path} to this machine"
            )
        run = RunFolder.open(path)
        _check_winner(study, run, best)
        bundle = export(run, to, name, tuning=tuning_record(study), scores=_scores(study, run, best.user_attrs[SCORES]))
        study.search.study.set_user_attr(_EXPORTED, {**done, key: str(bundle.resolve())})
    return bundle


def _check_winner(study: Study, run: RunFolder, best: FrozenTrial) -> None:
    attributes = best.user_attrs
    config = study.plan.config(attributes[SETTINGS], attributes.get(SEED), attributes.get(BUDGET))
    if mismatch := run_mismatch(run, [*attributes[SETTINGS], *RUN_SETTINGS], config, study.context.data):
        raise TrainingError(f"{mismatch}: another run overwrote the winner, so it cannot be exported")


def tuning_record(study: Study) -> TuningRecord:
    """Returns the card's record of the study."""
    trials, finalists = study.search.trials, study.finalists()
    winner = finalists[0]
    preset = next((finalist for finalist in finalists if identity_of(finalist.trial) == PRESET), None)
    return TuningRecord(
        study=study.name,
        trials=len(trials),
        ended_early=sum(trial.state == TrialState.PRUNED for trial in trials),
        images=study.plan.images,
        trial=identity_of(winner.trial),
        settings=winner.trial.user_attrs[SETTINGS],
        judge=study.context.judge.name,
        objectives=tuple(winner.values),
        preset_objectives=tuple(preset.values) if preset else (),
    )


def _scores(study: Study, run: RunFolder, scores: dict[str, Any]) -> tuple[Score, ...]:
    config, context = run.config, study.context
    assert config.judge is not None
    judge = LoopJudge(context.data, config.judge.samples, context.judge, config.network.noise_dim, config.conditional)
    return tuple(
        Score(
            metric=metric.name,
            value=scores[metric.name],
            judge=judge.name,
            samples=judge.samples,
            floor=judge.real_baseline[metric.name],
            ceiling=judge.noise_baseline[metric.name],
        )
        for metric in LOOP_METRICS
        if metric.name in scores
    )
