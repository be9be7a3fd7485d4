"""The driver's version comes from the kernel or from nvidia-smi; both are stand-ins."""

import logging

import pytest

from serving.inference import driver
from serving.inference.device import CPU, CUDA, DeviceError, Devices, Hardware, ProviderMissingError
from serving.inference.driver import describe_driver, driver_version, is_new_enough, query_cards

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (builder)  Tue Jan  6\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\n"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Returns a function that installs a program nvidia-smi, and hides this machine's driver."""
    monkeypatch.setattr(driver, "_KERNEL_MODULE", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def install(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    install("exit 9")
    return install


@pytest.mark.parametrize(("text", "version"), [(OPEN, "580.159.04"), (CLOSED, "535.104.05"), ("garbage", None)])
def test_the_kernel_names_its_driver(nvidia_smi, tmp_path, text, version):
    (tmp_path / "version").write_text(text)
    assert driver_version() == version


def test_nvidia_smi_names_it_where_the_kernel_does_not(nvidia_smi):
    assert driver_version() is None
    nvidia_smi('test "$1" = --query-gpu=driver_version && printf "580.65.06\\n580.65.06\\n"')
    assert driver_version() == "580.65.06"


def test_cards_have_every_field_or_are_left_out(nvidia_smi):
    nvidia_smi('printf "NVIDIA H200, 143771 MiB\\nan unexpected line\\n"')
    assert query_cards("name", "memory.total") == [["NVIDIA H200", "143771 MiB"]]


def test_an_nvidia_smi_that_hangs_is_left_alone(nvidia_smi, monkeypatch):
    monkeypatch.setattr(driver, "_SECONDS", 0.2)
    nvidia_smi("exec sleep 60")
    assert query_cards("name") == []


@pytest.mark.parametrize(("version", "enough"), [("580.65.06", True), ("1000.1", True), ("579.99", False), ("", False)])
def test_cuda_13_needs_driver_580(version, enough):
    assert is_new_enough(version) is enough


def lost_cuda(onnx, provider, hardware):
    class Session:
        def get_providers(self):
            return [CPU]  # as ONNX Runtime does where CUDA's libraries do not load

    return Session()


def test_a_gpu_that_does_not_work_names_the_driver_found_and_the_one_needed(nvidia_smi, tmp_path, caplog):
    (tmp_path / "version").write_text(CLOSED)
    words = r"did not load.*\. NVIDIA driver: 535\.104\.05; CUDA 13 needs 580 or newer"
    with pytest.raises(DeviceError, match=words):
        Devices("cuda", Hardware(1), lost_cuda).open(b"", lambda session, provider: None)
    with caplog.at_level(logging.WARNING):
        Devices("auto", Hardware(1), lost_cuda).open(b"", lambda session, provider: None)
    assert caplog.messages[-1].endswith("NVIDIA driver: 535.104.05; CUDA 13 needs 580 or newer")
    (tmp_path / "version").unlink()
    assert describe_driver() == "NVIDIA driver: none found; CUDA 13 needs 580 or newer"


def test_a_build_for_the_cpu_needs_no_driver(caplog):
    def without_cuda(onnx, provider, hardware):
        if provider == CUDA:
            raise ProviderMissingError("this build of ONNX Runtime has no CUDA")
        return lost_cuda(onnx, provider, hardware)

    with caplog.at_level(logging.WARNING):
        Devices("auto", Hardware(1), without_cuda).open(b"", lambda session, provider: None)
    assert caplog.messages == ["No GPU is used, generators run on the CPU: this build of ONNX Runtime has no CUDA"]
