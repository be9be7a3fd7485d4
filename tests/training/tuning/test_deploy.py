"""The Kubernetes Job passes arguments that the command line accepts."""

from pathlib import Path

import click
import typer.main
import yaml

from training.cli import app
from training.tuning.spaces import SPACES

JOB = Path(__file__).parents[3] / "deploy" / "kubernetes" / "tune-job.yaml"


def test_the_job_runs_a_command_that_exists_on_a_storage_from_a_secret() -> None:
    claim, job = yaml.safe_load_all(JOB.read_text())
    assert (claim["kind"], job["kind"], job["apiVersion"]) == ("PersistentVolumeClaim", "Job", "batch/v1")
    assert job["spec"]["completionMode"] == "Indexed"
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "-m", "training", "tune"]

    command = typer.main.get_command(app)
    assert isinstance(command, click.Group) or hasattr(command, "commands")
    tune = command.commands["tune"]  # type: ignore[attr-defined]
    parameters = tune.make_context("tune", list(container["args"])).params
    assert (SPACES / f"{parameters['space']}.yaml").is_file()
    assert parameters["storage"] == "$(STORAGE_URL)"
    (secret,) = [entry for entry in container["env"] if entry["name"] == "STORAGE_URL"]
    assert secret["valueFrom"]["secretKeyRef"] == {"name": claim["metadata"]["name"], "key": "url"}

    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    assert parameters["out"].is_relative_to("/study"), "all workers share the study's folder"
    assert parameters["export"].is_relative_to("/study")
