"""Two processes treat, and give up, a run after the same step: only the first one has a doctor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.tiny_runs import FAMILIES, TINY, arguments

FALLS_ILL = """
import importlib.abc, importlib.machinery, math, sys

class Ill(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "training.doctor.doctor":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (run(module), fall_ill(module))
        return spec

def fall_ill(module):
    original = module.Doctor.observe
    def observe(self, signals):
        found = original(self, signals)
        if signals.step == 160 and signals.d_loss is not None:
            reason = module.Reason("simulated", {}, math.inf)
            found += self._report("divergence", signals.step, reason, at_once=True)
        return found
    module.Doctor.observe = observe

sys.meta_path.insert(0, Ill())
"""


def launch(hook: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [sys.executable, *torchrun, "-m", "training", *map(str, command)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{hook}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.mark.parametrize(("doctor", "images"), [("treat", 320), ("stop", 240)])
def test_two_processes_do_the_same_after_the_same_step(tmp_path: Path, digits: Path, doctor: str, images: int) -> None:
    (tmp_path / "sitecustomize.py").write_text(FALLS_ILL)
    run = tmp_path / "run"
    settings = [*TINY, *FAMILIES["mlp"], "precision=float32", "images=320", f"doctor={doctor}", "pace.tick=16"]
    done = launch(tmp_path, "fit", "digits", "--data", digits, "--out", run, *arguments(*settings))
    assert done.returncode == 0, done.stderr
    expected = {"treat": "trained on 320 images", "stop": "given up after 240 images"}
    assert done.stdout.count(expected[doctor]) == 1
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    assert max(line["images_seen"] for line in lines) == images
    [treatment] = [line for line in lines if "treatment" in line] or [None]
    if doctor == "treat":
        assert treatment is not None
        assert treatment["treatment"]["returned_to"] == 128, "the networks of the first process, in both"
        ticks = [line for line in lines if "discriminator_loss" in line]
        assert len(ticks) == 20, "both went on"
