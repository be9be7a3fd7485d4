"""The commands of docs/publish.md do what the guide says."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from models.published import list_bundles
from models.store import StoreUrl, check_package, open_store
from tests.stores import s3_server, web_server

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "publish.md").read_text()
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
PUSHES = [line for line in LINES if line.startswith("python -m training push ")]


def bundles(url):
    return [str(bundle) for bundle in list_bundles(open_store(StoreUrl.parse(url))).bundles]


def run(line, environment):
    command = [sys.executable, *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guide_has_its_commands():
    assert [shlex.split(line)[-1].partition("://")[0] for line in PUSHES] == ["s3", "file", "hf"]


def test_push_to_a_bucket(monkeypatch):
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        printed = run(PUSHES[0].replace("my-bucket", "bundles"), environment)
        assert printed == "s3://bundles/zoo/digits/3\nServe it: FIGMENT_MODELS=s3://bundles/zoo make serve\n"
        assert bundles("s3://bundles/zoo") == ["digits/3"]


def test_push_to_the_folder_of_a_web_server(tmp_path):
    run(PUSHES[1].replace("/srv/www", str(tmp_path)), {})
    with web_server(tmp_path) as web:
        assert bundles(web.url) == ["digits/3"]


@pytest.mark.parametrize("text", re.findall(r"FIGMENT_MODELS=(\S+://\S+)", "\n".join(LINES)))
def test_urls_of_the_guide_can_be_opened(text):
    check_package(StoreUrl.parse(text))
