"""The command ``tune``."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from training.console import console
from training.errors import TrainingError
from training.options import DATA_HELP
from training.tuning.spaces import space_names

if TYPE_CHECKING:
    import torch

    from training.config.schema import Config
    from training.data.dataset import TrainingImages
    from training.evaluation.judge.network import Judge
    from training.tuning.space.space import Space
    from training.tuning.study.study import Study


def tune(
    space: Annotated[
        str,
        typer.Argument(
            metavar="SPACE or FILE.yaml",
            help=f"The settings to search: a space that ships ({', '.join(space_names())}), or a file.",
        ),
    ],
    data: Annotated[str, typer.Option(help=DATA_HELP)],
    out: Annotated[Path, typer.Option(metavar="STUDY", help="The study's folder; an existing study continues.")],
    trials: Annotated[int, typer.Option(min=1, help="Trials of all workers together.")] = 30,
    images: Annotated[int | None, typer.Option(min=1, help="The budget of each run. Default: the preset's.")] = None,
    seeds: Annotated[
        int, typer.Option(min=0, max=99, help="Number of fresh seeds on which the best trials run again.")
    ] = 3,
    final_images: Annotated[
        int | None,
        typer.Option(min=1, help="Train the winner once more with this budget, and export that."),
    ] = None,
    sampler: Annotated[Literal["tpe", "random"], typer.Option(help="How the next settings are proposed.")] = "tpe",
    prune: Annotated[bool, typer.Option(help="End hopeless runs early.")] = True,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="postgresql://USER:PASSWORD@HOST/DATABASE, for workers on many machines."),
    ] = None,
    grace: Annotated[
        int,
        typer.Option(
            min=4, help="Seconds without a heartbeat after which a worker on another machine is presumed dead."
        ),
    ] = 120,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine, each with its own GPU.")] = 1,
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Export the winner as a bundle into this folder.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The bundle's name. Default: the preset's.")] = None,
) -> None:
    """Searches for better settings. Several commands may work on the same STUDY or storage at once.

    Example: python -m training tune digits --data mnist.parquet --out studies/first --trials 30 --workers 2
    """
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from training.parallel.distributed import joined_processes
    from training.tuning.space.reading import read_space
    from training.tuning.space.validation import validation_errors
    from training.tuning.study.outages import root_cause
    from training.tuning.study.plan import StudyPlan
    from training.tuning.study.storage import open_storage
    from training.tuning.study.study import Study
    from training.tuning.trial.run import Stopped, TrialContext
    from training.tuning.worker import work
    from training.tuning.workers import run_workers, stop_with_parent

    optuna.logging.set_verbosity(logging.ERROR)
    is_child = stop_with_parent()
    try:
        with joined_processes() as processes:
            chosen, errors = read_space(space)
            base, loaded = _base(chosen, images, data)
            errors += validation_errors(chosen, base, loaded)
            if errors:
                raise TrainingError(f"{space}: {'; '.join(errors)}")
            out.mkdir(parents=True, exist_ok=True)
            judge = _judge(out, loaded)
            precision = _precision(out, base, processes.device)
            plan = StudyPlan(chosen, base.images, sampler, prune, precision)
            study = Study(out, open_storage(storage, out, grace), plan, TrialContext(data, loaded, judge, processes))
            if study.name != out.resolve().name and not is_child:
                console.print(f"{out} continues the study {study.name}", highlight=False, soft_wrap=True)
            if workers > 1:
                options = {"data": data, "out": out, "trials": trials, "images": images, "seeds": seeds}
                options |= {
                    "final-images": final_images,
                    "sampler": sampler,
                    "storage": storage,
                    "grace": grace,
                    "export": export,
                    "name": name,
                }
                given = [f"--{key}={value}" for key, value in options.items() if value is not None]
                run_workers(workers, ["tune", space, "--prune" if prune else "--no-prune", *given])
                return
            work(study, trials, seeds, final_images)
            _conclude(study, final_images, export, name)
    except Stopped:
        console.print(
            f"stopped; continue with the same command: the study is in {out}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(130) from None
    except (SQLAlchemyError, StorageInternalError) as error:
        raise TrainingError(
            f"the storage stopped answering ({root_cause(error)}); nothing is lost: start the same command again"
        ) from error
    except OSError as error:
        raise TrainingError(
            f"cannot write or read {error.filename or out} ({error.strerror or error}); "
            "everything written before is saved: start the same command again"
        ) from error


def _base(space: "Space", images: int | None, source: str) -> "tuple[Config, TrainingImages]":
    """Returns the preset with the space's settings and the budget, and data that it can train on."""
    from training.config.files import parse_config
    from training.data.checks import check_data, report_data, warn_uneven_labels
    from training.data.dataset import load_images

    values = space.base_values()
    base = parse_config(values if images is None else {**values, "images": images}, f"preset {space.preset}")
    loaded = load_images(source, base.data)
    report_data(loaded, base.data.holdout)
    check_data(base, loaded)
    warn_uneven_labels(base, loaded)
    return base, loaded


def _judge(out: Path, data: "TrainingImages") -> "Judge":
    """Returns the study's judge: a copy of the data set's own, saved when the study starts."""
    from training.evaluation.judge.network import load_judge
    from training.evaluation.judge.train import judge_for
    from training.tuning.study.study import study_lock

    path = out / "judge.pt"
    with study_lock(out):
        if not path.is_file():
            judge_for(data).save(path)
    return load_judge(path)


def _precision(out: Path, base: "Config", device: "torch.device") -> str:
    """Returns the precision of a study's trials on machines like this one, measured once when the first one starts.

    ``precision.json`` keeps it: trials of one study must not differ because two measurements did.
    """
    from training.device import describe_device
    from training.files import write_atomic
    from training.loop.precision import choose_precision
    from training.tuning.study.study import study_lock

    if base.precision != "auto":
        return base.precision
    path, machine = out / "precision.json", describe_device(device)
    with study_lock(out):
        chosen: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        if machine not in chosen:
            choice = choose_precision(base, device)
            console.print(str(choice), highlight=False, soft_wrap=True)
            chosen[machine] = choice.precision
            write_atomic(path, json.dumps(chosen, indent=2).encode())
    return chosen[machine]


def _conclude(study: "Study", final_images: int | None, export: Path | None, name: str | None) -> None:
    from training.tuning.report.card import export_winner
    from training.tuning.report.report import objective_text, write_report
    from training.tuning.study.queue import identity_of

    finalists = study.finalists()
    if not finalists:
        raise TrainingError(
            f"no trial of {study.folder} spent its budget: all ended early; {write_report(study)} gives the reasons"
        )
    best = finalists[0]
    winner = f"trial {identity_of(best.trial)} is the best, {objective_text(best)}"
    print(f"{study.folder}: {winner}. Report: {write_report(study)}")
    if final_images and (reason := study.why_final_ended(final_images)):
        raise TrainingError(
            f"the winner's final run of {final_images} images ended early: {reason}. Nothing was exported; change "
            "--final-images, or omit it to export the best run of the study's own budget"
        )
    if export:
        print(export_winner(study, export, name))
