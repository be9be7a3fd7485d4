"""Starts the service once, and keeps the bytecode of every module that it imports.

    python deploy/bytecode.py

The image's build runs it. Without bytecode, both processes compile 1,200 modules at each start. A start that
fails ends the build. Bytecode that holds is independent of file times, which some builders rewrite.
"""

import importlib.util
import os
import py_compile
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

_ADDRESS = "http://127.0.0.1:3000"
_START_SECONDS = 120

# What a first client and a first probe ask for. Encoders import Pillow's plugins when they first need them.
_PATHS = ("/readyz", "/metrics", "/models", "/images/digits/7.png", "/images/digits/7.jpg", "/images/digits/7.webp")


def start_once() -> None:
    """Starts the service, asks for each path, and stops it. Exits with the service's log if anything fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"FIGMENT_LINGER_SECONDS": "0", "BENTOML_CONTAINERIZED": "true"}
    command = [sys.executable, "-m", "bentoml", "serve", ".", "--host", "127.0.0.1", "--port", "3000"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            for path in _PATHS:
                _ask(path, run)
        finally:
            run.send_signal(signal.SIGTERM)
            log, _ = run.communicate(timeout=60)
            print(log)
    if run.returncode:
        sys.exit(f"the service ended with code {run.returncode}")


def _ask(path: str, run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(_ADDRESS + path, timeout=10).close()
            return
        except OSError as error:
            # Before the worker listens, connections are refused or wait.
            loading = not isinstance(error, urllib.error.HTTPError) or error.code == 503
            if run.poll() is not None or time.monotonic() > end or not loading:
                sys.exit(f"{path}: {error}")
        time.sleep(0.2)


def pin(root: Path) -> int:
    """Makes all bytecode below a folder hold whatever its sources' times are. Returns the number of modules."""
    compiled = [*root.rglob("__pycache__/*.pyc")]
    for file in compiled:
        source = importlib.util.source_from_cache(str(file))
        py_compile.compile(
            source, str(file), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )
    return len(compiled)


if __name__ == "__main__":
    start_once()
    roots = {Path(sys.prefix), Path(os.__file__).parent, Path.cwd()}
    print(f"{sum(map(pin, roots))} modules have their bytecode")
