"""Where progress is shown: on standard error, and drawn only where a person looks at a terminal."""

from rich.console import Console

console = Console(stderr=True, markup=False)
