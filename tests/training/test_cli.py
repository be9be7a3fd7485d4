"""The commands as a person types them: exit codes, one line of error, nothing half-written."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from PIL import Image

from training.cli import main
from training.errors import TrainingError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as ``python -m training`` does, in this process: the imports of another would take seconds."""

    def run(*arguments: str | Path, cwd: Path = ROOT) -> Ended:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["python -m training", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capfd.readouterr())

    return run


@pytest.mark.parametrize("command", ["fit", "resume", "export", "judge", "evaluate", "tune", "diagnose", "push"])
def test_help_has_an_example(command: str, run: Run) -> None:
    result = run(command, "--help")
    assert result.code == 0
    assert f"python -m training {command}" in " ".join(result.out.split())


def test_help_imports_nothing_heavy() -> None:
    """``--help`` answers in 0.3 s; PyTorch alone would add two seconds."""
    code = (
        "import sys, training.cli\n"
        "heavy = {'torch', 'datasets', 'optuna', 'onnx', 'onnxruntime', 'matplotlib', 'tensorboard', 'pyarrow'}\n"
        "for command in ['', 'fit', 'resume', 'export', 'judge', 'evaluate', 'tune', 'diagnose', 'push']:\n"
        "    training.cli.app([*command.split(), '--help'], standalone_mode=False)\n"
        "    if heavy & sys.modules.keys(): sys.exit(f'{command} imports {heavy & sys.modules.keys()}')"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.returncode == 0


def test_an_error_of_the_process_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    """The others here run in this process."""
    command = [sys.executable, "-m", "training", "resume", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == f"error: {tmp_path} is not the folder of a run: it has no config.yaml\n"


def test_a_dry_run_prints_and_writes_nothing(digits: Path, tmp_path: Path, run: Run) -> None:
    result = run("fit", "digits", "--data", digits, "--dry-run", "--set", "network.width=8", cwd=tmp_path)
    assert result.code == 0
    assert "width: 8" in result.out
    assert "ConvTranspose2d" in result.out
    assert list(tmp_path.iterdir()) == []


def test_runs_without_a_name_are_numbered(digits: Path, tmp_path: Path, small: list[str], run: Run) -> None:
    settings = [f"--set={setting}" for setting in [*small, "images=32"]]
    for number in (0, 1):
        result = run("fit", "digits", "--data", digits, *settings, cwd=tmp_path)
        assert result.code == 0, result.err
        (folder,) = (tmp_path / "runs").glob(f"{number:05d}-*")
        assert re.match(rf"{number:05d}-digits-network\.width=8", folder.name)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["fit", "digitz", "--data", "DIGITS"], 1, "there is no preset or file 'digitz'"),
        (["fit", "digits", "--data", "DIGITS", "--set", "los=x"], 1, "there is no setting los; did you mean loss?"),
        (["fit", "--data", "EMPTY"], 1, "empty holds no images"),
        (
            ["fit", "digits", "--data", "DIGITS", "--set", "data.resolution=48"],
            1,
            "dcgan generates square images with a side of",
        ),
        (
            ["fit", "digits", "--data", "DIGITS", "--set", "batch_size=1000"],
            1,
            "fewer than one batch of 1000 once 51 are held out",
        ),
        (
            ["fit", "digits", "--data", "FLAT", "--set", "conditional=false"],
            1,
            "the data holds 4 images, fewer than one batch",
        ),
        (["fit", "digits", "--data", "FLAT"], 1, "the configuration is conditional but the data has no labels"),
        (["fit"], 2, "Missing option '--data'"),
        (["resume", "EMPTY"], 1, "is not the folder of a run: it has no config.yaml"),
        (["export", "EMPTY", "--to", "zoo"], 1, "is not the folder of a run: it has no config.yaml"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, sentence: str, digits: Path, tmp_path: Path, run: Run
) -> None:
    for folder in ("empty", "flat", "cwd"):
        (tmp_path / folder).mkdir()
    for name in "abcd":
        Image.new("L", (28, 28)).save(tmp_path / "flat" / f"{name}.png")
    places = {"DIGITS": str(digits), "EMPTY": str(tmp_path / "empty"), "FLAT": str(tmp_path / "flat")}
    result = run(*[places.get(argument, argument) for argument in arguments], cwd=tmp_path / "cwd")
    assert result.code == code
    *found, error = result.err.strip().splitlines()
    assert sentence in error
    stages = [line for line in found if re.match(r"(decoding|opening|reading|precision)\b", line)]
    told = [line for line in found if line not in stages]
    assert all(re.match(r"(flat: 4 images|digits: 512 images), ", line) for line in told), "what was found in DATA"
    assert len(told) <= 1
    assert list((tmp_path / "cwd").iterdir()) == []


def test_a_run_is_never_overwritten(finished_run: Path, digits: Path, run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")}
    result = run("fit", "digits", "--data", digits, "--out", finished_run)
    assert result.code == 1
    assert "is there already; choose another --out, or go on with: python -m training resume" in result.err
    assert {path: path.stat().st_mtime_ns for path in finished_run.rglob("*")} == before


def test_sigterm_stops_with_a_checkpoint(digits: Path, tmp_path: Path, small: list[str]) -> None:
    out = tmp_path / "run"
    settings = [f"--set={setting}" for setting in [*small, "images=10000000", "pace.checkpoint=10000000"]]
    command = [sys.executable, "-m", "training", "fit", "digits", "--data", str(digits), "--out", str(out), *settings]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size):
            assert time.monotonic() < deadline, "the run did not begin"
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        stdout, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped after" in stdout
    assert len(list((out / "checkpoints").glob("*.pt"))) == 1


def test_each_command_says_in_one_line_what_it_found(
    finished_run: Path,
    tmp_path: Path,
    train: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line comes before the command does anything, and so each of these ends at once."""

    def refuse(*_: object, **__: object) -> None:
        raise TrainingError("stop here")

    for name in ("train_judge", "judge_for"):
        monkeypatch.setattr(f"training.evaluation.judge.train.{name}", refuse)
    data = tmp_path / "photos"
    for name in ("car/1.png", "car/2.png", "ship/1.png", "ship/2.png", "train/1.png", "stray.png"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (28, 28), len(name)).save(data / name)
    (data / "car" / "3.HEIC").touch()
    (data / "ship" / "2.png").write_bytes(b"torn")
    share = "data.broken_share=0.5"
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["broken_share"] = 0.5
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for command in (
        ["fit", "digits", "--set", share, "--dry-run"],
        ["judge", "digits", "--set", share, "--out", tmp_path / "judge.pt"],
        ["evaluate", run],
        ["tune", "digits", "--out", tmp_path / "study"],
    ):
        if command[0] == "tune":  # a space has no --set
            Image.new("L", (28, 28)).save(data / "ship" / "2.png")
        with pytest.raises(TrainingError):
            train(*command, "--data", data)
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("photos: ")]
        count, broken = (5, "") if command[0] == "tune" else (4, ", 1 broken")
        held_out = f"; held out from the generator: none, since 10 % of {count} images are fewer than 20"
        assert said == [
            f"photos: {count} images, 3 labels (car 2, ship {count - 3}, train 1); "
            f"passed over: 1 .heic, 1 image beside the folders (stray.png){broken}"
            + (held_out if command[0] in ("fit", "tune") else "")
        ], command


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_launch_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Torchrun's own help describes every option, and never says that a command of the trainer is expected."""
    from training.launch import main as launch

    launch(arguments)
    assert "python -m training.launch --nproc-per-node 4 fit cifar10" in capsys.readouterr().out
