"""Stores on this machine: a web server that fails on demand, and an S3 server."""

import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# A fault of a file: gets its content; returns what is sent, or a status of HTTP.
Fault = Callable[[bytes], Iterator[bytes] | int]


class WebServer(ThreadingHTTPServer):
    """Serves a folder. ``faults`` are by the end of a path; ``requests`` are the paths asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.folder = folder
        self.faults: dict[str, Fault] = {}
        self.requests: list[str] = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/zoo"

    def hang(self, content: bytes) -> Iterator[bytes]:
        """Sends half of a file, and no more until the server ends."""
        yield content[: len(content) // 2]
        self.released.wait(60)

    def cut(self, content: bytes) -> Iterator[bytes]:
        """Sends half of a file, and ends the connection."""
        yield content[: len(content) // 2]


class _Handler(SimpleHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        fault = next((fault for end, fault in self.server.faults.items() if self.path.endswith(end)), None)
        if fault is None:
            super().do_GET()
            return
        content = Path(self.translate_path(self.path)).read_bytes()
        answer = fault(content)
        if isinstance(answer, int):
            self.send_error(answer)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        for part in answer:
            self.wfile.write(part)
            self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    """Starts a web server; bundles belong into ``folder/zoo``."""
    with WebServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Starts moto's S3 server with a bucket, ``bundles``. Yields the variables that lead its clients there."""
    program = shutil.which("moto_server")
    if program is None:
        if "NOTHING_SKIPPED" in os.environ:
            pytest.fail("moto_server is not installed: pip install 'moto[s3,server]', in an environment of its own")
        pytest.skip("moto_server is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    endpoint = f"http://127.0.0.1:{port}"
    try:
        create = urllib.request.Request(f"{endpoint}/bundles", method="PUT")
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(create, timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                assert time.monotonic() < end, "moto_server does not start"
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
    finally:
        process.terminate()
        process.wait(10)
