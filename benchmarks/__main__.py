"""Runs benchmarks: ``python -m benchmarks [NAME …] [--smoke] [--out FOLDER]``. All but ``gpu`` and ``soak`` by default.

A benchmark is a package or module of this folder with ``run(smoke, out)``. It prints a table, and writes ``NAME.json``
to the folder ``out``.
"""

import argparse
import importlib
import pkgutil
from pathlib import Path

import benchmarks

NOT_BY_DEFAULT = {"gpu", "soak"}
"""Run only by name, since they compare no speeds: ``gpu`` fails without a GPU, ``soak`` takes hours."""


def main() -> None:
    """Runs the command."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "__main__")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="example: python -m benchmarks serving --smoke"
    )
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument(
        "--smoke", action="store_true", help="run for seconds instead of minutes, to check that everything works"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for the JSON files")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or [name for name in names if name not in NOT_BY_DEFAULT]:
        importlib.import_module(f"benchmarks.{name}").run(arguments.smoke, arguments.out)


if __name__ == "__main__":
    main()
