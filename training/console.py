"""The console for progress: standard error, with progress bars on a terminal only."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(stderr=True, markup=False)


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Reports a stage of a command, and its seconds once it has succeeded, where no terminal shows a progress bar."""
    if console.is_terminal:
        yield
        return
    print(f"{what} …", file=sys.stderr, flush=True)
    began = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
