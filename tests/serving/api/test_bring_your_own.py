"""The way of docs/bring-your-own.md, from PyTorch weights to an image by address, works as printed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serving.api.test_docs import ROOT, blocks, here

GUIDE = "docs/bring-your-own.md"
LINES = [line for block in blocks(GUIDE, "sh") for line in block.splitlines()]
PACKS = [line for line in LINES if line.startswith("python -m training pack dcgan:netG")]
CURLS = [line for line in LINES if line.startswith("curl ")]


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a line of the guide in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-c", command.replace("python ", f"{sys.executable} ", 1)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_guide_has_its_commands() -> None:
    assert len(PACKS) == 2
    assert len(CURLS) == 2


def test_from_weights_to_an_image_by_address(serve, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (module,) = blocks(GUIDE, "python")
    (tmp_path / "dcgan.py").write_text(module)
    names: dict[str, Any] = {}
    exec(compile(module, "dcgan.py", "exec"), names)
    torch.save(names["netG"]().state_dict(), tmp_path / "netG.pt")  # stands for the tutorial's training
    _, pack = PACKS
    done = run(pack, tmp_path)
    assert "noise       input [N, 100, 1, 1]" in done.stderr
    assert "range       -1 … 1" in done.stderr
    assert done.stdout == "zoo/faces/1\n"
    with serve(models=tmp_path / "zoo") as server:
        server.wait(lambda answer: answer.status_code == 200)
        for line in CURLS:
            run(here(line, server).replace("curl -s", "curl -fsS"), tmp_path)
    assert Image.open(tmp_path / "face.png").size == (64, 64)
    assert len(zipfile.ZipFile(tmp_path / "faces.zip").namelist()) == 10
