"""Nobody is told what runs here: ONNX Runtime reports to its maker by default."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each as a program of its own: what reports decides so once, when it is imported.
SERVING = """
from pathlib import Path
from models.bundle import read_bundle
from serving.inference.device import Devices, Hardware
from serving.inference.engine import open_engine
open_engine(read_bundle(Path("models/zoo/digits/3")), Devices("cpu", Hardware(1)), 1)
"""
TRAINING = """
from pathlib import Path
from training.packing.running import Runner
Runner(Path("models/zoo/digits/3/generator.onnx").read_bytes())
"""


@pytest.mark.parametrize("program", [SERVING, TRAINING], ids=["serving", "training"])
def test_onnx_runtime_reports_nothing(program: str, tmp_path: Path) -> None:
    """Where it would, it keeps a number for the machine and what it has not sent yet in the user's folder."""
    quiet = {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)
    assert not [*tmp_path.rglob("*onnxruntime*")]
