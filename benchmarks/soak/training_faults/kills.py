"""Kills ``fit`` and ``resume`` with SIGKILL, lets the run go on, and compares it with an undisturbed one."""

import random
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.training_faults.commands import Place
from benchmarks.soak.training_faults.compare import damage, differences
from benchmarks.soak.training_faults.preloaded import ROOT, Preloaded, child_environment
from benchmarks.soak.training_faults.tally import Plan, Tally, plan

_KILLS_A_RUN = 5

PROMISE = "the run goes on and ends bit-equal: weights, scores, best, metrics, pictures; no file is left over"


def kill_in_phases(
    server: Preloaded, work: Path, each: int, fit_phases: Sequence[str] = (), resume_phases: Sequence[str] | None = ()
) -> Outcome:
    """Kills both commands ``each`` times in every phase, or in the given ones; ``resume`` not at all if they are None.

    Leaves the undisturbed run in ``work/whole``.
    """
    chance, tally = random.Random(each), Tally()
    whole = Place(work / "whole")
    begun = server.run(whole.fit(), whole.cache)
    half = Place(work / "half")
    _copy_half(whole, half)
    if begun.code:
        raise RuntimeError(begun.output)
    fits = plan("fit", begun.segments, each, chance, fit_phases)
    resumes = deque[Plan]()
    if resume_phases is not None:
        trial = Place(work / "trial")
        shutil.copytree(half.root, trial.root, dirs_exist_ok=True)
        resumed = server.run(trial.resume(), trial.cache)
        if resumed.code:
            raise RuntimeError(resumed.output)
        resumes = plan("resume", resumed.segments, each, chance, resume_phases)
    for plans in (fits, resumes):
        tally.expect(plans)
    number = 0
    while fits or resumes:
        number += 1
        place = Place(work / str(number))
        if not fits:
            shutil.copytree(half.root, place.root, dirs_exist_ok=True)
        for _ in range(_KILLS_A_RUN):
            command = place.begin_or_resume()
            plans = fits if command[0] == "fit" else resumes
            if not plans:
                break
            planned = plans.popleft()
            ended = server.run(command, place.cache, aim=planned.aim)
            if not ended.was_killed:
                if ended.code:
                    tally.problems.append(f"{command[0]} ended with {ended.code}: {ended.last_line}")
                tally.miss(plans, planned)
                break
            struck = f"{command[0]}: {ended.phase}"
            tally.strike(struck, plans, planned)
            tally.problems += [f"after a kill in {struck}: {problem}" for problem in damage(place.run)]
        tally.problems += _finish(server, whole, place)
        tally.compared += 1
        shutil.rmtree(place.root)
    return tally.outcome("SIGKILL in every phase of `fit`, and of `resume` again and again", PROMISE, "runs")


def kill_real_processes(server: Preloaded, work: Path, kills: int) -> Outcome:
    """Kills ``python -m training`` at random moments from its first second on."""
    chance, tally = random.Random(kills), Tally()
    whole = Place(work / "whole")
    if not whole.run.exists() and server.run(whole.fit(), whole.cache).code:
        raise RuntimeError("the undisturbed run failed")
    seconds = 0.0
    while tally.struck.total() < kills:
        place = Place(work / f"real{tally.compared}")
        for _ in range(_KILLS_A_RUN):
            if tally.struck.total() == kills:
                break
            command = place.begin_or_resume()
            began = time.monotonic()
            process = subprocess.Popen(
                [sys.executable, "-m", "training", *command],
                cwd=ROOT,
                env=child_environment(place.cache),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            try:
                _, output = process.communicate(timeout=chance.random() * seconds if seconds else None)
            except subprocess.TimeoutExpired:
                process.kill()
                _, output = process.communicate()
                tally.struck[f"{command[0]}: {_stage(place, output)}"] += 1
                tally.problems += damage(place.run)
                continue
            seconds = max(seconds, time.monotonic() - began)  # the first one runs to its end, and is measured
            if process.returncode:
                tally.problems.append(f"{command[0]} ended with {process.returncode}: {output[-300:]}")
            break
        tally.problems += _finish(server, whole, place)
        tally.compared += 1
        shutil.rmtree(place.root)
    return tally.outcome("SIGKILL of `python -m training fit` and `resume` from the first second on", PROMISE, "runs")


def _copy_half(whole: Place, half: Place) -> None:
    """Copies a run as a kill after its first checkpoint would leave it."""
    shutil.copytree(whole.root, half.root, dirs_exist_ok=True)
    for path in sorted(half.run.glob("checkpoints/*.pt"))[1:]:
        path.unlink()


def _finish(server: Preloaded, whole: Place, place: Place) -> list[str]:
    """Lets a run end, and returns what is wrong with it; at first tries to begin it again, which must not hurt it."""
    problems = []
    if list(place.run.glob("checkpoints/*.pt")):
        again = server.run(place.fit(), place.cache)
        if again.code != 1 or f"go on with: python -m training resume {place.run}" not in again.last_line:
            problems.append(f"a second fit ended with {again.code}: {again.last_line}")
    last = server.run(place.begin_or_resume(), place.cache)
    if last.code:
        problems.append(f"cannot go on: {last.last_line}")
    return problems + differences(whole.run, place.run)


def _stage(place: Place, output: str) -> str:
    """Returns how far a killed process had come, by what it has printed and written."""
    if "first step in" in output:
        return "training"
    if "held out" in output:
        return "before the first step"
    return "decoding" if "decoding" in output else "imports" if not output else "start"
