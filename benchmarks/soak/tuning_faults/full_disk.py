"""Fills the file system of a study: a small one in memory, which a file of zeros fills at chosen moments."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.tuning_faults.checks import Found, check
from benchmarks.soak.tuning_faults.kills import LONGEST_SECONDS
from benchmarks.soak.tuning_faults.references import References
from benchmarks.soak.tuning_faults.setting import Process, Setting, Size, wait

DISK_MIB = 64


def fill_the_disk(
    setting: Setting, references: References, size: Size, workers: int, times: int, rng: random.Random
) -> Outcome | None:
    """Fills the disk ``times`` times under studies, and makes room again. None if no disk can be mounted here."""
    found, stopped, number = Found(), 0, 0
    wrong: list[str] = []
    with _disk(setting.work / "disk") as disk:
        if disk is None:
            return None
        while stopped < times and not wrong:
            number += 1
            out = disk / f"full-{number}"
            log = setting.log(setting.work / out.name)
            finished = False
            while not finished:
                before = log.stat().st_size if log.exists() else 0
                process = setting.start(setting.arguments(out, size, None, workers), log)
                filled = stopped < times and _wait(out, process, rng) and _fill(disk, rng)
                code = wait(process, LONGEST_SECONDS)
                (disk / "filler").unlink(missing_ok=True)
                text = log.read_bytes()[before:].decode(errors="replace")
                finished = code == 0
                stopped += not finished
                if finished or (filled and code == 1 and "Traceback" not in text and _errors(text, workers)):
                    continue
                wrong.append(f"with a {'full' if filled else 'free'} disk it ended with code {code}: {text[-600:]}")
                break
            if finished:
                check(out, None, out.name, size, references, found)
                shutil.rmtree(out)
    happened = f"{stopped} starts ended with one sentence each; {found.runs} runs equal to the same without faults"
    return Outcome(
        f"a full disk under the study, {workers} worker{'s' if workers > 1 else ''}",
        f"{stopped} times in {number} studies",
        "one sentence, nothing lost, the same command goes on",
        "; ".join([happened, *wrong, *found.problems]),
        stopped >= times and not wrong and not found.problems,
    )


def _errors(text: str, workers: int) -> bool:
    """Returns whether each process has said one sentence, and no more."""
    count = sum(line.startswith("error: ") for line in text.splitlines())
    return count == 1 if workers == 1 else 1 <= count <= workers + 1


def _wait(out: Path, process: Process, rng: random.Random) -> bool:
    """Waits until a run has a checkpoint and a moment longer. Returns whether ``tune`` still runs."""
    began = time.time()
    while not any(path.stat().st_mtime > began for path in out.glob("*/*/scores.jsonl")):
        if process.code() is not None:
            return False
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.3))
    return process.code() is None


def _fill(disk: Path, rng: random.Random) -> bool:
    """Fills the disk but for a few kilobytes: sometimes the journal fits and a checkpoint does not."""
    left = rng.choice([0, 4096, 65536])
    with (disk / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - left))
    return True


@contextmanager
def _disk(folder: Path) -> Iterator[Path | None]:
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "figment", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
