"""``bentoml build`` packs everything that serving needs."""

import re
from pathlib import Path

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
