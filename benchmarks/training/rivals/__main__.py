r"""Compares the shipped presets with three rivals, at equal training time on one core.

    python -m benchmarks.training.rivals --mnist MNIST.parquet --cifar10 CIFAR10.parquet --emoji FOLDER \
      --out docs/rivals

Contenders: the DCGAN of PyTorch's tutorial, a light GAN after FastGAN, StyleGAN2-ADA's settings in this project's
stylegan2 family, and the preset that ships for the data set. The rivals' rates are constant: one run, judged at each
mark. The preset's schedules end with its budget: one run per mark, whose budget is set by a short run's speed.

Every result is a line of OUT/results.jsonl at once. A restart runs only what is missing there, and each run may be on
another machine. At the end, OUT/rivals.md and OUT/DATASET.png show all that is known.
"""

import argparse
import math
from pathlib import Path

import torch

from benchmarks.training.rivals.cases import CASES
from benchmarks.training.rivals.clock import CLOCKS
from benchmarks.training.rivals.entries import entries
from benchmarks.training.rivals.report import Report
from benchmarks.training.rivals.results import Results
from benchmarks.training.rivals.runs import Comparison
from benchmarks.training.rivals.smoke import smoke
from training.errors import TrainingError

MINUTES = (3.0, 10.0, 30.0)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command."""
    parser = _parser()
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.smoke:
        smoke()
        return
    if options.out is None:
        parser.error("--out says where the results go")
    cases = [CASES[name] for name in _chosen(parser, "--only", options.only, list(CASES))]
    contenders = entries()
    chosen = [contenders[name] for name in _chosen(parser, "--contenders", options.contenders, list(contenders))]
    sources = {name: str(getattr(options, name)) for name in ("mnist", "cifar10", "emoji") if getattr(options, name)}
    for case in cases:
        if case.source not in sources:
            parser.error(f"{case.name} needs --{case.source}; or leave it out with --only")
    results = Results(options.out)
    comparison = Comparison(results, sources, options.clock)
    try:
        for case in cases:
            for entry in chosen:
                comparison.complete(case, entry, sorted(set(options.minutes)))
        written = Report(results, list(contenders.values()), options.clock).write(options.out)
    except TrainingError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"written: {', '.join(map(str, written))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.rivals",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mnist", type=Path, help="MNIST's training images as a Parquet file")
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10's training images as a Parquet file, for both its cases")
    parser.add_argument("--emoji", type=Path, help="a folder of PNGs")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--minutes", type=_minutes, nargs="+", default=MINUTES, help="the marks (3 10 30)")
    parser.add_argument("--only", default=",".join(CASES), help=f"data sets, of {', '.join(CASES)}")
    names = entries()
    parser.add_argument("--contenders", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument(
        "--clock",
        choices=tuple(CLOCKS),
        default="cpu",
        help="cpu: the processor's time, which other work on the machine hardly changes; wall: for a quiet machine",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="only check in seconds that everything works; needs no data"
    )
    return parser


def _minutes(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"a mark is a number of minutes above 0, not {text}")
    return value


def _chosen(parser: argparse.ArgumentParser, option: str, text: str, known: list[str]) -> list[str]:
    """Returns the names of a list with commas. Ends the command for an unknown one."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            parser.error(f"{option} takes names of {', '.join(known)}, with commas between them, not {name!r}")
    return [name for name in known if name in names]


if __name__ == "__main__":
    main()
