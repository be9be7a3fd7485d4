"""How a service starts and ends where it is put: from another folder, beside a neighbour's variables, left behind."""

import contextlib
import os
import re
import socket
import subprocess

import psutil
import pytest

from tests.serving.in_process import ROOT


@pytest.fixture
def elsewhere(serve, zoo, tmp_path, monkeypatch):
    """A service that is started in a folder with bundles in it, ready, on a machine that is not in UTC's zone."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "zoo").symlink_to(zoo)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    # Where FIGMENT_MODELS was taken below the project, this was the shipped ones.
    settings = {"models": "models/zoo", "port": "tcp://10.96.11.7:3000", "service_host": "10.96.11.7"}
    with serve(start_in=tmp_path, default_model="mlp", max_batch=1, intra_op_threads=1, **settings) as server:
        server.wait(lambda answer: answer.status_code == 200)
        workers = psutil.Process(server.process.pid).children()
        yield server
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, as it is to
                worker.kill()


def listens(server):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


def test_started_elsewhere_and_left_behind_by_its_parent(elsewhere):
    served = elsewhere.wait(lambda answer: True).json()["models"]
    assert {bundle["model"] for bundle in served} == {"mlp", "conv"}, "the bundles of where it was started"
    times = re.findall(r"^\d{4}-\S+T(\S+)", elsewhere.log, re.MULTILINE)
    assert len(times) >= 4
    assert all(time.endswith(("+00:00", "+0000")) for time in times), elsewhere.log
    # The worker holds the port: a new start would fail until somebody finds it.
    elsewhere.process.kill()
    elsewhere.process.wait()
    elsewhere.until(lambda: not listens(elsewhere), seconds=20)
    assert "Draining" in elsewhere.log


@pytest.mark.parametrize(
    ("given", "meant"), [("zoo", "{here}/zoo"), ("./my zoo", "{here}/./my zoo"), ("/srv/zoo", "/srv/zoo"), ("", "")]
)
@pytest.mark.parametrize("on_the_command_line", [True, False])
def test_make_takes_a_relative_folder_from_where_one_stands(tmp_path, given, meant, on_the_command_line):
    """With ``make -C`` that is not make's own folder."""
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
    assert (done.stdout, done.stderr) == (meant.format(here=tmp_path), "")
