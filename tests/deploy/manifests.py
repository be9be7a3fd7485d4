"""Builds the manifests of ``deploy/kubernetes`` with Kustomize, and compares them with published schemas."""

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = sorted(folder.name for folder in (KUBERNETES / "components").iterdir())
SCHEMAS = json.loads((ROOT / "tests" / "data" / "kubernetes" / "schemas.json").read_text())

Manifest = dict[str, Any]


def build(folder: Path) -> list[Manifest]:
    """Returns what ``kubectl apply -k FOLDER`` would apply."""
    program = shutil.which("kubectl")
    if not program and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("kubectl is not installed")
    assert program, "kubectl is not installed"
    done = subprocess.run([program, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@functools.cache
def overlay(name: str) -> list[Manifest]:
    """Returns the manifests of an overlay, or of another folder below ``deploy/kubernetes``."""
    return build(KUBERNETES / name)


def overlay_of(folder: Path, kustomization: str) -> list[Manifest]:
    """Returns the manifests of an overlay that an operator writes, in a folder beside this repository."""
    (folder / "figment").symlink_to(os.path.relpath(ROOT, folder))
    mine = folder / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(kustomization)
    return build(mine)


def with_components(folder: Path, *components: str, device: str = "cpu") -> list[Manifest]:
    """Returns the manifests of an overlay with components."""
    chosen = [f"../figment/deploy/kubernetes/components/{name}" for name in components]
    kustomization = {"resources": [f"../figment/deploy/kubernetes/overlays/{device}"], "components": chosen}
    return overlay_of(folder, yaml.safe_dump(kustomization))


def find(manifests: list[Manifest], kind: str) -> Manifest:
    """Returns the only manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def pod_of(manifest: Manifest) -> Manifest:
    """Returns the pod that a Deployment, a Job or a ServingRuntime describes."""
    spec: Manifest = manifest["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


def container_of(manifest: Manifest) -> Manifest:
    """Returns the container of the service."""
    (container,) = pod_of(manifest)["containers"]
    return container


def environment_of(manifest: Manifest) -> dict[str, str | None]:
    """Returns the container's variables; one from a secret has no value."""
    return {variable["name"]: variable.get("value") for variable in container_of(manifest)["env"]}


@functools.cache
def _validator(kind: str) -> jsonschema_rs.Validator:
    assert kind in SCHEMAS["kinds"], f"collect the schema of {kind}: tests/data/kubernetes/collect.py"
    schema = SCHEMAS["kinds"][kind]
    return jsonschema_rs.validator_for(schema | {"$defs": SCHEMAS["$defs"] | schema.get("$defs", {})})


def schema_faults(manifest: Manifest) -> list[str]:
    """Returns what an API server would reject, as far as its published schema says."""
    validator = _validator(f"{manifest['apiVersion']}/{manifest['kind']}")
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(manifest)]


def security_faults(pod: Manifest) -> list[str]:
    """Returns what the Pod Security Standard "restricted" forbids, for the fields that can break it here."""
    faults = [f"pod: {name}" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    allowed_volumes = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    faults += [f"volume {v['name']}" for v in pod.get("volumes", []) if not (v.keys() - {"name"}) <= allowed_volumes]
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        # A container's own setting comes before its pod's.
        context = pod.get("securityContext", {}) | container.get("securityContext", {})
        wanted = {
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser", 1) != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "privileged": not context.get("privileged"),
            "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        faults += [f"{container['name']}: {name}" for name, holds in wanted.items() if not holds]
    return faults
