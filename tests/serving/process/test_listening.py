"""A port or host that the service cannot listen on ends the start with one sentence."""

import os
import socket
import subprocess
import sys

import pytest

from serving.config.settings import SettingsError
from serving.process.listening import check_address, requested_address
from tests.serving.in_process import ROOT


@pytest.fixture
def used_port():
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_free_port_stays_free():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)
    socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("port", [-1, 0, 65536, 99999])
def test_port_out_of_range(port):
    """The system would take 99999 as 34463."""
    with pytest.raises(SettingsError, match=rf"^the port must be in 1 … 65535, not {port}\.$"):
        check_address("127.0.0.1", port)


@pytest.mark.parametrize("host", ["localhost", "0.0.0", "http://127.0.0.1", ""])
def test_host_that_is_no_address(host):
    with pytest.raises(SettingsError, match=r"^the host must be an IP address"):
        check_address(host, 3000)


def test_address_of_another_machine():
    with pytest.raises(SettingsError, match=r"^cannot listen on 192\.0\.2\.1, port 3000: "):
        check_address("192.0.2.1", 3000)


def test_no_address_without_bentoml_serve():
    assert requested_address() is None


@pytest.mark.parametrize("option", ["--port", "BENTOML_PORT"])
def test_bentoml_serve_reports_a_port_in_use(used_port, tmp_path, option):
    command = [sys.executable, "-m", "bentoml", "serve", str(ROOT), "--host", "127.0.0.1"]
    environment = os.environ | {"BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    if option == "--port":
        command += ["--port", str(used_port)]
    else:
        environment[option] = str(used_port)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"figment: port {used_port} is in use by another program")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("port", ["abc", "", "3000x", "-1", "30 00"])
def test_make_rejects_a_port_that_is_no_number(port):
    command = ["make", "--silent", "--old-file=.venv/serving", "serve", f"PORT={port}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode != 0
    first, *others = done.stderr.splitlines()
    assert first == f"figment: PORT must be a number in 1 … 65535, not '{port}'."
    assert all(line.startswith("make") for line in others), "make reports its own failure, and nothing else does"
