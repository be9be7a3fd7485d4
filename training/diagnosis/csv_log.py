"""Reads a CSV of losses, row by row: columns run, adv_loss, step, d_loss, g_loss; others are not looked at."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from training.diagnosis.watched_runs import WatchedRuns
from training.errors import TrainingError

COLUMNS = ("run", "adv_loss", "step", "d_loss", "g_loss")


def read_csv(path: Path, runs: WatchedRuns) -> None:
    """Passes every row to the doctor of its run; runs may be mixed. Raises ``TrainingError``.

    A damaged last row is ignored: the file may still be being written.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            _read(path, file, runs)
    except OSError as error:
        raise TrainingError(f"cannot read {path} ({error.strerror})") from error


def _read(path: Path, file: TextIO, runs: WatchedRuns) -> None:
    rows = _rows(path, file)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        found = f"it has {', '.join(header)}" if header else "it is empty"
        raise TrainingError(
            f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} ({found}): a log of losses needs "
            f"{', '.join(COLUMNS)} in its first line"
        )
    run_at, loss_at, step_at, d_at, g_at = (header.index(name) for name in COLUMNS)
    widest = max(run_at, loss_at, step_at, d_at, g_at)
    damaged: tuple[int, str] | None = None
    by_name = runs.by_name
    for line, row in rows:
        if not row:
            continue
        if damaged:
            raise TrainingError(f"{path}, line {damaged[0]}: {damaged[1]}")
        if len(row) <= widest:
            damaged = (line, f"there are {len(row)} values, and the header has {len(header)}")
            continue
        d_loss, g_loss = row[d_at], row[g_at]
        text = row[step_at]
        # Python refuses to convert thousands of digits. 18 fit everywhere.
        step = int(text) if text.isdecimal() and len(text) < 19 else _whole(text)
        if step is None:
            damaged = (line, f"step is {text!r}; it must be a whole number")
            continue
        if not (d_loss and g_loss):  # not logged in this row
            continue
        try:
            losses = float(d_loss), float(g_loss)
        except ValueError:
            damaged = (line, f"the losses are {d_loss!r} and {g_loss!r}; they must be numbers, nan, inf or empty")
            continue
        watched = by_name.get(row[run_at])
        if watched is None or watched.loss != row[loss_at]:
            watched = runs.add(row[run_at], row[loss_at])
        runs.observe_losses(watched, step, *losses)


def _whole(text: str) -> int | None:
    """Returns a whole number, also one that is written like 100.0; None for anything else."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yields line numbers and rows. Raises ``TrainingError`` for a file that is no CSV."""
    reader = csv.reader(file)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise TrainingError(f"{path}, line {reader.line_num}: this is no CSV ({error})") from error
        if row is None:
            return
        yield reader.line_num, row
