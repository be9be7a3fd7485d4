"""Writes STUDY/report.html: the results of a study for a person, in one file that loads nothing else."""

import base64
import io
import json
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from optuna.trial import FrozenTrial, TrialState
from PIL import Image

from training.config.files import value_at
from training.config.strict_yaml import dump_yaml
from training.files import write_atomic
from training.runs.best_checkpoint import load_best_generator
from training.runs.folder import RunFolder
from training.runs.sampling import grid_inputs, image_grid, sample
from training.tuning.report import plots
from training.tuning.report.findings import findings_table
from training.tuning.study.pruning import PRESET
from training.tuning.study.queue import identity_of
from training.tuning.study.study import BUDGET, ENDED, IMAGES, SCORES, SEED, SETTINGS, Finalist, Study
from training.tuning.trial.run import fixed_settings

REPORT_FILE = "report.html"
_TEMPLATE = Path(__file__).parent / "report.html.jinja"


@dataclass(frozen=True)
class _Row:
    """A row of the table of trials."""

    number: int
    state: str
    objective: str
    images: str
    settings: dict[str, str]


def write_report(study: Study) -> Path:
    """Writes the report atomically, and returns its path. Raises ``TrainingError`` if it cannot."""
    finalists = study.finalists()
    winner = finalists[0] if finalists else None
    number = identity_of(winner.trial) if winner else PRESET
    preset = next((finalist for finalist in finalists if identity_of(finalist.trial) == PRESET), None)
    trials = study.search.trials
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text()).render(
        study=study,
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        data=study.context.data,
        judge=study.context.judge.name,
        winner=winner,
        number=number,
        preset=preset,
        ratio=winner.mean / preset.mean if winner and preset and preset.mean else None,
        finalists=[(identity_of(finalist.trial), objective_text(finalist), finalist) for finalist in finalists],
        samples=[(title, samples_url(study, run)) for title, run in _runs_with_samples(study, winner, preset)],
        changes=_changes(study, winner),
        command=train_command(study, winner) if winner else None,
        trials=[_row(trial) for trial in sorted(trials, key=_order)],
        complete=sum(trial.state == TrialState.COMPLETE for trial in trials),
        ended_early=sum(trial.state == TrialState.PRUNED for trial in trials),
        images_seen=study.images_seen(),
        saved=1 - study.images_seen() / (max(1, len(trials)) * study.plan.images),
        findings=findings_table(study),
        curves=plots.learning_curves(study, number),
        importances=plots.importances(study),
        slices=plots.slices(study, number),
        parallel=plots.parallel_coordinates(study, number),
        value=lambda run: f"{run.value:.3f}",
        seed=lambda run: run.user_attrs.get(SEED, study.plan.base.seed),
        scores=lambda run: run.user_attrs[SCORES],
    )
    path = study.folder / REPORT_FILE
    write_atomic(path, page.encode())
    return path


def objective_text(finalist: Finalist) -> str:
    """Returns the objective in words: the mean over fresh seeds with its spread, or the only value."""
    if finalist.deviation is None:
        return f"objective {finalist.mean:.3f}"
    return f"objective {finalist.mean:.3f} ± {finalist.deviation:.3f} over {len(finalist.values)} fresh seeds"


def train_command(study: Study, winner: Finalist) -> str:
    """Returns the command line that repeats the winner's final run, or else its best run."""
    run = study.final() or winner.best
    plan = study.plan
    images = run.user_attrs.get(BUDGET, plan.images)
    settings = {
        **plan.space.settings,
        **plan.before,
        **run.user_attrs[SETTINGS],
        "precision": plan.precision,
        "seed": run.user_attrs.get(SEED, plan.base.seed),
        "judge.every": fixed_settings(images)["judge.every"],
    }
    options = [f"--set {shlex.quote(f'{key}={_yaml(value)}')}" for key, value in settings.items()]
    begin = f"python -m training fit {shlex.quote(plan.space.preset)} --data {shlex.quote(study.context.source)}"
    return " \\\n  ".join([f"{begin} --images {images}", *options])


def samples_url(study: Study, trial: FrozenTrial) -> str | None:
    """Returns a grid of a run's samples as a data URL, or None if the run is on another machine."""
    path = study.run_folder(trial)
    if not (path / "best.pt").is_file():
        return None
    run = RunFolder.open(path)
    noise, label = grid_inputs(run.config.network.noise_dim, run.labels)
    grid = image_grid(sample(load_best_generator(run).network, noise, label), min(run.labels, 10) or 10)
    return _png_url(grid)


def _png_url(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _runs_with_samples(study: Study, winner: Finalist | None, preset: Finalist | None) -> list[tuple[str, FrozenTrial]]:
    found = [(f"trial {identity_of(winner.trial)}, the winner", winner.best)] if winner else []
    if preset and preset is not winner:
        found.append(("the preset", preset.best))
    if final := study.final():
        found.append((f"the winner, trained for {final.user_attrs[BUDGET]:,} images", final))
    return found


def _changes(study: Study, winner: Finalist | None) -> list[tuple[str, str, str]]:
    """Returns the settings in which the winner differs: the key, the preset's value, the winner's value."""
    if winner is None:
        return []
    before = study.plan.base.model_dump(mode="json")
    found = []
    for key, value in winner.trial.user_attrs[SETTINGS].items():
        old = value_at(before, key)
        if old != value:
            found.append((key, _text(old), _text(value)))
    return found


def _row(trial: FrozenTrial) -> _Row:
    last = trial.value
    if last is None and trial.last_step is not None:
        last = trial.intermediate_values[trial.last_step]
    state = trial.user_attrs.get(ENDED) or (
        "spent its budget" if trial.state == TrialState.COMPLETE else trial.state.name.lower()
    )
    return _Row(
        number=identity_of(trial),
        state=state,
        objective="–" if last is None else f"{last:.3f}",
        images=f"{trial.user_attrs.get(IMAGES, 0):,}",
        settings={key: _text(value) for key, value in trial.user_attrs.get(SETTINGS, {}).items()},
    )


def _order(trial: FrozenTrial) -> tuple[bool, float, int]:
    """Sorts trials that spent their budget first, best first, then the others by the images they have seen."""
    if trial.value is not None:
        return False, trial.value, 0
    return True, -float(trial.user_attrs.get(IMAGES, 0)), trial.number


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else json.dumps(value)


def _yaml(value: Any) -> str:
    return dump_yaml(value, default_flow_style=True, width=np.inf).removesuffix("\n").removesuffix("\n...")
