"""Runs every benchmark of this folder, or those named: ``python -m benchmarks [NAME …] [--smoke] [--out FOLDER]``.

A benchmark is a package or module here with ``run(smoke, out)``: it prints a table, and writes ``NAME.json`` to the
folder ``out``.
"""

import argparse
import importlib
import pkgutil
from pathlib import Path

import benchmarks


def main() -> None:
    """The command."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "__main__")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, epilog="example: python -m benchmarks serving --smoke"
    )
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--smoke", action="store_true", help="seconds instead of minutes: only that everything runs")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder of the JSON files")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or names:
        importlib.import_module(f"benchmarks.{name}").run(arguments.smoke, arguments.out)


if __name__ == "__main__":
    main()
