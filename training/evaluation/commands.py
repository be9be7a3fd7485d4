"""The commands ``judge`` and ``evaluate``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.noise import MAX_SEED
from training.config.presets import preset_names
from training.errors import TrainingError
from training.evaluation.seeds import TELLING, has_chosen
from training.options import DATA_HELP


def judge(
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write the judge to; its name ends in .pt.")],
    preset: Annotated[
        str,
        typer.Argument(
            metavar="[PRESET or FILE.yaml]",
            help=f"The settings that fit the images to the judge ({', '.join(preset_names())}, or a file).",
        ),
    ] = "digits",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Changes a setting; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="The seed of the judge's weights and batches.")] = 0,
) -> None:
    """Trains the network that judges a data set's generators, on half of its images.

    Example: python -m training judge digits --data mnist.parquet --out mnist-judge.pt
    """
    from training.config.files import load_config
    from training.data.checks import report_data
    from training.data.dataset import load_images
    from training.evaluation.judge.train import train_judge

    if out.exists():
        raise TrainingError(
            f"{out} exists already, and scores by it compare only with each other; choose another --out"
        )
    images = load_images(data, load_config(preset, settings or ()).data)
    report_data(images)
    trained = train_judge(images, seed=seed)
    trained.save(out)
    command = f"evaluate RUN --data {shlex.quote(data)} --judge {shlex.quote(str(out))}"
    print(
        f"{out}: {trained.name}, accuracy {trained.record.accuracy:.1%} on unseen images "
        f"(task: {trained.record.task}). Next: python -m training {command}"
    )


def evaluate(
    target: Annotated[Path, typer.Argument(metavar="RUN or BUNDLE", help="The folder of a run or of a bundle.")],
    data: Annotated[
        str | None, typer.Option(help=f"{DATA_HELP} Default: the run's own training images; a bundle needs it.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Generated images per repeat; at most half of the data.")
    ] = 10_000,
    judge: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A judge that `judge` wrote. Default: the data set's own, trained if missing."
        ),
    ] = None,
    inception: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="inception-2015-12-05.pt, or `download`: adds FID, KID and Inception Score."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=MAX_SEED, help="The first image's seed; smaller ones have chosen the best checkpoint and trial."
        ),
    ] = TELLING,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The folder of scores.json and evaluation.png. Default: the run's, or evaluations/NAME-VERSION."
        ),
    ] = None,
    card: Annotated[bool, typer.Option(help="Also write a bundle's scores into its card.json.")] = True,
) -> None:
    """Evaluates a generator: prints and writes every score with its protocol.

    Example: python -m training evaluate models/zoo/digits/3 --data mnist.parquet
    """
    from training.data.checks import report_data
    from training.data.dataset import load_images
    from training.evaluation.evaluate import REPEATS
    from training.evaluation.evaluate import evaluate as evaluate_target
    from training.evaluation.inception.weights import load_inception
    from training.evaluation.judge.network import load_judge
    from training.evaluation.judge.train import judge_for
    from training.evaluation.reference import Reference
    from training.evaluation.report import table, write_card, write_json, write_picture
    from training.evaluation.target import open_target

    opened = open_target(target)
    source = data or opened.data_source
    if source is None:
        raise TrainingError("a bundle does not name its training images; pass --data")
    inception_network = None if inception is None else load_inception(inception)
    network = None if judge is None else load_judge(judge)
    images = load_images(source, opened.data_config)
    report_data(images)
    network = network or judge_for(images)
    if has_chosen(seed, REPEATS * samples):
        print(
            f"seeds below {TELLING} have chosen the best checkpoint, so scores on them flatter it: leave out --seed",
            file=sys.stderr,
        )
    evaluation = evaluate_target(opened, images, network, samples, seed, inception_network)
    folder = out or (opened.path if opened.kind == "run" else Path("evaluations") / opened.name.replace("/", "-"))
    written = [
        write_json(evaluation, folder),
        write_picture(evaluation, opened, Reference(images, network, evaluation.data.held_out), folder),
    ]
    if card and opened.kind == "bundle":
        written.append(write_card(evaluation, opened.path))
    # A pipe has no width; 120 columns hold the whole table.
    output = Console()
    (output if output.is_terminal else Console(width=120)).print(table(evaluation))
    print("written:", ", ".join(map(str, written)))
