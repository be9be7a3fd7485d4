"""The table of commands of ``python -m training``.

Commands import what they do when they run: PyTorch alone takes two seconds to import, and ``--help`` needs none of it.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from training.config.changeable import CHANGEABLE
from training.data.cache_commands import cache
from training.diagnosis.commands import diagnose
from training.errors import TrainingError
from training.evaluation.commands import evaluate, judge
from training.options import DataOption, PresetArgument, RunArgument, SettingsOption
from training.packing.commands import pack
from training.parallel.ending import end, several
from training.publishing.commands import push
from training.tuning.commands import tune

app = typer.Typer(
    name="python -m training",
    help="Turns a folder of images into a GAN generator: fit it, tune it, judge it, export it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command()(judge)
app.command()(evaluate)
app.command()(diagnose)
app.command()(pack)
app.command()(tune)
app.command()(push)
app.add_typer(cache, name="cache")


@app.command()
def fit(
    data: DataOption,
    preset: PresetArgument = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder; without it a numbered one below runs/.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="The budget, in real images seen.")] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="The folder of a run whose networks to start from, of the same family and size.")
    ] = None,
    settings: SettingsOption = None,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved configuration and the networks, and stop.")] = False,
) -> None:
    """Trains a generator. Under torchrun, its processes share every batch.

    Without a preset it looks at the images and the device, chooses one, and prints the command that names it.

    Example: python -m training fit digits --data mnist.parquet --out runs/first --set loss=least_squares
    """
    from training.train import describe_run, train_new_run

    if dry_run:
        describe_run(preset, data, settings or [], images, init_from)
    else:
        train_new_run(preset, data, settings or [], images, out, init_from)


@app.command()
def resume(
    run: RunArgument,
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
    """Continues a run exactly where it stopped; a run without a checkpoint begins again.

    Example: python -m training resume runs/first
    """
    from training.train import resume_run

    resume_run(run, data, settings or [], images)


@app.command()
def export(
    run: RunArgument,
    to: Annotated[Path, typer.Option(help="The folder of bundles, such as models/zoo.")],
    name: Annotated[str | None, typer.Option(help="The generator's name; by default the preset's.")] = None,
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="The precision of the exported graph.")] = "fp32",
    last: Annotated[
        bool, typer.Option("--last", help="The newest generator, not the one with the best score so far.")
    ] = False,
) -> None:
    """Writes the run's generator as a bundle that the service can load.

    Example: python -m training export runs/first --to models/zoo --name digits
    """
    from training.export import export
    from training.runs.folder import RunFolder

    print(export(RunFolder.open(run), to, name, precision, last=last))


def main() -> None:
    """Runs a command. An error that the user can mend ends in one line on standard error and exit code 1 or 2.

    Of several processes, one prints the line.
    """
    try:
        code = app(standalone_mode=False)
    except TrainingError as error:
        end(error, 1, f"error: {error}")
    except OSError as error:  # such as a full disk, or a folder without write permission
        about = f"{error.filename}: " if error.filename else ""
        end(error, 1, f"error: {about}{error.strerror or error}; checkpoints that are there are whole")
    except typer.TyperException as error:
        end(error, error.exit_code, f"error: {error.format_message()}")
    except (typer.Abort, KeyboardInterrupt) as error:
        end(error, 130, "stopped")
    except Exception as error:
        if _is_out_of_memory(error):
            end(error, 1, "error: the device has too little memory for these settings; a lower batch_size takes less")
        if not several():
            raise
        end(error, 1, None)
    raise SystemExit(code or 0)


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # an error of PyTorch's comes from a command that has imported it
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
