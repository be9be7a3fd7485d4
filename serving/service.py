"""The BentoML service: what ``bentoml serve`` and ``bentoml build`` load.

BentoML gives the process, its configuration, packaging and clients. Requests for images take a short cut past
its middleware, see ``serving.app``. The heavy imports wait until a worker needs them: BentoML's arbiter imports
this file, too.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
from _bentoml_sdk import Service  # type: ignore[import-untyped]

from serving.api.requests import GenerateRequest
from serving.config.settings import MODELS, SettingsError, check_folder, load_settings
from serving.process.listening import asked_address, check_address
from serving.process.logs import configure_logging
from serving.process.orphans import end_with_parent

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class ShortCutService(Service[Any]):  # type: ignore[misc]
    """A BentoML service with Figment's application before it."""

    def to_asgi(self, is_main: bool = True) -> "ASGIApp":
        """The application of a worker process."""
        settings = load_settings()
        if settings.workers == 1:
            # BentoML has metrics kept in files. Only several processes need those: memory takes a third of the time.
            os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

        from serving.app import Application
        from serving.connection.connection import limit_connections
        from serving.http.tracing import traced
        from serving.inference.device import Devices, Hardware
        from serving.metrics import Metrics
        from serving.runtime import Runtime

        configure_logging(settings.log_format)
        if bentoml.server_context.worker_index is not None:  # or nobody's worker, whose parent may be a shell
            end_with_parent()

        def create_runtime() -> Runtime:
            runtime = Runtime(settings, Metrics())
            # BentoML counts its workers from 1, and shows every GPU to each of them.
            gpu = (bentoml.server_context.worker_index or 1) - 1
            runtime.start(Devices(settings.device, Hardware(settings.intra_op_threads, gpu, settings.cuda_graphs)))
            return runtime

        application = Application(super().to_asgi(is_main), create_runtime, settings)
        outermost = traced(application, application.router.label)
        # When tracing is on, do not reject early: an early rejection has no span.
        limit_connections(
            application,
            rejects_early=outermost is application,
            deadline_seconds=settings.deadline_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
        )
        return outermost


def _workers() -> int:
    try:
        return load_settings().workers
    except SettingsError:
        return 1  # ``check_settings`` says what is wrong


@bentoml.service(
    name="figment",
    service_class=ShortCutService,
    workers=_workers(),  # one process per device: its queue and its batches are shared by all clients
    metrics={"enabled": False},  # those label by raw path; ours are at /metrics
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # by BentoML's own middleware, which is there even with no exporter: see traced
)
class Figment:
    """Images from tuned GAN generators."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_settings() -> None:
        """Stops the start, in one sentence, where a setting is wrong: once, and not in every worker's restart."""
        try:
            settings = load_settings()
            check_folder(settings.models)
            address = asked_address()
            if address is not None:
                check_address(*address)
        except SettingsError as error:
            sys.exit(f"figment: {error}")
        # Workers run in the project's folder. A relative path is meant from where this process was started.
        os.environ[MODELS] = str(Path.cwd() / settings.models)
        configure_logging(settings.log_format)  # of this process, too

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/generate", input_spec=GenerateRequest
    )
    def generate(self, **request: Any) -> bytes:
        """Images: a PNG if one is asked for, or the grid of several; JSON with base64 data if more."""
        raise NotImplementedError("the application before BentoML answers /generate")
