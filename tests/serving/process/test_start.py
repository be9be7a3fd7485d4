"""Starts from another folder and beside service links of the same name; ends when the parent process dies."""

import contextlib
import os
import re
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.serving.in_process import ROOT


@pytest.fixture
def started_elsewhere(serve, zoo, tmp_path, monkeypatch):
    """A ready service that was started in a folder with bundles, on a machine in another time zone than UTC."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "zoo").symlink_to(zoo)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    # Relative to the project folder, this would be the bundles that ship.
    settings = {"models": "models/zoo", "port": "tcp://10.96.11.7:3000", "service_host": "10.96.11.7"}
    with serve(start_in=tmp_path, default_model="mlp", max_batch=1, intra_op_threads=1, **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        workers = psutil.Process(server.process.pid).children()
        yield server
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, as it should
                worker.kill()


def worker_command(server):
    (worker,) = psutil.Process(server.process.pid).children()
    return worker.cmdline()


def libraries(process):
    """Returns the names of the files that a process has mapped."""
    return {Path(file.path).name for file in process.memory_maps()}


def listens(server):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


def test_service_uses_its_start_folder_and_ends_with_its_parent(started_elsewhere):
    served = started_elsewhere.wait(lambda answer: True).json()["models"]
    assert {bundle["model"] for bundle in served} == {"mlp", "conv", "sprite"}, "the bundles of the start folder"
    times = re.findall(r"^\d{4}-\S+T(\S+)", started_elsewhere.log, re.MULTILINE)
    assert len(times) >= 4
    assert all(time.endswith(("+00:00", "+0000")) for time in times), started_elsewhere.log
    # BentoML silences loggers that exist before it configures its own.
    assert {"mlp/1", "mlp/2", "conv/1", "sprite/1", "broken/1"} == {
        *re.findall(r"figment\.catalogue: (?:Loaded|Rejected) (\w+/\d)", started_elsewhere.log)
    }
    arbiter = libraries(psutil.Process(started_elsewhere.process.pid))
    assert not [name for name in arbiter if re.match(r"_multiarray_umath|_imaging|onnxruntime", name)], "slow to import"
    assert "serving.worker" in worker_command(started_elsewhere), "bundles load beside BentoML's imports"
    # An orphaned worker holds the port: the next start would fail.
    started_elsewhere.process.kill()
    started_elsewhere.process.wait()
    started_elsewhere.until(lambda: not listens(started_elsewhere), seconds=20)
    assert "Draining" in started_elsewhere.log


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("zoo", "{here}/zoo"),
        ("./my zoo", "{here}/./my zoo"),
        ("/srv/zoo", "/srv/zoo"),
        ("s3://bucket/zoo", "s3://bucket/zoo"),
        ("", ""),
    ],
)
@pytest.mark.parametrize("on_the_command_line", [True, False])
def test_make_resolves_a_relative_folder_from_the_callers_folder(tmp_path, given, expected, on_the_command_line):
    """With ``make -C`` it is not make's own folder."""
    bentoml = tmp_path / "bin" / "bentoml"
    bentoml.parent.mkdir()
    bentoml.write_text('#!/bin/sh\nprintf "%s" "$FIGMENT_MODELS"\n')
    bentoml.chmod(0o755)
    variables = [f"BIN={bentoml.parent}", f"BENTOML_HOME={tmp_path}/home", "PORT=34567"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIGMENT_")}
    environment["PWD"] = str(tmp_path)
    if on_the_command_line:
        variables.append(f"FIGMENT_MODELS={given}")
    else:
        environment["FIGMENT_MODELS"] = given
    command = ["make", "--silent", f"--directory={ROOT}", "--old-file=.venv/serving", "serve", *variables]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stdout, done.stderr) == (expected.format(here=tmp_path), "")
