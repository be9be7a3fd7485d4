"""``python -m training.launch``: torchrun for commands of the trainer, with one-line errors.

Takes torchrun's options and then a command: ``python -m training.launch --nproc-per-node 4 fit cifar10 --data …``.
Plain torchrun works as well, but adds a long report of its own to the failing process's message.
"""

import logging
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run


def main(arguments: list[str] | None = None) -> None:
    """Runs the processes. Exits with the code of the first one that failed, or 128 + the signal's number."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help"):
        print(f"{__doc__}\nIts options are torchrun's: torchrun --help.")
        return
    options = parse_args(given)  # type: ignore[no-untyped-call]
    options.module = True
    options.training_script, options.training_script_args = (
        "training",
        [options.training_script, *options.training_script_args],
    )
    logging.disable(logging.ERROR)  # the processes print their own errors, and torchrun's own are raised
    try:
        run(options)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            raise SystemExit(failure.exitcode) from None
        print(f"error: process {rank} was ended by {failure.signal_name()}", file=sys.stderr)
        raise SystemExit(128 - failure.exitcode) from None
    except SignalException as signalled:
        raise SystemExit(128 + int(signalled.sigval)) from None


if __name__ == "__main__":
    main()
