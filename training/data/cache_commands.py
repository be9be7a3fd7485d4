"""The command ``cache``: what the user's cache holds, and clearing it."""

from datetime import datetime
from typing import Annotated

import typer

from training.data.cache import BOUND_VARIABLE, Entry, bound, cache_folder, entries, human, remove, size_of
from training.errors import TrainingError

cache = typer.Typer(
    help="Lists and clears decoded images, what judges see in them, and judges.", invoke_without_command=True
)


@cache.callback()
def _list_by_itself(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_entries()


@cache.command("list")
def list_entries() -> None:
    """Lists what the cache holds; what was used last comes first.

    Example: python -m training cache list
    """
    found = sorted(entries(), key=lambda entry: -entry.used)
    for entry in found:
        used = datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d %H:%M")
        in_use = ", in use" if entry.in_use else ""
        print(f"{_short(entry)}  {entry.kind:8}  {human(entry.bytes):>10}  {used}  {entry.about}{in_use}")
    bounded = [entry for entry in found if entry.kind != "judge"]
    print(
        f"{cache_folder()}: {human(size_of(found))}; images and features take {human(size_of(bounded))} of at most "
        f"{human(bound())} ({BOUND_VARIABLE})"
    )


@cache.command()
def clear(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]…", help="As `list` shows them; without one, everything.")
    ] = None,
    judges: Annotated[
        bool,
        typer.Option("--judges", help="Judges as well, after which scores no longer compare with earlier ones."),
    ] = False,
) -> None:
    """Removes decoded images and what judges see in them; the next command on the data makes them again.

    Example: python -m training cache clear
    """
    found = entries()
    chosen = [entry for key in keys for entry in _named(key, found)] if keys else found
    if not judges:
        chosen = [entry for entry in chosen if entry.kind != "judge"]
    before = size_of(found)
    removed = [entry for entry in chosen if remove(entry)]
    freed = human(before - size_of(entry for entry in found if entry not in removed))
    print(f"removed {len(removed)} entries, {freed}")
    if kept := [entry for entry in chosen if entry not in removed]:
        print(f"kept {', '.join(map(_short, kept))}: in use by a running process")


def _named(key: str, found: list[Entry]) -> list[Entry]:
    chosen = [entry for entry in found if entry.key.startswith(key)]
    if not chosen or not key:
        raise TrainingError(f"the cache has no entry {key!r}; python -m training cache list shows them")
    return chosen


def _short(entry: Entry) -> str:
    return entry.key[:12]
