"""A PostgreSQL server that can be stopped and started again."""

import getpass
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 30


def programs() -> Path | None:
    """Returns the folder of PostgreSQL's programs, or None if it is not installed."""
    config = shutil.which("pg_config")
    if config is None:
        return None
    folder = Path(subprocess.run([config, "--bindir"], capture_output=True, text=True).stdout.strip())
    return folder if (folder / "initdb").is_file() else None


class Server:
    """A server on this machine with a database of its own, for which no durability is asked."""

    def __init__(self, programs: Path, home: Path) -> None:
        """Makes the database in an empty folder, and starts the server."""
        self._programs, self._home = programs, home
        self._as_user: list[str] = []
        if getpass.getuser() == "root":  # PostgreSQL refuses to run as root
            shutil.chown(home, "postgres")
            self._as_user = ["runuser", "-u", "postgres", "--"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._run("initdb", "--no-sync", "-A", "trust", "-U", "figment", "-D", str(home / "data")).check_returncode()
        self.url = f"postgresql://figment:secret@127.0.0.1:{self._port}/postgres"
        self.start()

    def start(self) -> None:
        """Starts the server, and waits until it answers."""
        options = f"-p {self._port} -h 127.0.0.1 -k {self._home} -F"
        subprocess.run(
            [*self._as_user, self._programs / "pg_ctl", "-D", self._home / "data", "-o", options, "start"],
            stdout=subprocess.DEVNULL,  # the server inherits it: a pipe would never end
            stderr=subprocess.DEVNULL,
            check=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self._port)).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError("PostgreSQL did not start")
            time.sleep(0.05)

    def stop(self, how: str = "fast") -> None:
        """Stops the server: ``fast`` ends all connections, ``immediate`` is a crash."""
        self._run("pg_ctl", "-D", str(self._home / "data"), "-m", how, "stop")

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self._as_user, self._programs / program, *arguments], capture_output=True)


@contextmanager
def server() -> Iterator[Server | None]:
    """Yields a running server, or None if PostgreSQL is not installed."""
    folder = programs()
    if folder is None:
        yield None
        return
    home = Path(tempfile.mkdtemp())  # not in a folder of this user's: the server may have to run as another one
    try:
        running = Server(folder, home)
        try:
            yield running
        finally:
            running.stop("immediate")
    finally:
        shutil.rmtree(home, ignore_errors=True)
