"""The commands in the README and the guides work as printed, with the models that ship."""

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]


def blocks(file, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / file).read_text(), re.DOTALL | re.MULTILINE)


PYTHON = blocks("docs/api.md", "python")
PAGES = blocks("docs/api.md", "html") + blocks("docs/serving.md", "html")
CURLS = [
    line
    for file in ("README.md", "docs/api.md", "docs/serving.md")
    for block in blocks(file, "sh")
    for line in block.replace("\\\n", "").splitlines()
    if line.startswith("curl ")
]


@pytest.fixture(scope="module")
def shipped(serve):
    """The service as ``make serve`` starts it, but on another port."""
    with serve() as server:
        server.wait(lambda answer: answer.status_code == 200)
        yield server


def here(text, server):
    return text.replace("localhost:3000", server.url.removeprefix("http://"))


def test_the_guides_have_examples():
    assert len(CURLS) >= 5
    assert len(PYTHON) >= 3
    assert len(PAGES) >= 2


@pytest.mark.parametrize("line", CURLS)
def test_curl_lines_work(shipped, tmp_path, line):
    done = subprocess.run(
        ["bash", "-c", here(line, shipped).replace("curl -s", "curl -fsS")],
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for file in tmp_path.iterdir():
        Image.open(file).load()
    assert done.stdout or list(tmp_path.iterdir())


def test_seven_is_the_same_after_a_restart(shipped, serve):
    body = {"seeds": [42], "labels": [7]}
    first = httpx.post(f"{shipped.url}/generate", json=body).content
    with serve() as another:
        another.wait(lambda answer: answer.status_code == 200)
        assert httpx.post(f"{another.url}/generate", json=body).content == first


@pytest.mark.parametrize("code", PYTHON)
def test_python_works(shipped, code):
    names: dict[str, object] = {}
    exec(compile(here(code, shipped), "docs/api.md", "exec"), names)
    if "png" in names:
        assert Image.open(io.BytesIO(names["png"])).size == (32, 32)
    if "images" in names:
        assert names["images"].shape == (16, 32, 32, 1)


@pytest.mark.parametrize("page", PAGES)
def test_img_addresses_work(shipped, page):
    (address,) = re.findall(r'src="([^"]+)"', here(page, shipped))
    answer = httpx.get(address)
    assert Image.open(io.BytesIO(answer.raise_for_status().content)).size == (32, 32)
    assert "immutable" in answer.headers["cache-control"]


def test_javascript_works(shipped):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if not chromium and "NOTHING_SKIPPED" not in os.environ:
        pytest.skip("chromium is not installed")
    (code,) = blocks("docs/api.md", "js")
    options = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page()
        page.goto(f"{shipped.url}/models")
        sources = page.evaluate(f"async () => {{ {here(code, shipped)}; return sources; }}")
        browser.close()
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
