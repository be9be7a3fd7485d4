"""The commands of ``python -m training``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from training.cache_commands import cache
from training.config import Config
from training.config_file import dump_config, load_config, preset_names
from training.data import DATA_HELP, TrainingImages, load_images
from training.device import best_precision
from training.distributed import Processes, joined_processes
from training.errors import TrainingError
from training.fit import fit
from training.judge import commands as judging
from training.judge.in_loop import LoopJudge
from training.judge.train import judge_for
from training.observer import Observer
from training.preflight import check_data, tell_data
from training.reporter import Reporter
from training.run_folder import RunFolder, numbered_folder, with_budget
from training.state import TrainingState, read_newest
from training.tuner.commands import tune

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
    with joined_processes() as processes:
        if config.precision == "auto":
            config = config.model_copy(update={"precision": best_precision(processes.device)})
        processes.share(config.batch_size)
        loaded = _load(data, config, processes)
        check_data(config, loaded)
        labels = len(loaded.label_names or ()) if config.conditional else 0
        state = TrainingState(config, labels, processes.device)
        if dry_run:
            if processes.first:
                _describe(config, loaded, state)
            return
        run = processes.from_first(
            lambda: RunFolder.create(out or numbered_folder(config, changes), config, data, loaded)
        )
        _train(run, loaded, state, processes)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    images: Annotated[int | None, typer.Option(min=1, help="Another budget, in real images seen.")] = None,
) -> None:
    """Goes on with a run where it stopped, exactly.

    Example: python -m training resume runs/first
    """
    with joined_processes() as processes:
        folder = processes.from_first(lambda: RunFolder.open(run))
        loaded = _load(folder.data.source, folder.config, processes)
        if loaded.fingerprint != folder.data.fingerprint:
            raise TrainingError(
                f"the images in {folder.data.source} are not those the run began with "
                f"(fingerprint {loaded.fingerprint[:12]}…, then {folder.data.fingerprint[:12]}…)"
            )
        content = processes.from_first(lambda: read_newest(folder.checkpoints))
        if images is not None:
            folder = processes.from_first(lambda: with_budget(folder, images))
        state = TrainingState(folder.config, folder.labels, processes.device)
        state.load(content)
        _train(folder, loaded, state, processes)


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


def _load(source: str, config: Config, processes: Processes) -> TrainingImages:
    """The data, decoded by one process of each machine and mapped by the others."""
    if processes.first_here:
        loaded = load_images(source, config.data)
        tell_data(loaded)
    processes.wait()
    return loaded if processes.first_here else load_images(source, config.data)


def _train(run: RunFolder, data: TrainingImages, state: TrainingState, processes: Processes) -> None:
    observer = Reporter(run, data, state, _judge_of(run, data)) if processes.first else Observer()
    finished = fit(run.config, data, state, processes, observer)
    if processes.first:
        done = "trained on" if finished else "stopped after"
        following = f"export {run.path} --to models/zoo" if finished else f"resume {run.path}"
        print(f"{run.path}: {done} {state.images_seen} images. Next: python -m training {following}")


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
    """Runs a command; whatever the user can mend ends in one line on standard error and exit code 1 or 2."""
    try:
        code = app(standalone_mode=False)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:  # a disk that is full, a folder that may not be written
        about = f" {error.filename}" if error.filename else ""
        print(f"error:{about}: {error.strerror or error}; checkpoints that are there are whole", file=sys.stderr)
        raise SystemExit(1) from None
    except typer.TyperException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except (typer.Abort, KeyboardInterrupt):
        print("stopped", file=sys.stderr)
        raise SystemExit(130) from None
    raise SystemExit(code or 0)
