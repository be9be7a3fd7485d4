"""The commands of ``python -m training``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from training.config.changeable import CHANGEABLE
from training.config.files import dump_config, load_config, preset_names
from training.config.schema import Config
from training.data.cache_commands import cache
from training.data.checks import check_data, report_data
from training.data.dataset import DATA_HELP, TrainingImages, load_images
from training.device import best_precision
from training.errors import DivergenceError, TrainingError
from training.evaluation import commands as judging
from training.evaluation.in_loop import LoopJudge
from training.evaluation.judge.train import judge_for
from training.loop.callbacks import Callback
from training.loop.fit import fit
from training.loop.state import TrainingState
from training.parallel.distributed import Processes, joined_processes
from training.parallel.ending import end, several
from training.parallel.stopping import interruptible
from training.runs.checkpoints import checkpoints, load_checkpoint
from training.runs.folder import (
    RunFolder,
    RunLock,
    RunStart,
    begin_run,
    check_free,
    missing_folders,
    numbered_folder,
    open_start,
)
from training.runs.reporter import Reporter
from training.runs.resuming import apply_changes, changed_config, resume_point
from training.tuning.commands import tune

app = typer.Typer(
    name="python -m training",
    help="Turns a folder of images into a GAN generator: fit it, tune it, judge it, export it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(judging.judge)
app.command()(judging.evaluate)
app.command()(tune)
app.add_typer(cache, name="cache")


@app.command("fit")
def fit_command(
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    preset: Annotated[
        str, typer.Argument(metavar="[PRESET or FILE.yaml]", help=f"A preset ({', '.join(preset_names())}) or a file.")
    ] = "digits",
    out: Annotated[Path | None, typer.Option(help="The run's folder; without it a numbered one below runs/.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="The budget, in real images seen.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes a setting; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved configuration and the networks, and stop.")] = False,
) -> None:
    """Trains a generator. Under torchrun, as many processes as it starts share every batch.

    Example: python -m training fit digits --data mnist.parquet --out runs/first --set loss=least_squares
    """
    changes = list(settings or ())
    budget = [f"images={images}"] if images is not None else []
    config = load_config(preset, [*changes, *budget])
    with _stoppable() as stoppable, joined_processes() as processes:
        config = _with_precision(config, processes)
        processes.share(config.batch_size)
        if dry_run:
            loaded, state = _prepared(data, config, processes)
            if processes.first:
                _describe(config, loaded, state)
            return
        path = out or processes.from_first(lambda: numbered_folder(config, changes))
        with RunLock(path) as lock:
            start = processes.from_first(lambda: _begun(lock, path, config, data))
            stoppable.run = path
            try:
                loaded, state = _prepared(data, config, processes)
                run = processes.from_first(lambda: start.complete(loaded))
                judge = _judge_of(run, loaded) if processes.first else None
            except Exception:  # not where it was stopped: then it is gone on with
                if processes.first:
                    start.undo()
                raise
            _train(run, loaded, state, processes, judge, stoppable)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    images: Annotated[int | None, typer.Option(min=1, help="Another budget, in real images seen.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the run's images are now, if they have moved.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help=f"Changes a setting from here on ({', '.join(sorted(CHANGEABLE))}); may be repeated.",
        ),
    ] = None,
) -> None:
    """Goes on with a run where it stopped, exactly; one without a checkpoint begins again.

    Example: python -m training resume runs/first
    """
    changes = [*(settings or ()), *([f"images={images}"] if images is not None else [])]
    with _stoppable() as stoppable, joined_processes() as processes, RunLock(run) as lock:
        start = processes.from_first(lambda: _taken_up(lock, run))
        stoppable.run = run
        content = processes.from_first(lambda: resume_point(start))
        seen = content["images_seen"] if content else 0
        config = _with_precision(changed_config(start.config, changes), processes)
        if config.images != start.config.images and config.images < seen:
            raise TrainingError(f"a budget of {config.images} images is below the {seen} that {run} has seen already")
        loaded, state = _prepared(_source_of(start, data), config, processes)
        folder = processes.from_first(lambda: start.complete(loaded, data))
        if content:
            load_checkpoint(state, {**content, "configuration": config.model_dump(mode="json")})
        elif processes.first:
            print(f"{run} has no checkpoint yet: it begins again", file=sys.stderr)
        folder = processes.from_first(lambda: apply_changes(folder, config, state))
        judge = _judge_of(folder, loaded) if processes.first else None
        _train(folder, loaded, state, processes, judge, stoppable)


@app.command("export")
def export_command(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    to: Annotated[Path, typer.Option(help="The folder of bundles, such as models/zoo.")],
    name: Annotated[str | None, typer.Option(help="The generator's name; the preset's without it.")] = None,
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="What the exported graph computes in.")] = "fp32",
) -> None:
    """Writes the run's generator as a bundle that can be served.

    Example: python -m training export runs/first --to models/zoo --name digits
    """
    from training.export import export  # onnx and ONNX Runtime take a second to import, and only this needs them

    print(export(RunFolder.open(run), to, name, precision))


@dataclass
class _Stoppable:
    """What a stop finds that comes before the training."""

    run: Path | None = None
    """The run's folder, while the run can be gone on with and does not train yet."""


@contextmanager
def _stoppable() -> Iterator[_Stoppable]:
    """Ends the command in good order if SIGTERM or Ctrl-C comes before the training, which has its own way to stop."""
    stoppable = _Stoppable()
    with interruptible():
        try:
            yield stoppable
        except KeyboardInterrupt as stop:
            if stoppable.run is None:
                raise
            following = f"python -m training resume {stoppable.run}"
            end(stop, 0, f"{stoppable.run}: stopped before it trained. Next: {following}", sys.stdout)


def _with_precision(config: Config, processes: Processes) -> Config:
    if config.precision != "auto":
        return config
    return config.model_copy(update={"precision": best_precision(processes.device)})


def _begun(lock: RunLock, path: Path, config: Config, source: str) -> RunStart:
    check_free(path)  # before the lock is taken: its file would lie in a folder of somebody else's
    made = missing_folders(path)
    lock.take()
    start = begin_run(path, config, source, made)
    if not start.new:
        resume_point(start)  # a run that has lost its checkpoints is not overwritten
    return start


def _taken_up(lock: RunLock, path: Path) -> RunStart:
    open_start(path)
    lock.take()
    return open_start(path)  # whoever had the lock may have changed it


def _source_of(start: RunStart, moved: str | None) -> str:
    """Where the run's images lie. Raises ``TrainingError`` if they are no longer there."""
    if moved is None and Path(start.source).is_absolute() and not Path(start.source).exists():
        raise TrainingError(
            f"the images of {start.path} are no longer in {start.source}; say where they are now: "
            f"python -m training resume {start.path} --data DATA"
        )
    return moved or start.source


def _prepared(source: str, config: Config, processes: Processes) -> tuple[TrainingImages, TrainingState]:
    """The data, once it is clear that a run can train on it, and the state that a run begins with."""
    processes.share(config.batch_size)
    loaded = _load(source, config, processes)
    check_data(config, loaded)
    labels = len(loaded.label_names or ()) if config.conditional else 0
    return loaded, TrainingState(config, labels, processes.device)


def _load(source: str, config: Config, processes: Processes) -> TrainingImages:
    """The data, decoded by one process of each machine and mapped by the others."""
    if processes.first_here:
        loaded = load_images(source, config.data)
        report_data(loaded)
    processes.wait()
    return loaded if processes.first_here else load_images(source, config.data)


def _train(
    run: RunFolder,
    data: TrainingImages,
    state: TrainingState,
    processes: Processes,
    judge: LoopJudge | None,
    stoppable: _Stoppable,
) -> None:
    callback = Reporter(run, data, state, judge) if processes.first else Callback()
    stoppable.run = None
    try:
        finished = fit(run.config, data, state, processes, callback)
    except DivergenceError as error:
        raise DivergenceError(f"{error}. {_way_out(run)}") from error
    if processes.first:
        done = "trained on" if finished else "stopped after"
        following = f"export {run.path} --to models/zoo" if finished else f"resume {run.path}"
        print(f"{run.path}: {done} {state.images_seen} images. Next: python -m training {following}")


def _way_out(run: RunFolder) -> str:
    """What to do about a run that has diverged: the exact command."""
    saved = checkpoints(run.checkpoints)
    where = f"its checkpoint at {int(saved[-1].stem)} images" if saved else "its beginning"
    rates = " ".join(
        f"--set {name}.learning_rate={getattr(run.config, name).learning_rate / 2:g}"
        for name in ("generator_optimizer", "discriminator_optimizer")
    )
    return f"Go on from {where} with lower learning rates: python -m training resume {run.path} {rates}"


def _judge_of(run: RunFolder, data: TrainingImages) -> LoopJudge | None:
    """The data set's own judge, trained now if nobody has yet; None where the run is not judged."""
    config = run.config
    if config.judge is None:
        return None
    try:
        judge = judge_for(data)
    except TrainingError as error:
        raise TrainingError(f"{error}; or train without a judge: --set judge=null") from error
    return LoopJudge(data, config.judge.samples, judge, config.network.noise_dim, config.conditional)


def _describe(config: Config, data: TrainingImages, state: TrainingState) -> None:
    print(dump_config(config))
    labels = f"{len(data.label_names)} labels" if data.label_names else "no labels"
    print(f"data: {data.name}, {len(data)} images, {labels}, fingerprint {data.fingerprint[:12]}")
    for title, network in (("generator", state.generator), ("discriminator", state.discriminator)):
        weights = sum(parameter.numel() for parameter in network.parameters())
        print(f"\n{title}: {weights:,} weights\n{network}")


def main() -> None:
    """Runs a command; whatever the user can mend ends in one line on standard error and exit code 1 or 2.

    Of several processes, one says it.
    """
    try:
        code = app(standalone_mode=False)
    except TrainingError as error:
        end(error, 1, f"error: {error}")
    except OSError as error:  # a disk that is full, a folder that may not be written
        about = f" {error.filename}" if error.filename else ""
        end(error, 1, f"error:{about}: {error.strerror or error}; checkpoints that are there are whole")
    except torch.OutOfMemoryError as error:
        end(error, 1, "error: the device has too little memory for these settings; a lower batch_size takes less")
    except typer.TyperException as error:
        end(error, error.exit_code, f"error: {error.format_message()}")
    except (typer.Abort, KeyboardInterrupt) as error:
        end(error, 130, "stopped")
    except Exception as error:
        if not several():
            raise
        end(error, 1, None)
    raise SystemExit(code or 0)
