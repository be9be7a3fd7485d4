"""The manifests fit Kubernetes, and the service: its life-cycle, its settings, its routes and its metrics."""

import copy
import os
import re
import shutil
import subprocess

import pytest
import yaml

from serving.config.settings import Settings, load_settings
from serving.http.routing import Access
from serving.metrics import Metrics
from serving.routes import ROUTES
from tests.deploy.manifests import (
    COMPONENTS,
    KUBERNETES,
    ROOT,
    container_of,
    environment_of,
    find,
    overlay,
    overlay_of,
    pod_of,
    schema_faults,
    security_faults,
    with_components,
)

DOCUMENT = ROOT / "docs" / "kubernetes.md"
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
RULE_MANIFEST = KUBERNETES / "components" / "monitoring" / "prometheus-rule.yaml"
RULE_HEAD = """\
# deploy/prometheus/rules.yaml for the Prometheus operator. Written by tests/deploy/test_kubernetes.py.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: figment
  namespace: figment
  labels: {app.kubernetes.io/name: figment}
spec:
"""

SERVED = [("overlays/cpu", "Deployment"), ("overlays/gpu", "Deployment"), ("kserve", "ServingRuntime")]


@pytest.fixture
def no_settings(monkeypatch):
    """Removes the variables of the machine that runs the test."""
    for name in [name for name in os.environ if name.upper().startswith("FIGMENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture(params=SERVED, ids=lambda served: served[0])
def served(request):
    """The manifest that describes the service's pod."""
    name, kind = request.param
    return find(overlay(name), kind)


@pytest.mark.parametrize("name", [name for name, _ in SERVED])
def test_overlays_fit_the_published_schemas(name):
    assert {manifest["metadata"]["namespace"] for manifest in overlay(name)} == {"figment"}
    assert [fault for manifest in overlay(name) for fault in schema_faults(manifest)] == []


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_each_component_fits_the_published_schemas_and_restricted_pods(component, device, tmp_path):
    manifests = with_components(tmp_path, component, device=device)
    assert [fault for manifest in manifests for fault in schema_faults(manifest)] == []
    assert manifests != overlay(f"overlays/{device}"), "it changes nothing"
    assert security_faults(pod_of(find(manifests, "Deployment"))) == []


def test_the_tuning_job_fits_the_published_schemas():
    job = yaml.safe_load_all((KUBERNETES / "tune-job.yaml").read_text())
    assert [fault for manifest in job for fault in schema_faults(manifest)] == []


def test_a_misspelt_field_is_found():
    """The validator itself: a schema that allows everything would prove nothing."""
    for name, kind in SERVED:
        manifest = copy.deepcopy(find(overlay(name), kind))
        container_of(manifest)["livenessprobe"] = {}
        assert len(schema_faults(manifest)) == 1
    service = copy.deepcopy(find(overlay("kserve"), "InferenceService"))
    service["spec"]["predictor"]["minReplica"] = 1
    assert len(schema_faults(service)) == 1
    rules = yaml.safe_load(RULE_MANIFEST.read_text())
    rules["spec"]["groups"][0]["rules"][0]["expression"] = "up"
    assert len(schema_faults(rules)) == 1


def test_pods_are_restricted(served):
    assert security_faults(pod_of(served)) == []
    assert container_of(served)["securityContext"]["readOnlyRootFilesystem"] is True
    # Clusters that assign users of their own reject a number here.
    assert "runAsUser" not in str(served)


def test_a_change_of_the_security_context_is_found():
    pod = copy.deepcopy(pod_of(find(overlay("overlays/cpu"), "Deployment")))
    del pod["securityContext"]["seccompProfile"]
    pod["containers"][0]["securityContext"]["capabilities"] = {"drop": []}
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    assert security_faults(pod) == ["volume host", "figment: seccompProfile", "figment: capabilities"]


def test_every_variable_is_a_setting_in_its_range(served, no_settings, monkeypatch):
    for name, value in environment_of(served).items():
        assert name.startswith("FIGMENT_")
        monkeypatch.setenv(name, value)
    load_settings()


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_variable_of_a_component_is_a_setting(component, tmp_path, no_settings, monkeypatch):
    environment = environment_of(find(with_components(tmp_path, component), "Deployment"))
    for name, value in environment.items():
        monkeypatch.setenv(name, "a-key" if value is None else value)
    load_settings()


def test_the_grace_period_covers_the_life_cycle():
    """Kubernetes kills what has not ended by then: requests in flight would be cut off."""
    for name, kind in SERVED:
        manifest = find(overlay(name), kind)
        given = {field: environment_of(manifest).get(f"FIGMENT_{field.upper()}") for field in Settings.model_fields}
        settings = Settings(**{field: value for field, value in given.items() if value is not None})
        if kind == "ServingRuntime":
            pre_stop, pod = 0, find(overlay(name), "InferenceService")["spec"]["predictor"]
        else:
            pre_stop, pod = container_of(manifest)["lifecycle"]["preStop"]["sleep"]["seconds"], pod_of(manifest)
            assert pre_stop > 0
        cut_off, margin = 1, 5
        needed = pre_stop + settings.linger_seconds + settings.drain_seconds + cut_off + margin
        assert settings.linger_seconds > 0
        assert pod["terminationGracePeriodSeconds"] >= needed


def test_probes_ask_public_routes_that_mean_what_kubernetes_does_with_them(served):
    public = {route.template for route in ROUTES if route.access is Access.PUBLIC}
    container = container_of(served)
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert set(paths.values()) <= public
    # A restart does not mend a missing bundle: only /livez may cause one.
    assert (paths["startup"], paths["liveness"]) == ("/livez", "/livez")
    assert paths["readiness"] in ("/readyz", "/v2/health/ready")
    ports = {port.get("name"): port["containerPort"] for port in container["ports"]}
    for name in ("startup", "readiness", "liveness"):
        port = container[f"{name}Probe"]["httpGet"]["port"]
        assert ports.get(port, port) == 3000
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
    # A restart interrupts everybody. Three tries outlast a busy moment.
    assert container["livenessProbe"]["failureThreshold"] >= 3


def test_resources_are_whole_cores_with_a_memory_limit(served):
    resources = container_of(served)["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"]
    assert int(resources["limits"]["cpu"]) >= 1
    assert resources["requests"].keys() == {"cpu", "memory"}
    assert {"cpu", "memory"} <= resources["limits"].keys()


def test_volumes_are_mounted_and_bundles_lie_on_one(tmp_path):
    for component in ("bundles-volume", "bundles-image"):
        folder = tmp_path / component
        folder.mkdir()
        manifest = find(with_components(folder, component), "Deployment")
        pod, container = pod_of(manifest), container_of(manifest)
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert mounts[environment_of(manifest)["FIGMENT_MODELS"]]["readOnly"] is True
        assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in pod["volumes"]}
        assert "/tmp" in mounts


def test_the_gpu_overlay_asks_for_a_gpu_and_never_serves_without():
    manifest = find(overlay("overlays/gpu"), "Deployment")
    assert container_of(manifest)["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert environment_of(manifest)["FIGMENT_DEVICE"] == "cuda"
    assert manifest["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_everything_selects_the_pods(tmp_path):
    manifests = with_components(tmp_path, "monitoring")
    deployment = find(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    service = find(manifests, "Service")
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        find(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        find(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *[spread["labelSelector"]["matchLabels"] for spread in pod_of(deployment)["topologySpreadConstraints"]],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    monitor = find(manifests, "ServiceMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,), (port,) = monitor["endpoints"], service["spec"]["ports"]
    assert endpoint["port"] == port["name"]
    assert endpoint["path"] in {route.template for route in ROUTES}
    names = {port["name"] for port in container_of(deployment)["ports"]}
    (rule,) = find(manifests, "NetworkPolicy")["spec"]["ingress"]
    assert {port["targetPort"], *(port["port"] for port in rule["ports"])} == names
    # The alerts look for this job, and a ServiceMonitor's job is the Service's name.
    assert service["metadata"]["name"] == "figment"


@pytest.mark.parametrize(("component", "kind"), [("keda", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")])
def test_an_autoscaler_alone_decides_the_number_of_replicas(component, kind, tmp_path):
    manifests = with_components(tmp_path, component)
    deployment, scaler = find(manifests, "Deployment"), find(manifests, kind)["spec"]
    assert "replicas" not in deployment["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    least, most = (scaler.get(f"{end}ReplicaCount") or scaler[f"{end}Replicas"] for end in ("min", "max"))
    assert 2 <= least < most, "one replica cannot be drained without an outage"


def test_both_autoscalers_want_the_same(tmp_path):
    keda = find(with_components(tmp_path, "keda"), "ScaledObject")["spec"]
    hpa = yaml.safe_load((KUBERNETES / "components" / "hpa" / "autoscaler.yaml").read_text())["spec"]
    assert keda["advanced"]["horizontalPodAutoscalerConfig"]["behavior"] == hpa["behavior"]
    cpu, *queries = keda["triggers"]
    queued, wait = (trigger["metadata"]["threshold"] for trigger in queries)
    processor, *pods = hpa["metrics"]
    assert processor["resource"]["target"]["averageUtilization"] == int(cpu["metadata"]["value"])
    assert (cpu["type"], processor["resource"]["name"], cpu["metricType"]) == ("cpu", "cpu", "Utilization")
    targets = [metric["pods"]["target"]["averageValue"] for metric in pods]
    assert targets == [queued, f"{float(wait) * 1000:.0f}m"]
    assert int(queued) == Settings.model_fields["max_batch"].default


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_the_processor_is_requested_where_the_autoscaler_follows_it(device):
    """Utilization is a share of the request: without one, the autoscaler would do nothing at all."""
    assert float(container_of(find(overlay(f"overlays/{device}"), "Deployment"))["resources"]["requests"]["cpu"]) >= 1


def test_the_adapter_has_the_metrics_that_the_autoscaler_names():
    hpa = yaml.safe_load((KUBERNETES / "components" / "hpa" / "autoscaler.yaml").read_text())
    adapter = yaml.safe_load((KUBERNETES / "components" / "hpa" / "adapter-values.yaml").read_text())
    assert [metric["pods"]["metric"]["name"] for metric in hpa["spec"]["metrics"] if metric["type"] == "Pods"] == [
        rule["name"]["as"] for rule in adapter["rules"]["custom"]
    ]


QUEUED, WAIT = (
    trigger["metadata"]["query"]
    for trigger in yaml.safe_load((KUBERNETES / "components" / "keda" / "scaled-object.yaml").read_text())["spec"][
        "triggers"
    ]
    if trigger["type"] == "prometheus"
)
BUCKETS = {"0.05": 0, "0.1": 30, "0.25": 60, "+Inf": 60}


@pytest.mark.parametrize(
    ("series", "query", "value"),
    [
        # Two pods, two models: 30 + 0 + 10 + 60 images wait.
        ({'figment_queued_images{namespace="figment",pod="a",model="x"}': "30x20",
          'figment_queued_images{namespace="figment",pod="a",model="y"}': "0x20",
          'figment_queued_images{namespace="figment",pod="b",model="x"}': "10x20",
          'figment_queued_images{namespace="figment",pod="b",model="y"}': "60x20",
          'figment_queued_images{namespace="other",pod="c",model="y"}': "500x20"}, QUEUED, 100),
        # Half of the requests wait for at most 0.1 s, all for at most 0.25 s.
        ({f'figment_queue_wait_seconds_bucket{{namespace="figment",pod="a",le="{le}"}}': f"0+{step}x20"
          for le, step in BUCKETS.items()}, WAIT, 0.235),
        # No requests: the quantile is NaN, which no autoscaler can compare.
        ({f'figment_queue_wait_seconds_bucket{{namespace="figment",pod="a",le="{le}"}}': "0x20"
          for le in BUCKETS}, WAIT, 0),
        ({}, WAIT, 0),
    ],
    ids=["queued", "waiting", "idle", "no pods"],
)  # fmt: skip
def test_the_queries_of_the_autoscaler(series, query, value, tmp_path):
    if not shutil.which("promtool") and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("promtool is not installed")
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    expected = {"expr": query, "eval_time": "5m", "exp_samples": [{"labels": "{}", "value": value}]}
    test = {"interval": "30s", "input_series": inputs, "promql_expr_test": [expected]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "test.yaml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def exposed_names():
    """The names of all series in ``/metrics``, and of the histograms themselves."""
    suffixes = {"histogram": ("", "_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
    types = re.findall(r"^# TYPE (\w+) (\w+)$", Metrics().exposition().decode(), re.MULTILINE)
    return {name + suffix for name, kind in types for suffix in suffixes[kind]}


# The rules have tests of their own, which know recorded series, too.
METRIC_FILES = sorted(set(KUBERNETES.rglob("*.yaml")) - {RULE_MANIFEST})


@pytest.mark.parametrize("path", METRIC_FILES, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_every_metric_in_a_file_exists(path):
    """A misspelt one would never scale or show anything."""
    names = set(re.findall(r"(?<![\w:/-])figment_[a-z0-9_]+\b(?!:)", path.read_text()))
    assert names <= exposed_names()
    if path.name in ("scaled-object.yaml", "adapter-values.yaml", "autoscaler.yaml"):
        assert names


def test_the_operator_gets_the_rules_of_prometheus():
    rules = "".join(f"  {line}" if line.strip() else line for line in RULES.read_text().splitlines(keepends=True))
    written = RULE_HEAD + rules
    if "WRITE_DOCS" in os.environ:
        RULE_MANIFEST.write_text(written)
    assert RULE_MANIFEST.read_text() == written, "rules.yaml has changed: run this test with WRITE_DOCS=1"
    assert yaml.safe_load(written)["spec"] == yaml.safe_load(RULES.read_text())


def test_kserve_finds_the_runtime():
    runtime, service = (find(overlay("kserve"), kind) for kind in ("ServingRuntime", "InferenceService"))
    model = service["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [entry["name"] for entry in runtime["spec"]["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert container_of(runtime)["name"] == "kserve-container", "KServe looks for this name"
    assert environment_of(runtime)["FIGMENT_MODELS"] == "/mnt/models", "its storage initializer writes there"


def test_the_overlay_in_the_guide_builds(tmp_path):
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    manifests = overlay_of(tmp_path, example)
    assert [fault for manifest in manifests for fault in schema_faults(manifest)] == []
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"images"}
    assert container_of(find(manifests, "Deployment"))["image"].startswith("registry.example.com/")
    triggers = find(manifests, "ScaledObject")["spec"]["triggers"]
    queries = [trigger["metadata"]["query"] for trigger in triggers if trigger["type"] == "prometheus"]
    assert len(queries) == 2
    assert all('namespace="images"' in query for query in queries)


def test_the_guide_names_every_component_and_no_other():
    text = DOCUMENT.read_text()
    assert set(re.findall(r"components/([\w-]+)", text)) == set(COMPONENTS)
    for path in re.findall(r"deploy/kubernetes/[\w./-]*\w", text):
        assert (ROOT / path).exists(), path
