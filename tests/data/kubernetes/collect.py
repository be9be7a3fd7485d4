"""Collects the published schemas of every kind in deploy/kubernetes into schemas.json.

Run it when a new kind is used, or for a newer version of a project, in a virtual environment of its own:

    pip install kubernetes-validate==1.37.0
    pip install cloudcoil-models-keda==2.16.1.0 cloudcoil-models-prometheus-operator==0.80.1.0
    pip install --no-deps kserve==0.21.0
    python tests/data/kubernetes/collect.py

kubernetes-validate ships the API server's own OpenAPI definitions, with unknown fields forbidden; the two packages of
cloudcoil are generated from the projects' custom resource definitions; KServe's package holds the types of its fields.
Descriptions are left out: they are nine tenths of the text.
"""

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

Schema = dict[str, Any]

OUT = Path(__file__).with_name("schemas.json")
KUBERNETES_VERSION = "v1.37.0"
KUBERNETES = {
    "v1/Namespace": "io.k8s.api.core.v1.Namespace",
    "v1/PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "v1/Service": "io.k8s.api.core.v1.Service",
    "v1/ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "apps/v1/Deployment": "io.k8s.api.apps.v1.Deployment",
    "autoscaling/v2/HorizontalPodAutoscaler": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    "batch/v1/Job": "io.k8s.api.batch.v1.Job",
    "networking.k8s.io/v1/NetworkPolicy": "io.k8s.api.networking.v1.NetworkPolicy",
    "policy/v1/PodDisruptionBudget": "io.k8s.api.policy.v1.PodDisruptionBudget",
}
KSERVE = {
    "serving.kserve.io/v1beta1/InferenceService": "V1beta1InferenceService",
    "serving.kserve.io/v1alpha1/ServingRuntime": "V1alpha1ServingRuntime",
}
KUBERNETES_GROUPS = ("core.v1", "autoscaling.v2", "apps.v1", "resource.v1")


def package(name: str) -> Path:
    """Returns the folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None, f"{name} is not installed"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


def without_descriptions(schema: Any) -> Any:
    """Returns a schema without its texts for people. A property may be named description itself."""
    if isinstance(schema, dict):
        return {
            key: without_descriptions(value)
            for key, value in schema.items()
            if not (key in ("description", "title", "default") and not isinstance(value, dict))
        }
    return [without_descriptions(item) for item in schema] if isinstance(schema, list) else schema


def kubernetes_definitions() -> dict[str, Schema]:
    """Returns every definition of Kubernetes' API by its name."""
    folder = package("kubernetes_validate") / "kubernetes-json-schema" / f"{KUBERNETES_VERSION}-local-strict"
    definitions: dict[str, Schema] = json.loads((folder / "_definitions.json").read_text())["$defs"]
    return definitions


def cloudcoil_schemas() -> dict[str, Schema]:
    """Returns the schemas of KEDA's and the Prometheus operator's kinds, with unknown fields forbidden."""
    from cloudcoil.models.keda.v1alpha1 import ScaledObject
    from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor

    schemas = {}
    for model in (ScaledObject, PrometheusRule, ServiceMonitor):
        schema = model.model_json_schema(by_alias=True)
        for definition in (schema, *schema["$defs"].values()):
            if "properties" in definition:
                definition.setdefault("additionalProperties", False)
        constants = [schema["properties"][name]["anyOf"][0]["const"] for name in ("apiVersion", "kind")]
        schemas["/".join(constants)] = schema
    return schemas


class KServe:
    """Turns the types in KServe's Python package into schemas."""

    def __init__(self, kubernetes: dict[str, Schema]) -> None:
        self._classes: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        for file in sorted((package("kserve") / "models").glob("v1*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    values = {
                        statement.targets[0].id: ast.literal_eval(statement.value)
                        for statement in node.body
                        if isinstance(statement, ast.Assign)
                    }
                    self._classes[node.name] = (values["openapi_types"], values["attribute_map"])
        self._kubernetes = kubernetes

    def schema(self, name: str) -> Schema:
        """Returns the schema of a class: its fields, and no others."""
        types, names = self._classes[name]
        properties = {names[field]: self._type(kind) for field, kind in types.items() if field != "status"}
        return {"type": "object", "properties": properties, "additionalProperties": False}

    def _type(self, kind: str) -> Schema:
        if found := re.fullmatch(r"list\[(.+)\]", kind):
            return {"type": "array", "items": self._type(found[1])}
        if found := re.fullmatch(r"dict\(str, (.+)\)", kind):
            return {"type": "object", "additionalProperties": self._type(found[1])}
        simple = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}
        if kind in simple:
            return {"type": simple[kind]}
        if kind in self._classes:
            return {"$ref": f"#/$defs/{kind}"}
        return self._kubernetes_type(kind)

    def _kubernetes_type(self, kind: str) -> Schema:
        plain = kind.removeprefix("V1")
        candidates = [f"io.k8s.api.{group}.{plain}" for group in KUBERNETES_GROUPS]
        candidates += [f"io.k8s.apimachinery.pkg.apis.meta.v1.{plain}"]
        for candidate in candidates:
            if candidate in self._kubernetes:
                return {"$ref": f"#/$defs/{candidate}"}
        return {}  # a quantity, a duration or an unpublished type: anything

    def definitions(self) -> dict[str, Schema]:
        """Returns the schema of every class."""
        return {name: self.schema(name) for name in self._classes}


def with_definitions(root: Schema, definitions: dict[str, Schema]) -> dict[str, Schema]:
    """Returns the definitions that a schema needs, each with those that it needs itself."""
    needed: dict[str, Schema] = {}
    waiting = [root]
    while waiting:
        for name in re.findall(r'"#/\$defs/([^"]+)"', json.dumps(waiting.pop())):
            if name not in needed:
                needed[name] = without_descriptions(definitions[name])
                waiting.append(needed[name])
    return needed


def main() -> None:
    """Writes schemas.json: definitions that all kinds share, and each kind's own schema."""
    definitions = kubernetes_definitions()
    kserve = KServe(definitions)
    definitions |= kserve.definitions()
    kinds = {kind: {"$ref": f"#/$defs/{name}"} for kind, name in (KUBERNETES | KSERVE).items()}
    shared = with_definitions({"kinds": kinds}, definitions)
    kinds |= {kind: without_descriptions(schema) for kind, schema in cloudcoil_schemas().items()}
    lines = [f"{json.dumps(name)}:{json.dumps(shared[name], separators=(',', ':'))}" for name in sorted(shared)]
    rows = [f"{json.dumps(kind)}:{json.dumps(kinds[kind], separators=(',', ':'))}" for kind in sorted(kinds)]
    OUT.write_text('{"$defs":{\n' + ",\n".join(lines) + '\n},"kinds":{\n' + ",\n".join(rows) + "\n}}\n")


main()
