"""Finds where a run continues, and applies changed settings from there on.

``changes.jsonl`` records the changes, one line for each ``resume`` that made any. So it stays known which steps were
taken under which settings.
"""

import json
import time
from pathlib import Path
from typing import Any

from training.config.changeable import CHANGEABLE
from training.config.files import apply_settings, known_keys, parse_config, set_key, value_at
from training.config.schema import Config
from training.errors import TrainingError
from training.loop.state import Best, TrainingState
from training.runs.checkpoints import check_same_run, checkpoints, read_best, read_newest
from training.runs.folder import RunFolder, RunStart, with_config
from training.runs.json_lines import METRICS_FILE, Line, read_lines, write_lines

CHANGES_FILE = "changes.jsonl"

Changes = dict[str, dict[str, Any]]
"""Dotted key → its old value (``from``) and its new value (``to``)."""


def resume_point(run: RunStart | RunFolder) -> dict[str, Any] | None:
    """Returns the newest readable checkpoint, with recorded changes in its configuration; None before the first.

    Raises ``TrainingError`` if the run had checkpoints and none is left or readable, or if ``config.yaml`` differs from
    the checkpoint's configuration by more than the recorded changes.
    """
    folder = run.path / "checkpoints"
    if not checkpoints(folder):
        seen = _last_logged(run.path)
        if seen >= run.config.pace.checkpoint + run.config.batch_size:
            raise TrainingError(
                f"{run.path} has seen {seen} images, but its checkpoints are gone; put them back, or begin anew with "
                f"another --out: python -m training fit {run.path / 'config.yaml'}"
            )
        return None
    checkpoint = read_newest(folder)
    before = checkpoint["configuration"]
    for changes in reversed(_possible_changes(run.path, checkpoint["images_seen"])):
        checkpoint["configuration"] = _apply(before, changes)
        try:
            check_same_run(checkpoint["configuration"], run.config)
        except TrainingError:
            continue
        return checkpoint
    checkpoint["configuration"] = before
    check_same_run(before, run.config)
    return checkpoint


def changed_config(config: Config, settings: list[str]) -> Config:
    """Returns the configuration of a started run with ``key=value`` settings applied.

    Raises ``TrainingError`` if a setting may not change, or the result is invalid.
    """
    values = config.model_dump(mode="json")
    apply_settings(values, settings)
    for key in (setting.partition("=")[0] for setting in settings):
        if key in known_keys() and not any(key == free or key.startswith(f"{free}.") for free in CHANGEABLE):
            raise TrainingError(
                f"--set {key}: a run that has begun keeps it; what may change is {', '.join(sorted(CHANGEABLE))}. "
                "Begin a new run for another"
            )
    return parse_config(values, "--set")


def apply_changes(run: RunFolder, config: Config, state: TrainingState) -> RunFolder:
    """Writes the configuration, records how it differs from the run's, and returns the run under it."""
    changes = _differences(run.config.model_dump(mode="json"), config.model_dump(mode="json"))
    recorded = read_lines(run.path / CHANGES_FILE)
    kept = _reconcile(recorded, run.config, state.images_seen)
    if changes:
        kept.append({"images_seen": state.images_seen, "settings": changes, "time": time.time()})
    if kept != recorded:
        write_lines(run.path / CHANGES_FILE, kept)
    if not changes:
        return run
    _adopt_best(run, state)
    return with_config(run, config)


def _reconcile(recorded: list[Line], config: Config, images_seen: int) -> list[Line]:
    """Returns the recorded changes as they hold for a run that continues from ``images_seen``.

    Drops changes that a kill kept out of ``config.yaml``. Changes recorded for a later image start at the checkpoint.
    """
    now, kept = config.model_dump(mode="json"), list(recorded)
    while kept and kept[-1]["images_seen"] >= images_seen and not _is_applied(now, kept[-1]["settings"]):
        kept.pop()
    return [{**line, "images_seen": min(line["images_seen"], images_seen)} for line in kept]


def _adopt_best(run: RunFolder, state: TrainingState) -> None:
    """Sets the state's best score to that of ``best.pt``, which may come from after the checkpoint.

    Under unchanged settings the run would reach that generator again. Under changed ones, only a better generator
    replaces it.
    """
    if not run.best.exists():
        return
    best = read_best(run.best)
    if best["half_life"] in state.emas:
        state.best = Best(best["fxd"], best["images_seen"], best["half_life"])


def _last_logged(run: Path) -> int:
    """Returns the largest ``images_seen`` in ``metrics.jsonl``, up to its first torn line; 0 without any."""
    path = run / METRICS_FILE
    seen = 0
    for text in path.read_text().splitlines() if path.exists() else ():
        try:
            seen = max(seen, int(json.loads(text)["images_seen"]))
        except (ValueError, KeyError, TypeError):
            break
    return seen


def _possible_changes(run: Path, images_seen: int) -> list[list[Changes]]:
    """Returns what may have changed since a checkpoint: no recorded change, the first, the first two, and so on.

    A change is recorded before ``config.yaml`` is written, and a kill can come between.
    """
    later = [line["settings"] for line in read_lines(run / CHANGES_FILE) if line["images_seen"] >= images_seen]
    return [later[:count] for count in range(len(later) + 1)]


def _apply(configuration: dict[str, Any], changes: list[Changes]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(configuration))
    for changed_together in changes:
        for key, change in changed_together.items():
            set_key(values, key, change["to"])
    return values


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Changes:
    found: Changes = {}
    for key in after:
        old, new = before.get(key), after[key]
        if isinstance(old, dict) and isinstance(new, dict):
            found |= _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found[prefix + key] = {"from": old, "to": new}
    return found


def _is_applied(values: dict[str, Any], changes: Changes) -> bool:
    return all(value_at(values, key) == change["to"] for key, change in changes.items())
