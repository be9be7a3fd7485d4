"""The image installs exactly the tested versions, by hash, and lists what it ships."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DEVICES = ("cpu", "gpu")
LOCKS = (*DEVICES, "remote")


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def versions(text):
    """Returns the version of each pinned package."""
    return {normalised(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def is_cuda(name):
    """Whether a package is a CUDA library, which only the GPU's ONNX Runtime needs."""
    return name.startswith("nvidia-") and name != "nvidia-ml-py"


def locked(device):
    return (ROOT / "serving" / f"lock-{device}.txt").read_text()


@pytest.mark.parametrize("device", LOCKS)
def test_lock_has_the_tested_versions(device):
    """NVIDIA's CUDA libraries are no constraints: PyTorch's CUDA build asks for versions of its own."""
    constraints = versions((ROOT / "constraints.txt").read_text())
    pinned = {name: version for name, version in versions(locked(device)).items() if not is_cuda(name)}
    assert pinned
    assert {name: constraints.get(name) for name in pinned} == pinned, "run `make lock`"


@pytest.mark.parametrize("device", DEVICES)
def test_lock_has_what_serving_needs(device):
    lines = (ROOT / "serving" / "requirements.txt").read_text().splitlines()
    needed = {normalised(line) for line in lines if line and not line.startswith("#")}
    runtime = "onnxruntime" if device == "cpu" else "onnxruntime-gpu"
    assert needed | {runtime} <= versions(locked(device)).keys(), "run `make lock`"
    assert "torch" not in versions(locked(device))


@pytest.mark.parametrize("device", LOCKS)
def test_every_package_of_a_lock_has_hashes(device):
    """``pip --require-hashes`` needs them for every package, and refuses to install if one is missing."""
    entries = re.split(r"\n(?=\S)", locked(device).strip())[1:]  # the first is the comment
    assert len(entries) == len(versions(locked(device)))
    assert not [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)]


def test_both_locks_differ_only_in_onnx_runtime():
    cpu, gpu = (versions(locked(device)) for device in DEVICES)
    differing = {name for name, _ in cpu.items() ^ gpu.items() if not is_cuda(name)}
    assert differing == {"onnxruntime", "onnxruntime-gpu"}
    assert not [name for name in cpu if is_cuda(name)]


def test_packages_for_urls_are_in_the_image_only_if_asked_for():
    """Obstore alone is 16 MB. https:// works without them: BentoML brings fsspec and aiohttp."""
    extras = {"obstore", "huggingface-hub"}
    assert extras <= versions(locked("remote")).keys(), "run `make lock`"
    for device in DEVICES:
        assert not extras & versions(locked(device)).keys()
        assert {"fsspec", "aiohttp"} <= versions(locked(device)).keys()
        shared = versions(locked(device)).items() & versions(locked("remote")).items()
        names = versions(locked(device)).keys() & versions(locked("remote")).keys()
        assert dict(shared).keys() == names, "the second installation would change the first"
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "ARG REMOTE=\n" in dockerfile
    assert 'if [ -n "${REMOTE}" ]; then' in dockerfile
    assert "--require-hashes -r /build/lock-remote.txt" in dockerfile


def test_image_installs_from_the_lock():
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert '--require-hashes -r "/build/lock-${DEVICE}.txt"' in dockerfile
    assert "!serving/**" in (ROOT / ".dockerignore").read_text().splitlines()


def test_inventory_lists_every_package_with_its_licence(tmp_path):
    """Runs on the packages of the tests, which include those of the image."""
    subprocess.run([sys.executable, ROOT / "deploy" / "inventory.py", tmp_path, "1.2"], check=True)
    sbom = json.loads((tmp_path / "sbom.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["version"] == "1.2"
    components = {item["name"]: item for item in sbom["components"]}
    assert versions(locked("cpu")).keys() <= components.keys() | {"onnxruntime"}
    assert components["starlette"]["purl"] == f"pkg:pypi/starlette@{components['starlette']['version']}"
    references = [item["bom-ref"] for item in sbom["components"]]
    assert len(references) == len({*references})
    texts = (tmp_path / "THIRD_PARTY_LICENSES.txt").read_text()
    assert "Redistribution and use in source and binary forms" in texts
    for name in versions(locked("cpu")):
        assert f"\n{name} " in f"\n{texts}", name


def test_inventory_refuses_a_package_without_a_licence(tmp_path):
    folder = tmp_path / "site" / "mystery-1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mystery\nVersion: 1\n")
    result = subprocess.run(
        [sys.executable, "-S", ROOT / "deploy" / "inventory.py", tmp_path],
        env={"PYTHONPATH": str(folder.parent)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("mystery 1 names no licence")
