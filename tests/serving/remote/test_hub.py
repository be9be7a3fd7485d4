"""Bundles of a repository on the Hugging Face Hub, of which a small part runs on this machine."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

from tests.serving.in_process import ROOT

FIND = """
import sys
from pathlib import Path
from models.store import StoreUrl
from serving.remote.source import RemoteBundles
try:
    found = RemoteBundles(StoreUrl.parse(sys.argv[1]), Path(sys.argv[2]), 10.0).find()
    print(*found.folders, found.unreadable, found.ignored)
except OSError as error:
    print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """The routes of the Hub that its client needs for reading one repository, ``me/generators``."""

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        self.do_GET()

    def do_GET(self):
        self.server.requests.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        root, api = self.server.folder, "/api/models/me/generators"
        if self.server.status:
            self.answer({}, self.server.status)
        elif path in (api, f"{api}/revision/main"):
            self.answer({"id": "me/generators", "sha": "0" * 40, "private": False})
        elif path.startswith(f"{api}/tree/main"):
            folder = root / path.removeprefix(f"{api}/tree/main").strip("/")
            self.answer([self.entry(entry) for entry in sorted(folder.iterdir())] if folder.is_dir() else {}, 200)
        elif path == f"{api}/paths-info/main":
            asked = json.loads(body)["paths"]
            self.answer([self.entry(root / name) for name in asked if (root / name).exists()])
        elif path.startswith("/me/generators/resolve/main/"):
            self.send((root / path.removeprefix("/me/generators/resolve/main/")).read_bytes())
        else:
            self.answer({}, 404)

    def entry(self, path):
        content = path.read_bytes() if path.is_file() else b""
        kind = "file" if path.is_file() else "directory"
        oid = hashlib.sha1(content).hexdigest()
        return {"type": kind, "path": str(path.relative_to(self.server.folder)), "size": len(content), "oid": oid}

    def answer(self, content, status=200):
        self.send(json.dumps(content).encode(), status)

    def send(self, content, status=200):
        total, begin = len(content), 0
        if (asked := self.headers.get("Range")) and status == 200:
            begin, end = (int(part) if part else None for part in asked.removeprefix("bytes=").split("-"))
            content, status = content[begin : None if end is None else end + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0"')
        self.send_header("X-Repo-Commit", "0" * 40)
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(content) - 1}/{total}")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.folder, server.requests, server.status = tmp_path / "hub", [], None
        server.folder.mkdir()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def find(hub, tmp_path):
    """Fetches from a URL in a process of its own: the Hub's client reads its address once."""

    def find(url):
        environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", FIND, url, str(tmp_path / "cache")]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return find


def test_bundles_of_a_repository(hub, find, generators):
    made = generators.ship(hub.folder, "mlp", 1, generators.mlp())
    (hub.folder / "README.md").write_text("# mlp")
    folder, *rest = find("hf://me/generators").split(" ", 1)
    assert rest == ["{} {}"]
    for name in ("card.json", "generator.onnx"):
        assert (made / name).read_bytes() == (hub.folder / "mlp" / "1" / name).read_bytes()
        assert open(f"{folder}/{name}", "rb").read() == (made / name).read_bytes()  # noqa: PTH123, SIM115


def test_private_repository_without_a_token(hub, find):
    """The Hub does not tell a private repository from none."""
    hub.status = 401
    assert (
        find("hf://me/generators") == "no rights to read hf://me/generators: check the credentials in the environment"
    )


def test_client_of_the_hub_sends_no_statistics(hub, find):
    find("hf://me/generators")
    assert not [path for path in hub.requests if "/me/generators" not in path]
