"""The program of a worker process: BentoML's, with the bundles loading beside BentoML's imports.

BentoML takes half a second to import, on one core, before it calls anything of Figment's. ONNX Runtime needs no
interpreter lock: it opens and checks the bundles on the other cores meanwhile.
"""

import sys

from serving.config.settings import load_settings
from serving.loading.start import load_for_process
from serving.process.logs import configure_logging
from serving.process.worker import end_if_it_hangs, end_with_parent

_START_SECONDS = 300.0
"""Until the event loop runs, which takes about a second on an idle core."""


def main() -> None:
    """Starts to load the bundles, and runs BentoML's worker with the same arguments.

    If its event loop does not run in time, the process ends, and its parent starts another one.
    """
    end_if_it_hangs(_START_SECONDS)
    end_with_parent()  # first: a fetch that hangs would keep an orphan alive
    settings = load_settings()
    configure_logging(settings.log_format)
    load_for_process(settings, int(sys.argv[sys.argv.index("--worker-id") + 1]))

    from _bentoml_impl.worker.service import main as run_worker  # type: ignore[import-untyped]
    from bentoml._internal.log import SERVER_LOGGING_CONFIG

    # BentoML would silence the loggers that exist by now, and with them every line about the bundles.
    SERVER_LOGGING_CONFIG["disable_existing_loggers"] = False
    run_worker()


if __name__ == "__main__":
    main()
