"""The winner of a study as a bundle whose card tells of the study."""

from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from models.bundle import Score, TuningRecord
from training.errors import TrainingError
from training.evaluation.in_loop import LoopJudge
from training.export import export
from training.runs.folder import RunFolder
from training.tuning.search.pruning import PRESET
from training.tuning.search.queue import identity_of
from training.tuning.search.study import BUDGET, SCORES, SEED, SETTINGS, Study, study_lock
from training.tuning.search.trial import FIXED
from training.tuning.search.trial_folder import other_run

_EXPORTED = "exported"


def export_winner(study: Study, to: Path, name: str | None) -> Path:
    """Writes the winner's final run, or the best of its re-runs, as a bundle, once for all workers.

    Returns its folder.

    Raises ``TrainingError`` if it was trained where this machine cannot see it, or cannot be exported.
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
            raise TrainingError(f"the winner was trained on another machine: export there, or copy {path} to here")
        run = RunFolder.open(path)
        _check_winner(study, run, best)
        bundle = export(run, to, name, tuning=tuning_record(study), scores=_scores(study, run, best.user_attrs[SCORES]))
        study.search.study.set_user_attr(_EXPORTED, {**done, key: str(bundle.resolve())})
    return bundle


def _check_winner(study: Study, run: RunFolder, best: FrozenTrial) -> None:
    attributes = best.user_attrs
    config = study.plan.config(attributes[SETTINGS], attributes.get(SEED), attributes.get(BUDGET))
    if difference := other_run(run, [*attributes[SETTINGS], *FIXED], config, study.workshop.data):
        raise TrainingError(f"{difference}: something has trained over the winner, so it cannot be exported")


def tuning_record(study: Study) -> TuningRecord:
    """What the card tells of the study."""
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
        judge=study.workshop.judge.name,
        objectives=tuple(winner.values),
        preset_objectives=tuple(preset.values) if preset else (),
    )


def _scores(study: Study, run: RunFolder, scores: dict[str, Any]) -> tuple[Score, ...]:
    config, shop = run.config, study.workshop
    assert config.judge is not None
    samples = config.judge.samples
    judge = LoopJudge(shop.data, samples, shop.judge, config.network.noise_dim, config.conditional)
    return (
        Score(
            metric="fxd",
            value=scores["fxd"],
            judge=judge.name,
            samples=samples,
            floor=judge.floor,
            ceiling=judge.ceiling,
        ),
        Score(
            metric="coverage",
            value=scores["coverage"],
            judge=judge.name,
            samples=samples,
            floor=judge.floor_coverage,
            ceiling=None,
        ),
    )
