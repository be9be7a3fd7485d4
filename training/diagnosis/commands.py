"""The command ``diagnose``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from training.diagnosis.watched_runs import Diagnosis, WatchedRuns
from training.errors import TrainingError


def diagnose(
    log: Annotated[
        Path,
        typer.Argument(
            metavar="LOG",
            help="A CSV of losses (run, adv_loss, step, d_loss, g_loss), the folder of a run, stats.jsonl of "
            "StyleGAN2-ADA or 3, or TensorBoard's event files.",
        ),
    ],
    loss: Annotated[
        str | None,
        typer.Option(
            help="The loss of the runs in stats.jsonl or event files: vanilla, minimax, hinge, least_square, "
            "wasserstein, relativistic. Without it, only rules without a scale apply."
        ),
    ] = None,
    tags: Annotated[
        str | None,
        typer.Option(metavar="d_loss=NAME,g_loss=NAME", help="What stats.jsonl or the event files call the losses."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a run's findings as one line of JSON.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="The picture of a run's signals. Default: diagnosis.png in its folder.")
    ] = None,
) -> None:
    """Says what is going wrong in a GAN's training, since when, and what to try.

    One line of JSON for each run; for a run of Figment's, a text and a picture.

    Example: python -m training diagnose runs/first
    """
    from training.diagnosis.csv_log import read_csv
    from training.diagnosis.event_files import has_events, read_events
    from training.diagnosis.names import parse_tags
    from training.diagnosis.stats_file import STATS_FILE, read_stats

    names = parse_tags(tags)
    if not log.exists():
        raise TrainingError(f"there is no {log}: diagnose takes a CSV of losses, a run's folder or TensorBoard's files")
    if (log / "config.yaml").is_file():
        _diagnose_run(log, as_json, picture)
        return
    runs = WatchedRuns(first_finding_only=True)
    stats = log / STATS_FILE if log.is_dir() else log
    if stats.is_file() and stats.suffix == ".jsonl":
        read_stats(stats, runs, loss or "logistic", names)
    elif has_events(log):
        read_events(log, runs, loss or "", names)
    elif log.is_file():
        read_csv(log, runs)
    else:
        raise TrainingError(
            f"{log} holds no config.yaml of a run, no {STATS_FILE} and no event file of TensorBoard: "
            "diagnose takes one of them, or a CSV of losses"
        )
    for diagnosis in runs.diagnoses():
        print(diagnosis.to_json())
    for warning in runs.warnings():
        print(warning, file=sys.stderr)


def _diagnose_run(folder: Path, as_json: bool, picture: Path | None) -> None:
    from training.diagnosis.figment_run import describe_actions, read_run
    from training.diagnosis.picture import draw

    known, diagnosis = read_run(folder)
    path = picture or folder / "diagnosis.png"
    drawn = draw(known, diagnosis, path) if known.signals else None
    if as_json:
        print(diagnosis.to_json())
        return
    print(describe(diagnosis))
    for line in describe_actions(known):
        print(line)
    if drawn:
        print(f"written: {path}")


def describe(diagnosis: Diagnosis) -> str:
    """Returns every finding of a run as text: when, what, how sure, why, and what to do."""
    lines = [f"{diagnosis.run}: {len(diagnosis.findings) or 'no'} finding{'s' * (len(diagnosis.findings) != 1)}"]
    for finding in diagnosis.findings:
        lines += [
            "",
            f"{finding.condition.name}: {finding.condition.title} "
            f"(from {finding.began}, reported at {finding.step}, {finding.confidence})",
            f"  {finding.evidence}",
            f"  {finding.condition.advice}",
            *(f"    {attempt}" for attempt in diagnosis.attempts(finding.condition)),
        ]
    return "\n".join(lines if diagnosis.findings else [f"{diagnosis.run}: {diagnosis.summary()}"])
