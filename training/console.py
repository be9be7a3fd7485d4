"""The console for progress: standard error, with progress bars on a terminal only."""

from rich.console import Console

console = Console(stderr=True, markup=False)
