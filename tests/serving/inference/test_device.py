"""The choice of a device, on a machine without a GPU: sessions are fake."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.bundle import BundleError
from serving.inference.device import CPU, CUDA, TENSORRT, DeviceError, Devices, Hardware, ProviderMissingError


class FakeSession:
    def __init__(self, provider):
        self._provider = provider

    def get_providers(self):
        return [self._provider, CPU]


def opener(used_providers, opened=None):
    def open_session(onnx, provider, threads):
        if opened is not None:
            opened.append(provider)
        used = used_providers.get(provider, provider)
        if isinstance(used, Exception):
            raise used
        return FakeSession(used)

    return open_session


def provider_of(session, provider):
    return provider


@pytest.mark.parametrize(("device", "provider"), [("auto", CUDA), ("cuda", CUDA), ("tensorrt", TENSORRT), ("cpu", CPU)])
def test_the_device_that_loads_is_used(device, provider):
    assert Devices(device, Hardware(1), opener({})).open(b"", provider_of) == provider


@pytest.mark.parametrize("fault", [CPU, RuntimeError("no CUDA driver")])
def test_auto_falls_back_to_the_cpu_and_logs_it_once(fault, caplog):
    opened = []
    devices = Devices("auto", Hardware(1), opener({CUDA: fault}, opened))
    with caplog.at_level(logging.WARNING):
        assert [devices.open(b"", provider_of) for _ in range(3)] == [CPU] * 3
    assert opened == [CUDA, CPU, CPU, CPU]
    reported = [record.message for record in caplog.records if record.name == "figment.device"]
    assert [message.startswith("No GPU is used") for message in reported] == [True]


@pytest.mark.parametrize(
    ("fault", "has_fallen_back"), [(CPU, True), (RuntimeError("no driver"), True), (ProviderMissingError(), False)]
)
def test_only_a_build_for_gpus_can_fall_back(fault, has_fallen_back):
    """Operators are woken for a GPU that does not work, and not for an image that was built for the CPU."""
    devices = Devices("auto", Hardware(1), opener({CUDA: fault}))
    assert not devices.has_fallen_back
    assert devices.open(b"", provider_of) == CPU
    assert devices.has_fallen_back == has_fallen_back


@pytest.mark.parametrize(("device", "provider"), [("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_a_named_device_is_never_replaced(device, provider):
    """ONNX Runtime runs on the CPU without an error where CUDA's libraries are missing."""
    with pytest.raises(DeviceError, match=f"FIGMENT_DEVICE={device} cannot be used: {provider} did not load"):
        Devices(device, Hardware(1), opener({provider: CPU})).open(b"", provider_of)


def test_a_session_that_opens_but_does_not_run_is_an_error():
    def run(session, provider):
        if provider == CUDA:
            raise RuntimeError("CUDA error 100")

    with pytest.raises(DeviceError, match="CUDA error 100"):
        Devices("cuda", Hardware(1), opener({})).open(b"", run)


@pytest.mark.parametrize("device", ["auto", "cuda", "cpu"])
def test_an_invalid_bundle_is_not_blamed_on_the_device(device):
    def reject(session, provider):
        raise BundleError("the inputs do not fit")

    devices = Devices(device, Hardware(1), opener({}))
    with pytest.raises(BundleError):
        devices.open(b"", reject)
    assert devices.open(b"", provider_of) == (CPU if device == "cpu" else CUDA)


def open_some_graphs(onnx, provider, hardware):
    """Opens every graph but ``broken``, on any device; ``odd`` fails on all but the CPU."""
    if onnx == b"broken":
        raise ValueError(f"{provider}: this is no graph")
    if onnx == b"odd" and provider != CPU:
        raise RuntimeError("CUDA error 2: out of memory")
    return FakeSession(provider)


@pytest.mark.parametrize(("device", "provider"), [("auto", CUDA), ("cuda", CUDA), ("tensorrt", TENSORRT)])
def test_an_unreadable_graph_is_not_blamed_on_the_device(device, provider):
    """Without a try on the CPU, ``auto`` moved every later bundle there, and ``cuda`` made the service unusable."""
    devices = Devices(device, Hardware(1), open_some_graphs)
    with pytest.raises(ValueError, match=f"{CPU}: this is no graph"):
        devices.open(b"broken", provider_of)
    assert devices.open(b"good", provider_of) == provider


@pytest.mark.parametrize(("device", "provider"), [("auto", CUDA), ("cuda", CUDA)])
def test_a_verified_device_is_not_blamed_for_another_bundle(device, provider):
    devices = Devices(device, Hardware(1), open_some_graphs)
    assert devices.open(b"good", provider_of) == provider
    with pytest.raises(RuntimeError, match="cuda, which runs other bundles: CUDA error 2: out of memory"):
        devices.open(b"odd", provider_of)
    assert devices.open(b"good", provider_of) == provider, "nothing moves to the CPU"


def test_the_cpu_is_tried_with_the_same_threads_and_its_own_session():
    opened_on = []

    def opened(onnx, provider, hardware):
        opened_on.append((provider, hardware.intra_op_threads))
        return open_some_graphs(onnx, provider, hardware)

    devices = Devices("cuda", Hardware(8), opened)
    with pytest.raises(DeviceError):
        # As an engine does on the CPU, which opens a second session there.
        devices.open(b"odd", lambda session, provider: devices.session(b"odd", CPU), threads=1)
    assert opened_on == [(CUDA, 1), (CPU, 1), (CPU, 8)]


@pytest.mark.parametrize(("device", "fault", "at_once"), [("cpu", None, 3), ("auto", "missing", 3), ("auto", None, 1)])
def test_a_cpu_opens_several_graphs_at_once_and_a_gpu_one_after_the_other(device, fault, at_once, caplog):
    """A CUDA graph cannot be recorded while another thread allocates memory."""
    devices = Devices(device, Hardware(3), opener({CUDA: ProviderMissingError("no CUDA")} if fault else {}))
    running, most, lock = 0, 0, threading.Lock()

    def run(session, provider):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.1)
        with lock:
            running -= 1
        return provider

    with ThreadPoolExecutor(3) as pool:
        opened = [*pool.map(lambda _: devices.open(b"", run), range(3))]
    assert len({*opened}) == 1
    assert most == at_once
    reported = [record for record in caplog.records if record.name == "figment.device"]
    assert len(reported) == (1 if fault else 0), "the fall-back is reported once"


def test_bundles_opened_at_once_agree_on_the_device():
    """The first failure decides. Without the lock, each graph would be blamed on the device, or half would move."""
    calls = iter(range(10))

    def fails_at_first(onnx, provider, hardware):
        if provider == CUDA and next(calls) == 0:
            time.sleep(0.05)
            raise RuntimeError("no CUDA driver")
        return FakeSession(provider)

    devices = Devices("auto", Hardware(4), fails_at_first)
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(lambda _: devices.open(b"", provider_of), range(4))] == [CPU] * 4
