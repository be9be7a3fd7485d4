"""Compares Figment with other servers: one seed in, one base64 PNG out, the same generator, noise and client.

    python -m benchmarks.serving.rivals --home ~/.cache/figment-rivals

The first run installs each rival into a virtual environment below ``--home`` (1.5 GB in all). Triton's Python backend
needs Debian's own Python 3.11, which ``--python`` names. The servers run one at a time, since two cores have room for
one. Each round runs all of them, and the table shows the medians.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.serving.generators import write_generators
from benchmarks.serving.load import Reading, closed_loop
from benchmarks.serving.servers import Server, figment, free_port, limit, running
from serving.config.cores import usable_cores

_HERE = Path(__file__).parent
_COMMON = ["numpy", "onnxruntime", "pillow", "orjson"]
_CONNECTIONS = (1, 16, 64)
_SEED = '{"seeds":[%d]}'
_TENSOR = '{"inputs":[{"name":"seed","shape":[1,1],"datatype":"INT64","data":[%d]}]}'


@dataclass(frozen=True)
class Rival:
    """A rival's packages, its command, and its request."""

    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str = "/images"
    body: str = _SEED


RIVALS = {
    "Triton": Rival(("nvidia-pytriton",), ("python", "triton_server.py"), "/v2/models/images/infer", _TENSOR),
    "LitServe": Rival(("litserve",), ("python", "litserve_server.py"), "/predict"),
    "BentoML": Rival(("bentoml",), ("bentoml", "serve", "bentoml_server:Images", "--host", "127.0.0.1")),
    "Ray Serve": Rival(("ray[serve]",), ("python", "ray_server.py")),
}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="folder of the virtual environments")
    parser.add_argument("--python", default="/usr/bin/python3.11", help="interpreter for the virtual environments")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each server")
    parser.add_argument("--seconds", type=int, default=3, help="duration of the load, for each number of connections")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for rivals.json")
    options = parser.parse_args()
    for name, rival in RIVALS.items():
        install(options.home / name, options.python, rival)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        write_generators(home / "zoo")
        for model in ("tiny", "g32"):
            readings: dict[tuple[str, int], list[Reading]] = {}
            for _ in range(options.rounds):
                for name in (*RIVALS, "Figment", "the limit"):
                    print(f"{model}: {name}", file=sys.stderr, flush=True)
                    with started(name, model, home, options.home) as (server, path, body):
                        closed_loop(server, path, body, 16, 1)
                        for connections in _CONNECTIONS:
                            reading = closed_loop(server, path, body, connections, options.seconds)
                            readings.setdefault((name, connections), []).append(reading)
            rows += [_row(model, name, connections, each) for (name, connections), each in readings.items()]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "rivals.json").write_text(json.dumps(rows, indent=2) + "\n")
    print("model  server     conn  requests/s  p50 ms  p99 ms  CPU µs")
    for row in rows:
        print(
            f"{row['model']:6} {row['server']:10} {row['connections']:4} {row['requests_per_second']:11.0f} "
            f"{row['p50_ms']:7.2f} {row['p99_ms']:7.1f} {row['cpu_us']:7.0f}"
        )


def install(folder: Path, python: str, rival: Rival) -> None:
    """Creates a rival's virtual environment unless it exists."""
    if (folder / "installed").exists():
        return
    subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *_COMMON, *rival.packages], check=True)
    (folder / "installed").touch()


@contextmanager
def started(name: str, model: str, home: Path, rivals: Path) -> Iterator[tuple[Server, str, str]]:
    """Yields a server that is ready, its path and its request's body."""
    generator = home / "zoo" / model / "1" / "generator.onnx"
    if name == "Figment":
        with figment(home / "zoo", home / "ours") as server:
            yield server, "/generate", f'{{"model":"{model}","seeds":[%d]}}'
    elif name == "the limit":
        with limit(generator, home / "limit") as server:
            yield server, "/", _SEED
    else:
        rival = RIVALS[name]
        port, binaries = free_port(), rivals / name / "bin"
        environment = os.environ | {
            "GENERATOR": str(generator),
            "THREADS": str(usable_cores()),
            "PORT": str(port),
            "PATH": f"{binaries}:{os.environ['PATH']}",
            "PYTHONPATH": f"{_HERE.parent}:{_HERE}",
            "BENTOML_HOME": str(home / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_PORT": str(port),
        }
        command = [str(binaries / rival.command[0]), *rival.command[1:]]
        with running(
            command, environment, port, home / f"{name}.log", lambda: _answers(port, rival), cwd=_HERE, seconds=120
        ) as server:
            yield server, rival.path, rival.body


def _answers(port: int, rival: Rival) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{rival.path}", (rival.body % 1).encode(), {"Content-Type": "application/json"}
    )
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except (urllib.error.HTTPError, OSError):
        return False
    return True


def _row(model: str, name: str, connections: int, readings: list[Reading]) -> dict[str, object]:
    if any(reading.failed for reading in readings):
        raise SystemExit(f"{name} failed: the numbers are invalid.")
    columns = [asdict(reading) for reading in readings]
    medians = {key: statistics.median(column[key] for column in columns) for key in columns[0]}
    return {"model": model, "server": name, "connections": connections, **medians}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped too
    main()
