"""Kills ``tune`` and its workers at chosen moments, starts it again, and compares the finished study."""

import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from benchmarks.soak.tuning_faults.checks import Found, backend_of, check, trials_of
from benchmarks.soak.tuning_faults.references import References, score_lines
from benchmarks.soak.tuning_faults.setting import Process, Setting, Size, kill, wait, workers_of
from training.tuning.study.folder import FINALS, RERUNS
from training.tuning.study.storage import WORKER
from training.tuning.study.study import BUDGET

LONGEST_SECONDS = 240.0
"""A start of ``tune`` that takes longer counts as a hang."""
POLL_SECONDS = 0.005

STARTING, TRIAL, RERUN, FINAL, RESULT, BETWEEN = "start", "trial", "re-run", "final run", "result", "between runs"
"""What a kill strikes: the start, the training of a run, the writing of its result, or none of these: a choice of the
next run, the report, the export."""
AIMS = (STARTING, TRIAL, RESULT, RERUN, STARTING, FINAL, RESULT, BETWEEN)
"""The moments that are aimed at, first all in turn, then those that no kill has struck. A trial is always there; what
the others need may have passed."""


@dataclass
class Kills:
    """How many kills struck what."""

    struck: Counter[str] = field(default_factory=Counter)
    victims: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    starts: int = 0
    hangs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        """All kills."""
        return sum(self.struck.values())


@dataclass(frozen=True)
class Campaign:
    """Kills of one kind of study."""

    setting: Setting
    references: References
    size: Size
    storage: str | None
    workers: int
    aims: tuple[str, ...] = AIMS
    moved: bool = False
    """Whether the folder is moved before each start."""

    def run(self, name: str, kills: int, rng: random.Random, done: Kills, found: Found) -> None:
        """Makes studies until ``kills`` kills have struck one, and checks each."""
        target = done.count + kills
        while done.count < target and not done.hangs:
            done.studies += 1
            self._study(f"{name}-{done.studies}", target, rng, done, found)

    def _study(self, name: str, target: int, rng: random.Random, done: Kills, found: Found) -> None:
        out, log = self.setting.work / name, self.setting.work / f"{name}.log"
        while True:
            if self.moved and out.exists():
                out = out.rename(out.with_name(f"{name}-moved-{done.starts}"))
            arguments = self.setting.arguments(out, self.size, self.storage, self.workers)
            process = self.setting.start(arguments, log)
            done.starts += 1
            began = time.time()
            while done.count < target and process.code() is None:
                self._kill_once(process, out, name, began, rng, done)
            code = wait(process, LONGEST_SECONDS)
            if code is None:
                done.hangs.append(f"{name} did not end in {LONGEST_SECONDS:.0f} s")
                return
            if code == 0:
                break
            if code > 0 and done.count >= target:
                done.errors.append(f"{name} ended with code {code}: {_last_line(log)}")
                return
        check(out, self.storage, name, self.size, self.references, found)
        shutil.rmtree(out)

    def _aim(self, done: Kills) -> str:
        missed = [aim for aim in self.aims if not done.struck[aim]] if done.count >= len(self.aims) else []
        return missed[0] if missed else self.aims[done.count % len(self.aims)]

    def _kill_once(self, process: Process, out: Path, name: str, began: float, rng: random.Random, done: Kills) -> None:
        aim = self._aim(done)
        while not _reached(aim, out, began):
            if process.code() is not None:
                return
            time.sleep(POLL_SECONDS)
        time.sleep(_offset(aim, began, self.setting.fork, rng))
        backend = backend_of(out, self.storage) if (out / "study.json").exists() else None
        workers = workers_of(process.pid) if self.workers > 1 else []
        victim = process.pid
        if workers and done.count % 2:
            victim = rng.choice([pid for pid in workers if _run_of(backend, name, pid)] or workers)
        if not kill(victim) or process.code() not in (None, -9):
            return
        done.victims["a worker" if victim != process.pid else "tune itself"] += 1
        if backend is None or (out / "space.yaml").stat().st_mtime < began:
            done.struck[STARTING] += 1
        else:  # a parent takes its workers with it
            struck = workers if workers and victim == process.pid else [victim]
            done.struck[next(filter(None, (_struck(backend, name, pid, self.size) for pid in struck)), BETWEEN)] += 1
        if victim == process.pid:
            wait(process, 10)


def _reached(aim: str, out: Path, began: float) -> bool:
    """Returns whether the moment has come that is aimed at."""

    def unfinished(kind: str) -> bool:
        return any(path.stat().st_mtime >= began for path in _existing(out / kind, "*/checkpoints/*.pt"))

    if aim == STARTING:
        return True
    if aim == RERUN:
        return unfinished("reruns")
    if aim == FINAL:
        return unfinished("finals")
    if aim == RESULT:  # scored for the last time, and not yet told
        return any(
            (path / "checkpoints").exists() and _finished(path)
            for path in _existing(out, "*/*/")
            if (path / "scores.jsonl").exists() and (path / "scores.jsonl").stat().st_mtime >= began
        )
    if aim == BETWEEN:
        return any(path.is_dir() and not (path / "checkpoints").exists() for path in _existing(out, "reruns/*/"))
    return unfinished("trials")


def _existing(folder: Path, pattern: str) -> list[Path]:
    """Returns the paths of a pattern that are still there."""
    return [path for path in folder.glob(pattern) if path.exists()]


def _finished(run: Path) -> bool:
    lines = score_lines(run)
    images = (run / "config.yaml").read_text().partition("\nimages: ")[2].split()[:1]
    return bool(lines and images and f'"images_seen": {images[0]},' in lines[-1])


def _offset(aim: str, began: float, fork: bool, rng: random.Random) -> float:
    """Returns how many seconds after the moment the kill follows."""
    if fork:  # everything is imported, so all moments are short
        return rng.uniform(0.0, 0.4 if aim == STARTING else 0.05)
    if aim == STARTING:
        return max(0.0, rng.uniform(1.0, 5.0) - (time.time() - began))
    return rng.uniform(0.0, 0.6 if aim in (RESULT, BETWEEN) else 0.3)


def _run_of(backend: BaseStorage | None, name: str, worker: int) -> tuple[str, FrozenTrial] | None:
    """Returns the run that a worker has not ended, with the suffix of its queue; None if it has none."""
    if backend is None:
        return None
    for suffix in ("", RERUNS, FINALS):
        for trial in trials_of(backend, name + suffix):
            if trial.state == TrialState.RUNNING and trial.user_attrs.get(WORKER, "").endswith(f":{worker}"):
                return suffix, trial
    return None


def _struck(backend: BaseStorage, name: str, worker: int, size: Size) -> str | None:
    """Returns what a killed worker was doing, as the storage says afterwards; None between two runs."""
    found = _run_of(backend, name, worker)
    if found is None:
        return None
    suffix, trial = found
    if max(trial.intermediate_values, default=0) >= trial.user_attrs.get(BUDGET, size.images):
        return RESULT
    return {"": TRIAL, RERUNS: RERUN, FINALS: FINAL}[suffix]


def _last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or [""])[-1]


def describe(counts: Counter[str]) -> str:
    """Returns counts in words."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
