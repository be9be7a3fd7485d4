"""``python -m benchmarks.soak [--only NAMES] [--skip NAMES] [--smoke] [--out FILE]``: the long fault and load tests."""

import argparse
from pathlib import Path

from benchmarks.soak.programs import PROGRAMS, run_programs


def main() -> None:
    """Runs the command. Exits with 0 if every promise was kept, else with 1."""
    programs = "\n".join(f"  {name:20}{subject}" for name, subject in PROGRAMS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description="Runs the long fault and load tests, and prints what was promised and what happened.",
        epilog=f"programs:\n{programs}\n\nexample: python -m benchmarks.soak --only fuzz,restarts",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", type=_programs, default=list(PROGRAMS), metavar="NAMES", help="run only these")
    parser.add_argument("--skip", type=_programs, default=[], metavar="NAMES", help="leave these out")
    parser.add_argument("--smoke", action="store_true", help="try every fault a few times, in seconds")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmarks/soak.json"), metavar="FILE", help="where the JSON file goes"
    )
    arguments = parser.parse_args()
    chosen = [name for name in PROGRAMS if name in arguments.only and name not in arguments.skip]
    if not chosen:
        parser.error("--only and --skip leave no program")
    if not run_programs(chosen, arguments.smoke, arguments.out):
        raise SystemExit(1)


def _programs(text: str) -> list[str]:
    """Returns the names of programs that are separated by commas."""
    names = text.split(",")
    unknown = [name for name in names if name not in PROGRAMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"there is no program {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    return names


if __name__ == "__main__":
    main()
