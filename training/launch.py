"""``python -m training.launch``: torchrun for commands of the trainer, whose failures are one sentence.

Takes torchrun's options and then a command: ``python -m training.launch --nproc-per-node 4 fit cifar10 --data …``.
torchrun itself does, too; it only adds a report of its own to what the failing process says.
"""

import logging
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run


def main(arguments: list[str] | None = None) -> None:
    """Starts the processes and waits; exits with the code of the first that failed, or 128 + the signal's number."""
    options = parse_args(sys.argv[1:] if arguments is None else arguments)  # type: ignore[no-untyped-call]
    options.module = True
    options.training_script, options.training_script_args = (
        "training",
        [options.training_script, *options.training_script_args],
    )
    logging.disable(logging.ERROR)  # the processes speak for themselves, and an error of torchrun's own is raised
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
