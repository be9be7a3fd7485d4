"""Takes the database away from workers for a while."""

import shutil
import time
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.tuning_faults.checks import Found, check, trials_of
from benchmarks.soak.tuning_faults.database import Server
from benchmarks.soak.tuning_faults.kills import LONGEST_SECONDS
from benchmarks.soak.tuning_faults.references import References
from benchmarks.soak.tuning_faults.setting import GRACE, Process, Setting, Size, wait
from training.tuning.study.storage import open_storage

AWAY = "the storage does not answer"
"""What a worker says when it notices."""


def take_database_away(
    setting: Setting, references: References, server: Server, size: Size, workers: int, seconds: float, times: int
) -> Outcome:
    """Stops the database for ``seconds`` while trials run, ``times`` in as many studies."""
    found, waited, ended = Found(), 0, []
    for number in range(times):
        out = setting.work / f"outage-{number}"
        log = setting.log(out)
        process = setting.start(setting.arguments(out, size, server.url, workers), log)
        if _wait_for_checkpoint(out, process):
            server.stop("immediate" if number % 2 else "fast")
            time.sleep(seconds)
            server.start()
        code = wait(process, LONGEST_SECONDS)
        text = log.read_text(errors="replace")
        waited += text.count(AWAY)
        if code != 0:
            ended.append(f"it ended with code {code}: {text.strip().splitlines()[-1]}")
            continue
        check(out, server.url, out.name, size, references, found)
        trials = trials_of(open_storage(server.url, out, GRACE).backend, out.name)
        if len(trials) != size.trials:
            found.problems.append(f"{out.name}: {len(trials) - size.trials} trials were taken from living workers")
        shutil.rmtree(out)
    noticed = waited >= times * workers
    happened = f"{waited} times a worker waited and went on; {found.runs} runs equal to the same without faults"
    return Outcome(
        f"PostgreSQL away for {seconds:g} s while {workers} worker{'s' if workers > 1 else ''} train",
        f"{times} times",
        "workers go on, no trial changes its worker, nothing lost",
        "; ".join([happened, *ended, *found.problems]),
        noticed and not ended and not found.problems,
    )


def _wait_for_checkpoint(out: Path, process: Process) -> bool:
    while not any(out.glob("trials/*/checkpoints/*.pt")):
        if process.code() is not None:
            return False
        time.sleep(0.01)
    return True
