"""Where a run goes on from, and which of its settings may be others from there on.

Changes are recorded in ``changes.jsonl``, one line for each ``resume`` that made any, so that it stays known which
steps were taken under which settings.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from training.config.changeable import CHANGEABLE
from training.config.files import known_keys, lay_over, lay_settings_over, parse_config
from training.config.schema import Config
from training.errors import TrainingError
from training.loop.state import Best, TrainingState, check_same_run, checkpoints, read_newest
from training.runs.folder import RunFolder, RunStart, with_config, write_text
from training.runs.loggers import METRICS_FILE

CHANGES_FILE = "changes.jsonl"

Changes = dict[str, dict[str, Any]]
"""Dotted key → what it was (``from``) and what it is now (``to``)."""


def resume_point(run: RunStart | RunFolder) -> dict[str, Any] | None:
    """The newest readable checkpoint, its configuration brought up to the recorded changes; None before the first.

    Raises ``TrainingError`` if there were checkpoints and none is left to go on from, or ``config.yaml`` is another
    than the checkpoint's and what is recorded.
    """
    folder = run.path / "checkpoints"
    if not checkpoints(folder):
        seen = _images_reported(run.path)
        if seen >= run.config.pace.checkpoint + run.config.batch_size:
            raise TrainingError(
                f"{run.path} has seen {seen} images, but its checkpoints are gone; put them back, or begin anew with "
                f"another --out: python -m training fit {run.path / 'config.yaml'}"
            )
        return None
    content = read_newest(folder)
    before = content["configuration"]
    for changes in reversed(_possible(run.path, content["images_seen"])):
        content["configuration"] = _laid_over(before, changes)
        try:
            check_same_run(content["configuration"], run.config)
        except TrainingError:
            continue
        return content
    content["configuration"] = before
    check_same_run(before, run.config)
    return content


def changed_config(config: Config, settings: list[str]) -> Config:
    """The configuration of a run that has begun, with ``key=value`` settings laid over it.

    Raises ``TrainingError`` if one of them may not change, or the result makes no sense.
    """
    values = config.model_dump(mode="json")
    lay_settings_over(values, settings)
    for key in (setting.partition("=")[0] for setting in settings):
        if key in known_keys() and not any(key == free or key.startswith(f"{free}.") for free in CHANGEABLE):
            raise TrainingError(
                f"--set {key}: a run that has begun keeps it; what may change is {', '.join(sorted(CHANGEABLE))}. "
                "Begin a new run for another"
            )
    return parse_config(values, "--set")


def apply_changes(run: RunFolder, config: Config, state: TrainingState) -> RunFolder:
    """The run as it goes on from a state: under the configuration, which is written, and its changes recorded."""
    changes = _differences(run.config.model_dump(mode="json"), config.model_dump(mode="json"))
    recorded = _recorded(run.path)
    kept = _settled(recorded, run.config, state.images_seen)
    if changes:
        kept.append({"images_seen": state.images_seen, "settings": changes, "time": time.time()})
    if kept != recorded:
        write_text(run.path / CHANGES_FILE, "".join(json.dumps(line) + "\n" for line in kept))
    if not changes:
        return run
    _adopt_best(run, state)
    return with_config(run, config)


def _settled(recorded: list[dict[str, Any]], config: Config, images_seen: int) -> list[dict[str, Any]]:
    """The record of a run that goes on from a checkpoint.

    What was to hold from a later image on holds from the checkpoint on; a change that a kill has kept out of
    ``config.yaml`` never was.
    """
    now, kept = config.model_dump(mode="json"), list(recorded)
    while kept and kept[-1]["images_seen"] >= images_seen and not _holds(now, kept[-1]["settings"]):
        kept.pop()
    return [{**line, "images_seen": min(line["images_seen"], images_seen)} for line in kept]


def _adopt_best(run: RunFolder, state: TrainingState) -> None:
    """Holds the state to the generator in ``best.pt``, which may come from beyond the checkpoint.

    Under the same settings the run would come to it again; under others only a better one replaces it.
    """
    if not run.best.exists():
        return
    best = torch.load(run.best, map_location="cpu", weights_only=True)
    if best["half_life"] in state.emas:
        state.best = Best(best["fxd"], best["images_seen"], best["half_life"])


def _images_reported(run: Path) -> int:
    """How far ``metrics.jsonl`` goes."""
    path = run / METRICS_FILE
    seen = 0
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            seen = max(seen, int(json.loads(line)["images_seen"]))
        except (ValueError, KeyError, TypeError):
            break
    return seen


def _possible(run: Path, images_seen: int) -> list[list[Changes]]:
    """What may have been changed since a checkpoint: nothing, or any number of the recorded changes, in order.

    Between the record and ``config.yaml`` a kill may come.
    """
    later = [line["settings"] for line in _recorded(run) if line["images_seen"] >= images_seen]
    return [later[:count] for count in range(len(later) + 1)]


def _recorded(run: Path) -> list[dict[str, Any]]:
    path = run / CHANGES_FILE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _laid_over(configuration: dict[str, Any], changes: list[Changes]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(configuration))
    for each in changes:
        for key, change in each.items():
            lay_over(values, key, change["to"])
    return values


def _differences(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Changes:
    found: Changes = {}
    for key in after:
        was, now = before.get(key), after[key]
        if isinstance(was, dict) and isinstance(now, dict):
            found |= _differences(was, now, f"{prefix}{key}.")
        elif was != now:
            found[prefix + key] = {"from": was, "to": now}
    return found


def _holds(values: dict[str, Any], changes: Changes) -> bool:
    return all(_value(values, key) == change["to"] for key, change in changes.items())


def _value(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
