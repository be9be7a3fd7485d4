"""``bentoml build`` packs everything that serving needs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import yaml

ROOT = Path(__file__).parents[2]


def requirements(name):
    lines = (ROOT / "serving" / name).read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def test_bento_gets_its_requirements_in_one_file():
    """BentoML copies the text of one file. An ``-r`` in it would point to nothing, or to the file itself."""
    packed = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]
    assert packed == {"requirements_txt": "serving/requirements-cpu.txt", "lock_packages": False}
    pinned = dict(line.split("==") for line in requirements("requirements-cpu.txt"))
    assert pinned.keys() == requirements("requirements.txt") | {"onnxruntime"}
    constraints = (ROOT / "constraints.txt").read_text().replace("_", "-").splitlines()
    assert {f"{name}=={version}" for name, version in pinned.items()} <= set(constraints)
    assert "-r requirements.txt" in requirements("requirements-gpu.txt")


def test_bento_packs_every_module_that_serving_imports():
    """Its list names modules one by one, since ``models`` also holds the networks, which need PyTorch."""
    include = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    found, waiting = set(), [*(ROOT / "serving").rglob("*.py")]
    while waiting:
        text = waiting.pop().read_text()
        for module in set(re.findall(r"^\s*from models\.(\w+) import", text, re.MULTILINE)) - found:
            found.add(module)
            waiting.append(ROOT / "models" / f"{module}.py")
    assert {"bundle", "noise", "strict"} <= found
    assert {f"models/{module}.py" for module in found} <= set(include)


def test_bento_ships_no_networks():
    """Networks need PyTorch, and pretrained weights would have to be installed; the service reads bundles only."""
    include = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    packed = {path for pattern in include for path in ROOT.glob(pattern)}
    assert not [path for path in packed if {"networks", "pretrained"} & set(path.relative_to(ROOT).parts)]


def clean_checkout(folder):
    """Copies the files that Git knows, without the trainer and the tests."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if name.split("/")[0] not in {"docs", "tests", "training"} and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def test_a_built_bento_serves_elsewhere(tmp_path, serve):
    """Neither the checkout nor its folder is needed any more."""
    checkout, home, elsewhere = (tmp_path / name for name in ("checkout", "home", "elsewhere"))
    for folder in (checkout, home, elsewhere):
        folder.mkdir()
    clean_checkout(checkout)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
    subprocess.run(
        [sys.executable, "-m", "bentoml", "build"],
        cwd=checkout,
        env=environment | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        check=True,
        capture_output=True,
    )
    shutil.rmtree(checkout)
    (bento,) = (folder for folder in (home / "bentos" / "figment").iterdir() if folder.is_dir())
    about = yaml.safe_load((bento / "bento.yaml").read_text())
    assert about["labels"]["licence"] == "Apache-2.0"
    assert "count" in str(about["schema"]["routes"][0]["input"]), "the description of requests is complete"
    moved = elsewhere / "bento"
    bento.rename(moved)
    with serve(start_in=elsewhere, project=moved, max_batch=2, intra_op_threads=1) as server:
        ready = server.wait(lambda answer: answer.status_code == 200, seconds=90)
        assert {model["model"] for model in ready.json()["models"]} == {"cifar10", "digits", "emoji"}
        image = httpx.get(server.url + "/images/digits/7.png")
        assert (image.status_code, image.headers["x-figment-model"]) == (200, "digits")
        (worker,) = psutil.Process(server.process.pid).children()
        assert "serving.worker" in worker.cmdline(), "bundles load beside BentoML's imports, here too"
        assert worker.environ()["PYTHONPATH"] == str(moved / "src"), "and the Bento's own code runs"
