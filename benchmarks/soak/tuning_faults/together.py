"""Starts several ``tune`` on one study at once, and kills some of them."""

import random
import shutil
import time

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.tuning_faults.checks import Found, check
from benchmarks.soak.tuning_faults.kills import LONGEST_SECONDS
from benchmarks.soak.tuning_faults.references import References
from benchmarks.soak.tuning_faults.setting import Setting, Size, kill, wait


def start_together(
    setting: Setting, references: References, size: Size, storage: str | None, times: int, rng: random.Random
) -> Outcome:
    """Makes ``times`` studies by two commands at once, one of which is killed in every second study."""
    found, wrong, killed, worked = Found(), [], 0, 0
    kind = "PostgreSQL" if storage else "its file"
    for number in range(times):
        out = setting.work / f"together-{'database' if storage else 'file'}-{number}"
        arguments = setting.arguments(out, size, storage)
        logs = [setting.log(out).with_suffix(f".{each}.log") for each in (0, 1)]
        processes = [setting.start(arguments, log) for log in logs]
        victim = rng.randrange(2) if number % 2 else None
        if victim is not None:
            while not any(out.glob("trials/*/checkpoints/*.pt")) and processes[victim].code() is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.5))
            killed += kill(processes[victim].pid)
        for each, process in enumerate(processes):
            code = wait(process, LONGEST_SECONDS)
            if code != (-9 if each == victim else 0):
                wrong.append(f"{out.name}: code {code}: {logs[each].read_text(errors='replace')[-400:]}")
        worked += all("trial " in log.read_text(errors="replace") for log in logs)
        if not wrong:
            check(out, storage, out.name, size, references, found)
        shutil.rmtree(out, ignore_errors=True)
    happened = (
        f"both worked in {worked} studies, {killed} commands were killed; {found.runs} runs equal to the same "
        "without faults"
    )
    return Outcome(
        f"two commands on one study at once, stored in {kind}",
        f"{times} studies",
        "each trial runs once, none lost",
        "; ".join([happened, *wrong, *found.problems]),
        not wrong and not found.problems and worked > 0 and killed >= times // 2 - 1,
    )
