"""Starts nginx and HAProxy with the configurations of ``deploy/proxy``, on ports of this machine."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.servers import ROOT

_CONFIGURATIONS = ROOT / "deploy" / "proxy"
_START_SECONDS = 10


@dataclass(frozen=True)
class Way:
    """A way from the clients to the instances: a proxy, with or without retries."""

    name: str
    proxy: str
    retries: bool
    may_fail: frozenset[str] = frozenset()
    """How requests may fail on this way."""

    @property
    def title(self) -> str:
        """Returns the way in words."""
        name = {"nginx": "nginx", "haproxy": "HAProxy"}[self.proxy]
        return f"{name}, as in deploy/proxy" if self.retries else f"{name}, without retries"


WAYS = (
    Way("haproxy", "haproxy", retries=True),
    Way("haproxy-without-retries", "haproxy", retries=False),
    Way("nginx", "nginx", retries=True),
    # nginx asks no instance for its health: without a second try, its client gets the 503 of an instance that drains,
    # and a 502 while it starts.
    Way("nginx-without-retries", "nginx", retries=False, may_fail=frozenset({"status 502", "status 503"})),
)


@contextmanager
def nginx(work: Path, instances: Sequence[int], doors: Mapping[Way, int]) -> Iterator[None]:
    """Runs nginx with one server for each way; ``doors`` are their ports."""
    work.mkdir()
    includes = []
    for way, port in doors.items():
        text = _replace(
            (_CONFIGURATIONS / "nginx.conf").read_text(),
            {
                "listen 8080;": f"listen 127.0.0.1:{port};",
                "upstream figment {": f"upstream {way.name} {{",
                "zone figment ": f"zone {way.name} ",
                "http://figment;": f"http://{way.name};",
                **_ports(instances),
                **({} if way.retries else {"error timeout http_503 non_idempotent;": "off;"}),
            },
        )
        file = work / f"{way.name}.conf"
        file.write_text(text)
        includes.append(f"include {file};")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = [f"{kind}_temp_path {work / kind};" for kind in kinds]
    main = work / "main.conf"
    main.write_text(
        f"daemon off; worker_processes 2; pid {work / 'pid'};\n"
        f"events {{}}\nhttp {{ access_log off; {' '.join(folders)} {' '.join(includes)} }}\n"
    )
    command = [program("nginx"), "-p", str(work), "-e", "stderr", "-c", str(main)]
    with _running(command, work / "log", [*doors.values()]):
        yield


@contextmanager
def haproxy(work: Path, instances: Sequence[int], door: int, *, retries: bool) -> Iterator[None]:
    """Runs HAProxy; ``door`` is its port."""
    work.mkdir()
    text = _replace(
        (_CONFIGURATIONS / "haproxy.cfg").read_text(),
        {
            "bind :8080": f"bind 127.0.0.1:{door}",
            **_ports(instances),
            **({} if retries else {"retries 2\n": "retries 0\n", "option redispatch 1 ": "no option redispatch "}),
        },
    )
    file = work / "haproxy.cfg"
    file.write_text(text)
    with _running([program("haproxy"), "-db", "-f", str(file)], work / "log", [door]):
        yield


def program(name: str) -> str:
    """Returns the path of a proxy. Raises ``SystemExit`` if it is not installed."""
    found = find_program(name)
    if found is None:
        raise SystemExit(f"The restarts need {name} (apt-get install nginx haproxy).")
    return found


def find_program(name: str) -> str | None:
    """Returns the path of a proxy, or None. Debian installs them where only root's PATH leads."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def _ports(instances: Sequence[int]) -> dict[str, str]:
    return {f"127.0.0.1:{3001 + index}": f"127.0.0.1:{port}" for index, port in enumerate(instances)}


def _replace(text: str, replacements: Mapping[str, str]) -> str:
    """Replaces texts that occur exactly once: a configuration that has changed must not be tested by halves."""
    for old, new in replacements.items():
        if text.count(old) != 1:
            raise RuntimeError(f"{old!r} is {text.count(old)} times in the configuration, not once")
        text = text.replace(old, new)
    return text


@contextmanager
def _running(command: list[str], log: Path, ports: Sequence[int]) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        until = time.monotonic() + _START_SECONDS
        while not all(map(_accepts, ports)):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{' '.join(command)} did not start:\n{log.read_text()}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
