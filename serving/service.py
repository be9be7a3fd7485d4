"""The BentoML service, which ``bentoml serve`` and ``bentoml build`` load.

BentoML provides the process, its configuration, packaging and clients. Requests for images bypass its middleware, see
``serving.app``. Heavy imports wait until a worker needs them, since BentoML's arbiter imports this file, too.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bentoml
from _bentoml_sdk import Service  # type: ignore[import-untyped]
from pydantic import BaseModel

from serving.config.otlp import sends_spans
from serving.config.settings import CACHE_VARIABLE, MODELS_VARIABLE, SettingsError, check_models, load_settings
from serving.process.listening import check_address, requested_address
from serving.process.logs import configure_logging
from serving.process.replacement import replace_ended_workers_at_once
from serving.process.worker import end_with_parent, run_workers_as

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class ShortCutService(Service[Any]):  # type: ignore[misc]
    """A BentoML service behind Figment's application."""

    def to_asgi(self, is_main: bool = True) -> "ASGIApp":
        """Returns the application of a worker process."""
        settings = load_settings()
        if settings.workers == 1:
            # BentoML keeps metrics in files, which only several processes need: memory takes a third of the time.
            os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

        from serving.loading.start import load_for_process

        configure_logging(settings.log_format)
        if bentoml.server_context.worker_index is not None:  # without an index, the parent may be a shell
            end_with_parent()
        # ``serving.worker`` has started it. Other programs than ``bentoml serve`` start no worker: then it starts here.
        load = load_for_process(settings, bentoml.server_context.worker_index or 1)

        from serving.app import Application
        from serving.connection.connection import limit_connections
        from serving.http.tracing import create_tracer
        from serving.metrics import Metrics
        from serving.runtime import Runtime

        def create_runtime() -> Runtime:
            runtime = Runtime(settings, Metrics())
            runtime.start(load)
            return runtime

        application = Application(super().to_asgi(is_main), create_runtime, settings, create_tracer())
        limit_connections(
            application,
            rejects_early=True,
            deadline_seconds=settings.deadline_seconds,
            keep_alive_seconds=settings.keep_alive_seconds,
        )
        return application


def _workers() -> int:
    try:
        return load_settings().workers
    except SettingsError:
        return 1  # ``check_settings`` reports the error


def _request_model() -> type[BaseModel]:
    """Returns the model of requests to ``generate``, which BentoML's clients and builds read.

    BentoML's arbiter only starts workers, and reads none. So it need not import NumPy and Pillow.
    """
    if requested_address() is not None:
        return BaseModel
    from serving.api.requests import GenerateRequest

    return GenerateRequest


@bentoml.service(
    name="figment",
    service_class=ShortCutService,
    workers=_workers(),  # one process per device, so that all clients share its queue and batches
    metrics={"enabled": False},  # BentoML's metrics label by raw path; Figment's are at /metrics
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},  # BentoML's own middleware runs even without an exporter: see ``RequestTracer``
)
class Figment:
    """Images from tuned GAN generators."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def check_settings() -> None:
        """Exits with one sentence if a setting is invalid: once, and not in every worker's restart."""
        try:
            settings = load_settings()
            check_models(settings.models)
            sends_spans(os.environ)
            address = requested_address()
            if address is not None:
                check_address(*address)
        except SettingsError as error:
            sys.exit(f"figment: {error}")
        # Workers run in the project's folder, but a relative path starts at this process's folder.
        if isinstance(settings.models, Path):
            os.environ[MODELS_VARIABLE] = str(Path.cwd() / settings.models)
        os.environ[CACHE_VARIABLE] = str(Path.cwd() / settings.models_cache)
        run_workers_as("serving.worker", Path(__file__).parents[1])
        replace_ended_workers_at_once()
        configure_logging(settings.log_format)  # of this process, too

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/generate", input_spec=_request_model()
    )
    def generate(self, **request: Any) -> bytes:
        """Images: a PNG if one is asked for, or the grid of several; JSON with base64 data if more."""
        raise NotImplementedError("the application before BentoML answers /generate")
