"""The bundles load from the first moment of a worker, beside BentoML's imports."""

import subprocess
import sys

from serving.config.settings import Settings
from serving.inference.device import Devices, Hardware
from serving.loading.start import load_for_process, start_loading


def test_the_first_poll_has_started(zoo):
    load = start_loading(Settings(models=zoo, max_batch=2), Devices("cpu", Hardware(2)))
    result = load.next_poll().result(60)
    assert {engine.card.name for engine in result.engines} == {"mlp", "conv", "sprite"}
    assert [bundle.bundle for bundle in result.rejected] == ["broken/1"]


def test_the_service_gets_the_load_that_the_worker_has_started(zoo):
    """Else everything would be loaded twice."""
    settings = {"models": zoo, "max_batch": 2, "device": "cpu"}
    load = load_for_process(Settings(**settings), 2)
    assert load_for_process(Settings(**settings), 2) is load
    assert load.devices.hardware.gpu == 1, "BentoML counts workers from 1, the driver counts cards from 0"


def test_loading_imports_neither_bentoml_nor_the_prometheus_client():
    """BentoML's import is what the load runs beside; the client chooses its storage when it is imported."""
    program = "import sys, serving.worker; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = {module.partition(".")[0] for module in result.stdout.split()}
    assert not imported & {"bentoml", "_bentoml_impl", "_bentoml_sdk", "prometheus_client", "uvicorn", "starlette"}
    assert {"numpy", "serving"} <= imported
