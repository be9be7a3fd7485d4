"""The command ``cache``: lists what the user's cache holds, and clears it."""

from datetime import datetime
from typing import Annotated

import typer

from training.data.cache import (
    MAX_BYTES_VARIABLE,
    Entry,
    cache_folder,
    entries,
    format_bytes,
    max_bytes,
    remove,
    total_bytes,
)
from training.errors import TrainingError

cache = typer.Typer(
    help="Lists and clears decoded images, what judges see in them, and judges.\n\nExample: python -m training cache",
    invoke_without_command=True,
)


@cache.callback()
def _list_by_default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_entries()


@cache.command("list")
def list_entries() -> None:
    """Lists what the cache holds, the last used first.

    Example: python -m training cache list
    """
    found = sorted(entries(), key=lambda entry: -entry.last_used)
    for entry in found:
        last_used = datetime.fromtimestamp(entry.last_used).strftime("%Y-%m-%d %H:%M")
        in_use = ", in use" if entry.in_use else ""
        size = format_bytes(entry.bytes)
        print(f"{_short_key(entry)}  {entry.kind:8}  {size:>10}  {last_used}  {entry.description}{in_use}")
    evictable = [entry for entry in found if entry.kind != "judge"]
    print(
        f"{cache_folder()}: {format_bytes(total_bytes(found))}; images and features take "
        f"{format_bytes(total_bytes(evictable))} of at most {format_bytes(max_bytes())} ({MAX_BYTES_VARIABLE})"
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
    """Removes decoded images and what judges see in them. The next command on the data computes them again.

    Example: python -m training cache clear
    """
    found = entries()
    chosen = [entry for key in keys for entry in _entries_named(key, found)] if keys else found
    if not judges:
        if named := [entry for entry in chosen if keys and entry.kind == "judge"]:
            raise TrainingError(
                f"{', '.join(map(_short_key, named))}: a judge, without which earlier scores compare with no new ones; "
                "add --judges to remove it all the same"
            )
        chosen = [entry for entry in chosen if entry.kind != "judge"]
    before = total_bytes(found)
    removed = [entry for entry in chosen if remove(entry)]
    freed = format_bytes(before - total_bytes(entry for entry in found if entry not in removed))
    print(f"removed {len(removed)} entries, {freed}")
    if kept := [entry for entry in chosen if entry not in removed]:
        print(f"kept {', '.join(map(_short_key, kept))}: in use by a running process")


def _entries_named(key: str, found: list[Entry]) -> list[Entry]:
    """Returns the entries whose key begins with ``key``. Raises ``TrainingError`` if there are none."""
    chosen = [entry for entry in found if entry.key.startswith(key)]
    if not chosen or not key:
        raise TrainingError(f"the cache has no entry {key!r}; python -m training cache list shows them")
    return chosen


def _short_key(entry: Entry) -> str:
    return entry.key[:12]
