"""What Figment assumes about the inside of its libraries: an upgrade that breaks it without an error fails here.

Each failure names the module that relies on the assumption, and the way out. No service is started. Missing imports are
not listed: they fail by themselves.
"""

import asyncio
import inspect
import json
import mmap
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import httptools
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.context import server_context
from bentoml._internal.log import SERVER_LOGGING_CONFIG
from circus.arbiter import Arbiter as CircusArbiter
from circus.sighandler import SysHandler
from circus.watcher import Watcher
from prometheus_client import mmap_dict, values
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from uvicorn.config import HTTP_PROTOCOLS, Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serving.connection.connection import Connection
from serving.connection.header_coalescing import HeaderCoalescingTransport
from serving.process.logs import FRAMEWORK_LOGGERS

CONNECTION = "serving/connection/connection.py"


def broken(module: str, assumption: str, remedy: str) -> str:
    """Returns the sentence of a failed assumption."""
    return f"{module} relies on this: {assumption}. The installed version differs: {remedy}."


def source_of(package: str, file: str) -> str:
    """Returns the text of a package's file, without importing it."""
    return Path(str(distribution(package).locate_file(file))).read_text()


# Starlette


def test_request_keeps_its_headers_in_a_private_attribute() -> None:
    request = Request({"type": "http", "headers": [(b"a", b"1")]})
    request._headers = Headers({"a": "2"})
    assert request.headers["a"] == "2", broken(
        "serving/http/responses.py",
        "starlette's Request.headers returns Request._headers if it is set",
        "override the property `headers` in IndexedRequest",
    )


def test_response_needs_only_the_attributes_that_raw_response_sets() -> None:
    known = {"status_code", "background", "body", "raw_headers", "media_type"}
    assert vars(Response(b"a", media_type="text/plain")).keys() <= known, broken(
        "serving/http/responses.py",
        f"starlette's Response.__init__ sets only {sorted(known)}",
        "set the new attributes in RawResponse.__init__, or call the initialiser of Response",
    )
    response, sent = Response.__new__(Response), []
    response.status_code, response.background, response.body, response.raw_headers = 200, None, b"a", [(b"b", b"c")]

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def respond() -> None:
        await response({"type": "http"}, None, send)  # type: ignore[arg-type]

    asyncio.run(respond())
    assert sent[0] == {"type": "http.response.start", "status": 200, "headers": [(b"b", b"c")]}, broken(
        "serving/http/responses.py",
        "a starlette Response without its initialiser sends status_code and raw_headers as they are",
        "write RawResponse.__call__",
    )
    assert sent[1]["body"] == b"a"


def test_cors_middleware_has_the_members_that_figment_uses() -> None:
    middleware = CORSMiddleware(
        lambda *_: None, allow_origins=["https://a.example"], allow_methods=["GET"], allow_headers=["If-None-Match"]
    )
    assert "if-none-match" in middleware.allow_headers, broken(
        "serving/http/cors.py",
        "starlette's CORSMiddleware.allow_headers holds lower-case names",
        "lower the names in CorsMiddleware._problem",
    )
    assert list(middleware.allow_methods) == ["GET"]
    assert middleware.is_allowed_origin("https://a.example")
    assert "preflight_response" in inspect.getsource(CORSMiddleware.__call__), broken(
        "serving/http/cors.py",
        "starlette's CORSMiddleware answers preflights with its method preflight_response",
        "override the method that answers them now",
    )


# Prometheus' client

STORAGE = """
import json, os, sys
from pathlib import Path
folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
if sys.argv[1] == "memory":
    del os.environ["PROMETHEUS_MULTIPROC_DIR"]
import prometheus_client
from prometheus_client.multiprocess import mark_process_dead
prometheus_client.disable_created_metrics()
registry = prometheus_client.CollectorRegistry()
for mode in ("livesum", "livemax", "livemin"):
    prometheus_client.Gauge(mode, "a", multiprocess_mode=mode, registry=registry).set(1)
counter = prometheus_client.Counter("c", "a", registry=registry)
counter.inc()
found = sorted(path.name.replace(str(os.getpid()), "PID") for path in folder.iterdir())
if found:
    mark_process_dead(os.getpid())
left = sorted(path.name.replace(str(os.getpid()), "PID") for path in folder.iterdir())
samples = [sample.name for metric in registry.collect() for sample in metric.samples]
print(json.dumps([found, left, any("created" in name for name in samples)]))
"""
GAUGE_FILES = ["gauge_livemax_PID.db", "gauge_livemin_PID.db", "gauge_livesum_PID.db"]


@pytest.mark.parametrize("case", ["memory", "files"])
def test_prometheus_chooses_its_storage_at_import_and_names_its_files(case: str, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", STORAGE, case],
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found, left, created = json.loads(result.stdout)
    assert not created, broken(
        "serving/metrics.py",
        "disable_created_metrics() removes the samples *_created",
        "find the new switch; else every counter and histogram has one more time series per label set",
    )
    if case == "memory":
        assert found == [], broken(
            "serving/service.py",
            "metrics are kept in memory if PROMETHEUS_MULTIPROC_DIR is unset before prometheus_client is imported",
            "find the new switch; files make every count three times as slow",
        )
        return
    assert [name for name in found if name.startswith("gauge")] == GAUGE_FILES, broken(
        "serving/metrics.py",
        "live gauges are kept in files gauge_live*_PID.db; the storage is chosen when prometheus_client is imported",
        "adapt the pattern in _remove_gauges_of_dead_processes, and the order of imports in serving/service.py",
    )
    assert left == ["counter_PID.db"], broken(
        "serving/metrics.py",
        "mark_process_dead removes the live gauges of a process, and keeps its counters",
        "remove the files in _remove_gauges_of_dead_processes itself",
    )


# ONNX Runtime


def test_onnx_runtime_knows_the_session_option_that_ends_spinning() -> None:
    """Unknown options are accepted without an error."""
    libraries = [*Path(str(distribution_of_onnxruntime().locate_file("onnxruntime/capi"))).glob("*.so*")]
    assert libraries
    assert any(contains(library, b"session.force_spinning_stop") for library in libraries), broken(
        "serving/inference/device.py",
        "ONNX Runtime has the session option session.force_spinning_stop",
        "find its new name; else idle threads spin between two batches and slow down the encoders",
    )


def test_onnx_runtime_knows_the_run_option_that_selects_a_cuda_graph() -> None:
    """Unknown options are accepted without an error. Holds for the GPU build; the CPU build has no such library."""
    libraries = Path(str(distribution_of_onnxruntime().locate_file("onnxruntime/capi"))).glob("*providers_cuda*.so*")
    assert all(contains(library, b"gpu_graph_id") for library in libraries), broken(
        "serving/inference/engine.py",
        "ONNX Runtime records a CUDA graph for each value of the run option gpu_graph_id",
        "find its new name; else batches of different sizes replay the wrong graph",
    )


def distribution_of_onnxruntime():  # type: ignore[no-untyped-def]
    """Returns the installed build, for the CPU or for GPUs."""
    try:
        return distribution("onnxruntime")
    except ModuleNotFoundError:
        return distribution("onnxruntime-gpu")


def contains(library: Path, text: bytes) -> bool:
    """Returns whether a binary file contains this text."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(text) >= 0


# uvicorn


async def application(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
    """Responds without a body."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


class Transport(asyncio.Transport):
    """A transport that drops all data."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def write(self, data: bytes) -> None:  # type: ignore[override]
        pass

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.fixture
def protocols(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Uvicorn's own protocol and Figment's, each with an open connection, and uvicorn's cycle of a request."""

    class Application:
        connections: set[asyncio.Transport] = set()  # noqa: RUF012

    for name, value in {
        "application": Application,
        "deadline_seconds": 1,
        "keep_alive_seconds": 1,
        "rejects_early": False,
    }.items():
        monkeypatch.setattr(Connection, name, value, raising=False)

    async def main() -> tuple[HttpToolsProtocol, Connection]:
        config = Config(application, log_config=None, ws="none")
        config.load()
        opened = []
        for protocol in (HttpToolsProtocol, Connection):
            one = protocol(config, ServerState(), {}, asyncio.get_running_loop())
            one.connection_made(Transport())
            one.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            opened.append(one)
        return opened[0], opened[1]

    return asyncio.run(main())


OVERRIDDEN = {
    "connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing",
    "on_message_begin", "on_headers_complete", "on_body", "on_message_complete", "on_response_complete",
    "timeout_keep_alive_handler", "_start_asgi_task", "_should_upgrade",
}  # fmt: skip
USED = {
    "_unset_keepalive_if_required", "access_log", "access_logger", "cycle", "expect_100_continue", "flow", "headers",
    "loop", "parser", "pipeline", "scheme", "scope", "server_state", "timeout_keep_alive", "timeout_keep_alive_task",
    "transport", "url",
}  # fmt: skip


def test_uvicorn_has_every_member_that_the_connection_overrides_or_uses(protocols) -> None:  # type: ignore[no-untyped-def]
    uvicorns, _ = protocols
    missing = sorted(name for name in OVERRIDDEN | USED if not hasattr(uvicorns, name))
    assert not missing, broken(
        CONNECTION,
        f"uvicorn's HttpToolsProtocol has {', '.join(missing)}",
        "compare Connection with uvicorn's httptools_impl.py: limits may no longer be applied",
    )
    for caller, called in {
        "on_headers_complete": ("_should_upgrade()", "_start_asgi_task(", "self.flow", "self.pipeline.appendleft"),
        "on_response_complete": ("self.timeout_keep_alive, self.timeout_keep_alive_handler", "_start_asgi_task("),
        "on_message_begin": ("self.headers", "self.scope"),
        "on_body": ("self.flow.pause_reading", "_should_upgrade()"),
    }.items():
        text = re.sub(r"\s+", " ", inspect.getsource(getattr(HttpToolsProtocol, caller)))
        for part in called:
            assert part in text, broken(
                CONNECTION,
                f"uvicorn's HttpToolsProtocol.{caller} uses {part}",
                "compare Connection with uvicorn's httptools_impl.py, and follow the new name",
            )


def test_names_of_the_connection_do_not_collide_with_uvicorns(protocols) -> None:  # type: ignore[no-untyped-def]
    uvicorns, ours = protocols
    introduced = (vars(Connection).keys() - OVERRIDDEN) | (vars(ours).keys() - USED - vars(uvicorns).keys())
    collisions = sorted(name for name in introduced if not name.startswith("__") and hasattr(HttpToolsProtocol, name))
    assert not collisions, broken(
        CONNECTION, f"uvicorn's HttpToolsProtocol has no {', '.join(collisions)}", "rename it in Connection"
    )
    own = set(re.findall(r"self\.(\w+)(?:: [^=\n]+)? = ", inspect.getsource(Connection))) - USED
    assert not own & vars(uvicorns).keys(), broken(
        CONNECTION,
        f"uvicorn's HttpToolsProtocol keeps nothing in {', '.join(sorted(own & vars(uvicorns).keys()))}",
        "rename it in Connection",
    )


def test_uvicorn_warns_of_upgrades_only_where_the_connection_replaces_it() -> None:
    callers = [
        name
        for name, member in vars(HttpToolsProtocol).items()
        if inspect.isfunction(member) and "self._unsupported_upgrade_warning(" in inspect.getsource(member)
    ]
    assert callers in ([], ["data_received"]), broken(
        CONNECTION,
        "uvicorn logs unsupported upgrades in data_received only, which Connection replaces",
        "override _unsupported_upgrade_warning: else clients can fill the log",
    )


def test_cycle_of_uvicorn_has_the_state_that_the_connection_reads(protocols) -> None:  # type: ignore[no-untyped-def]
    cycle = protocols[0].cycle
    used = {"disconnected", "keep_alive", "response_complete", "response_started", "scope", "transport"}
    missing = sorted(used - vars(cycle).keys())
    assert not missing, broken(
        CONNECTION,
        f"uvicorn's RequestResponseCycle has {', '.join(missing)}",
        "compare with uvicorn's httptools_impl.py: an attribute that nobody reads has no effect",
    )
    called = set(re.findall(r"self\.transport\.(\w+)", inspect.getsource(RequestResponseCycle)))
    assert called <= {name for name in dir(HeaderCoalescingTransport) if not name.startswith("_")}, broken(
        "serving/connection/header_coalescing.py",
        "uvicorn's RequestResponseCycle calls only write, close and is_closing of its transport",
        f"add the missing methods of {sorted(called)} to HeaderCoalescingTransport",
    )


def test_flow_control_of_uvicorn_has_the_state_that_the_connection_reads() -> None:
    assert {"read_paused", "write_paused"} <= vars(FlowControl(Transport())).keys(), broken(
        CONNECTION,
        "uvicorn's FlowControl has read_paused and write_paused",
        "adapt TimedFlow: else clients are timed out while the server does not read",
    )


def test_uvicorn_looks_up_its_default_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", f"{CONNECTION.removesuffix('.py').replace('/', '.')}:Connection")
    config = Config(application, log_config=None, ws="none")
    config.load()
    remedy = "find another way to install Connection in limit_connections: else no limit is applied"
    assert config.http_protocol_class is Connection, broken(
        CONNECTION, 'uvicorn takes HTTP_PROTOCOLS["auto"] where no protocol is configured', remedy
    )
    call = (
        source_of("bentoml", "_bentoml_impl/worker/service.py").partition("uvicorn.Config(")[2].partition("\n    )")[0]
    )
    assert call, broken(CONNECTION, "BentoML's worker creates a uvicorn.Config", remedy)
    assert not re.search(r"\bhttp=", call), broken(CONNECTION, "BentoML's worker configures no HTTP protocol", remedy)


# httptools and llhttp


def test_parser_stops_after_the_head_of_an_upgrade_offer() -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n"

    class Callbacks:
        calls: list[str] = []  # noqa: RUF012

        def on_headers_complete(self) -> None:
            self.calls.append("headers")

        def on_body(self, body: bytes) -> None:
            self.calls.append("body")

        def on_message_complete(self) -> None:
            self.calls.append("complete")

    parser = httptools.HttpRequestParser(Callbacks())
    remedy = "adapt Connection._parse, and run tests/serving/connection/test_upgrade.py"
    with pytest.raises(httptools.HttpParserUpgrade) as stopped:
        parser.feed_data(head + b"ab")
    assert stopped.value.args == (len(head),), broken(
        CONNECTION, "httptools reports the offset where an upgrade request's head ends", remedy
    )
    assert Callbacks.calls == ["headers", "complete"], broken(
        CONNECTION, "llhttp completes a message that offers an upgrade without its body", remedy
    )


def test_parser_turns_an_exception_of_a_callback_into_a_parser_error() -> None:
    class Callbacks:
        def on_headers_complete(self) -> None:
            raise ValueError

    parser, raised = httptools.HttpRequestParser(Callbacks()), None
    try:
        parser.feed_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    except Exception as error:
        raised = error
    assert isinstance(raised, httptools.HttpParserError), broken(
        CONNECTION, "an exception in a parser's callback becomes an HttpParserError", "adapt Connection._stop_parsing"
    )


def test_parser_accepts_a_request_after_one_that_closes_the_connection() -> None:
    class Callbacks:
        completed = 0

        def on_message_complete(self) -> None:
            Callbacks.completed += 1

    parser = httptools.HttpRequestParser(Callbacks())
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    parser.feed_data(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert Callbacks.completed >= 1, broken(
        CONNECTION, "lenient_data_after_close ignores or parses data after the last request", "adapt _parse"
    )


# BentoML and circus


def test_bentoml_has_the_configuration_that_figment_reads() -> None:
    assert BentoMLContainer.tracing.exporter_type.get() is None, broken(
        "serving/http/tracing.py",
        "BentoMLContainer.tracing.exporter_type is None unless tracing is configured",
        "find the new way to read it: else requests pay for a middleware, or spans are missing",
    )
    assert (BentoMLContainer.http.host.get(), BentoMLContainer.http.port.get()) == ("0.0.0.0", 3000), broken(
        "serving/process/listening.py",
        "BentoMLContainer.http holds the default host and port",
        "find the new defaults: else a port in use ends the start with a traceback",
    )


def test_bentoml_serve_has_the_options_that_figment_checks() -> None:
    text = source_of("bentoml", "bentoml_cli/serve.py")
    assert '"--host"' in text, broken(
        "serving/process/listening.py", "bentoml serve has an option --host", "adapt requested_address"
    )
    assert '"--port"' in text, broken(
        "serving/process/listening.py", "bentoml serve has an option --port", "adapt requested_address"
    )


def test_bentoml_counts_its_workers_from_one() -> None:
    remedy = "adapt the choice of a GPU in serving/service.py: else two workers use one card"
    assert server_context.worker_index is None, broken(
        "serving/service.py", "server_context.worker_index is None outside of workers", remedy
    )
    worker = source_of("bentoml", "_bentoml_impl/worker/service.py")
    assert "server_context.worker_index = worker_id" in worker, broken(
        "serving/service.py", "BentoML's worker sets server_context.worker_index", remedy
    )
    assert worker.index("server_context.worker_index = worker_id") < worker.index("service.to_asgi("), broken(
        "serving/service.py", "BentoML's worker sets server_context.worker_index before it calls to_asgi", remedy
    )
    assert "$(CIRCUS.WID)" in source_of("bentoml", "_bentoml_impl/server/serving.py"), broken(
        "serving/service.py", "BentoML's workers get their number from circus", remedy
    )
    assert Watcher("a", "true")._nextwid == 1, broken("serving/service.py", "circus counts workers from 1", remedy)


def test_bentoml_starts_its_workers_as_a_module_that_figment_can_replace() -> None:
    arbiter = source_of("bentoml", "_bentoml_impl/server/serving.py")
    assert arbiter.count('"-m",\n            _SERVICE_WORKER_SCRIPT,') == 1, broken(
        "serving/process/worker.py",
        "BentoML's arbiter starts `python -m _SERVICE_WORKER_SCRIPT`",
        "adapt run_workers_as: else bundles load half a second later",
    )
    assert arbiter.index("server_on_deployment(svc)") < arbiter.index("server_args = ["), broken(
        "serving/service.py",
        "BentoML calls hooks on deployment before it composes the command of its workers",
        "call run_workers_as earlier: else bundles load half a second later",
    )
    worker = source_of("bentoml", "_bentoml_impl/worker/service.py")
    assert '"--worker-id"' in worker, broken(
        "serving/worker.py", "BentoML's worker has an option --worker-id", "find the worker's number elsewhere"
    )
    assert "configure_server_logging()" in worker
    assert "dictConfig(SERVER_LOGGING_CONFIG)" in source_of("bentoml", "bentoml/_internal/log.py"), broken(
        "serving/worker.py",
        "BentoML's worker configures logging by SERVER_LOGGING_CONFIG",
        "keep Figment's loggers enabled by other means: else the log says nothing about bundles",
    )


def test_circus_lets_figment_replace_workers_at_once() -> None:
    remedy = "adapt replace_ended_workers_at_once: else a worker that ends is missed for ten seconds, without a line"
    module = "serving/process/replacement.py"
    assert SysHandler.SIG_NAMES[signal.SIGCHLD] in {"chld", "cld"}, broken(
        module, "circus calls handle_chld or handle_cld for SIGCHLD", remedy
    )
    assert "for sig in self.SIGNALS" in inspect.getsource(SysHandler._register), broken(
        module, "circus handles the signals in SysHandler.SIGNALS", remedy
    )
    assert [*inspect.signature(Watcher.reap_process).parameters] == ["self", "pid", "status"], broken(
        module, "circus reports an ended process to Watcher.reap_process", remedy
    )
    reaping = inspect.getsource(CircusArbiter.reap_processes)
    assert "watcher.reap_process(pid, status)" in reaping, broken(module, "circus knows the status of the end", remedy)
    assert "self.reap_processes()" in inspect.getsource(CircusArbiter.manage_watchers), broken(
        module, "Arbiter.manage_watchers replaces ended processes", remedy
    )


def test_prometheus_maps_files_that_double(tmp_path: Path) -> None:
    remedy = "adapt ReservedFile: else a full disk ends the workers with SIGBUS"
    assert values.MmapedDict is mmap_dict.MmapedDict or values.MmapedDict.__name__ == "ReservedFile", broken(
        "serving/metric_files.py", "prometheus_client's values take their file from values.MmapedDict", remedy
    )
    file = mmap_dict.MmapedDict(str(tmp_path / "counter_1.db"))
    size = (tmp_path / "counter_1.db").stat().st_size
    for number in range(3000):
        file.write_value(f"series {number:100}", 1.0, 0.0)
    sizes = (size, file._capacity, (tmp_path / "counter_1.db").stat().st_size)
    assert sizes == (2**16, 2**19, 2**19), broken(
        "serving/metric_files.py", "a file of metrics has 64 KiB, and doubles when it is full", remedy
    )
    file.close()


def test_bentoml_writes_through_the_loggers_that_figment_formats() -> None:
    assert {*FRAMEWORK_LOGGERS} == {"", *SERVER_LOGGING_CONFIG["loggers"]}, broken(
        "serving/process/logs.py",
        f"in a worker, BentoML configures the loggers {FRAMEWORK_LOGGERS}",
        "adapt FRAMEWORK_LOGGERS: else some lines are not JSON, or not in UTC",
    )


def test_bentoml_keeps_metrics_in_files_for_its_workers() -> None:
    assert '"PROMETHEUS_MULTIPROC_DIR": ensure_prometheus_dir()' in source_of("bentoml", "bentoml/serving.py"), broken(
        "serving/metrics.py",
        "BentoML sets PROMETHEUS_MULTIPROC_DIR for its workers",
        "set it for several workers in serving/service.py: else each shows its own counts",
    )


def test_bentoml_ends_in_a_container_if_its_worker_dies() -> None:
    text = source_of("bentoml", "bentoml/serving.py")
    assert '"BENTOML_CONTAINERIZED" in os.environ' in text, broken(
        "Dockerfile", "BentoML reads BENTOML_CONTAINERIZED", "find the new variable"
    )
    assert "respawn=not running_inside_container()" in text, broken(
        "Dockerfile",
        "in a container, BentoML does not restart a worker that has died",
        "find the new switch: else a broken container runs forever",
    )


def test_circus_puts_each_worker_into_its_own_group_and_ends_it_with_sigterm() -> None:
    assert "os.setsid()" in source_of("kantoku", "circus/process.py"), broken(
        "serving/process/worker.py",
        "circus starts each worker in its own session: neither Ctrl-C nor a closed terminal reaches it",
        "check end_with_parent, and the comment on SIGINT in serving/shutdown.py",
    )
    assert Watcher("a", "true").stop_signal == signal.SIGTERM, broken(
        "serving/shutdown.py",
        "circus ends workers with SIGTERM",
        "handle the new signal in install_signal_handlers: else workers end without lingering",
    )
