"""``python -m benchmarks.gpu [--only NAMES] [--skip NAMES] [--out FILE] [--smoke]``: the acceptance test on a GPU."""

import argparse
from pathlib import Path

from benchmarks.gpu.acceptance import CHECKS, accept
from benchmarks.gpu.target import CPU, GPU


def main() -> None:
    """Runs the command. Exits with 0 if no check failed, else with 1."""
    names = ", ".join(CHECKS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="Checks service and trainer on this machine's NVIDIA GPU.",
        epilog=f"The checks are {names}. Example: python -m benchmarks.gpu --only driver,images",
    )
    parser.add_argument("--only", type=_checks, default=list(CHECKS), metavar="NAMES", help="run only these checks")
    parser.add_argument("--skip", type=_checks, default=[], metavar="NAMES", help="leave these checks out")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/gpu.json"), metavar="FILE", help="where the JSON file goes"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="run small checks on the CPU, to see that the program itself works"
    )
    arguments = parser.parse_args()
    chosen = [name for name in CHECKS if name in arguments.only and name not in arguments.skip]
    if not chosen:
        parser.error("--only and --skip leave no check")
    if not accept(chosen, CPU if arguments.smoke else GPU, arguments.out):
        raise SystemExit(1)


def _checks(text: str) -> list[str]:
    """Returns the names of checks that are separated by commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no check {', '.join(unknown)}; there are {', '.join(CHECKS)}")
    return names


if __name__ == "__main__":
    main()
