"""The service with a URL of bundles: ready when all is there, followed, and never with half of a bundle."""

import json
import os
import signal
import subprocess
import sys

import httpx
import pytest

from tests.serving.in_process import ROOT

READY = {"max_batch": 2, "encode_threads": 1, "intra_op_threads": 1}


def loaded(answer):
    return [f"{model['model']}/{model['version']}" for model in answer.json()["models"]]


def is_ready(answer):
    return answer.status_code == 200


def to(web):
    return f"file://{web.folder}/zoo"


def test_bundles_of_a_bucket_are_served_and_followed(serve, s3_environment, s3, publish, tmp_path, monkeypatch):
    publish(s3)
    settings = READY | {"models": s3, "models_cache": tmp_path / "cache", "reload_seconds": 0.2}
    with serve(**settings) as server:
        answer = server.wait(is_ready)
        assert loaded(answer) == ["mlp/1"]
        one = httpx.get(f"{server.url}/images/mlp/7.png?version=1").raise_for_status()
        publish(s3, version=2, width=48)
        server.until(lambda: loaded(httpx.get(f"{server.url}/readyz")) == ["mlp/1", "mlp/2"])
        assert httpx.get(f"{server.url}/images/mlp/7.png").headers["x-figment-version"] == "2"
        assert httpx.get(f"{server.url}/images/mlp/7.png?version=1").content == one.content
    assert "Fetched mlp/2" in server.log


def test_service_is_ready_only_when_all_is_there(serve, web, publish, tmp_path):
    publish(to(web))
    publish(to(web), "other")
    web.faults["/other/1/generator.onnx"] = web.hang
    settings = READY | {"models": web.url, "models_cache": tmp_path / "cache", "reload_seconds": 0.2}
    with serve(**settings) as server:
        server.until(lambda: "/zoo/other/1/generator.onnx" in web.requests, 40)
        answer = httpx.get(f"{server.url}/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "loading")
        assert httpx.get(f"{server.url}/images/mlp/7.png").status_code == 503
        web.faults.clear()
        web.released.set()  # the connection ends in the middle of the file, and the next poll tries again
        assert loaded(server.wait(is_ready)) == ["mlp/1", "other/1"]


def test_kill_in_the_middle_of_a_download(serve, web, publish, tmp_path):
    """The next start finds no half of a bundle, and fetches it again."""
    publish(to(web))
    web.faults["generator.onnx"] = web.hang
    cache = tmp_path / "cache"
    settings = READY | {"models": web.url, "models_cache": cache}
    with serve(**settings) as server:
        server.until(lambda: any(cache.rglob("generator.onnx")), 40)
        os.killpg(server.process.pid, signal.SIGKILL)
        server.process.wait()
    assert [path.name for path in cache.glob("figment-*/*")] == [".draft"] or any(cache.rglob(".draft"))
    web.faults.clear()
    with serve(**settings) as server:
        assert loaded(server.wait(is_ready)) == ["mlp/1"]
    assert not any(cache.rglob(".draft"))


def test_broken_replacement_and_outage_leave_what_is_loaded(serve, web, publish, tmp_path):
    publish(to(web))
    settings = READY | {"models": web.url, "models_cache": tmp_path / "cache", "reload_seconds": 0.1}
    with serve(**settings) as server:
        server.wait(is_ready)
        image = httpx.get(f"{server.url}/images/mlp/7.png").content

        # A second version whose graph is damaged on its way, in place of the first.
        publish(to(web), version=2, width=48)
        (web.folder / "zoo" / "mlp" / "2" / "generator.onnx").write_bytes(b"damaged")
        index = json.loads((web.folder / "zoo" / "index.json").read_text())
        index["bundles"].pop(0)
        (web.folder / "zoo" / "index.json").write_text(json.dumps(index))
        server.until(lambda: httpx.get(f"{server.url}/readyz").json()["retained"] != [])
        answer = httpx.get(f"{server.url}/readyz")
        assert (loaded(answer), answer.json()["retained"]) == (["mlp/1"], ["mlp/1"])
        assert "mlp/2: generator.onnx has been changed" in answer.json()["refused"][0]["reason"]
        assert httpx.get(f"{server.url}/images/mlp/7.png").content == image

        web.faults["index.json"] = lambda content: 500
        server.until(lambda: httpx.get(f"{server.url}/readyz").json()["reload"]["status"] == "failing")
        answer = httpx.get(f"{server.url}/readyz")
        assert answer.status_code == 200
        assert f"cannot read {web.url}/index.json: 500" in answer.json()["reload"]["error"]
        assert server.metric("figment_reload_failures_total") >= 1
        assert httpx.get(f"{server.url}/images/mlp/7.png").content == image
        assert "Traceback" not in server.log


def test_withdrawn_bundle_is_unloaded(serve, web, publish, tmp_path):
    publish(to(web))
    publish(to(web), "other")
    settings = READY | {"models": to(web).replace("file://", "local://"), "models_cache": tmp_path / "cache"}
    with serve(**settings, reload_seconds=0.1, deadline_seconds=1) as server:
        server.wait(is_ready)
        (web.folder / "zoo" / "other" / "1" / "card.json").unlink()
        server.until(lambda: loaded(httpx.get(f"{server.url}/readyz")) == ["mlp/1"])
        assert httpx.get(f"{server.url}/readyz").json()["ignored"][0]["folder"] == "other/1"


def test_store_that_is_down_at_the_start_is_tried_again(serve, web, publish, tmp_path):
    """Without reloading, too."""
    publish(to(web))
    web.faults["index.json"] = lambda content: 503
    settings = READY | {"models": web.url, "models_cache": tmp_path / "cache"}
    with serve(**settings) as server:
        answer = server.wait(lambda answer: answer.json()["status"] == "unusable")
        assert answer.json()["reason"].startswith(
            f"cannot load the bundles in {web.url}: cannot read {web.url}/index.j"
        )
        assert "restart" not in answer.json()["reason"]
        web.faults.clear()
        assert loaded(server.wait(is_ready)) == ["mlp/1"]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("s4://bucket/zoo", "FIGMENT_MODELS: s4://bucket/zoo: there is no scheme s4://; s3://, gs://"),
        ("s3://", "FIGMENT_MODELS: s3:// is no URL of bundles: it needs a scheme in lower case and a place"),
        ("https://me:pa55@host/zoo?token=1", "FIGMENT_MODELS: https://me:***@host/zoo?token=1 is no URL of bundles"),
    ],
)
def test_url_that_can_never_work_stops_the_start(serve, models, expected):
    with serve(models=models) as server:
        assert server.process.wait(40) == 1
        assert f"figment: {expected}" in server.log
        assert "pa55" not in server.log


def test_missing_package_names_the_line_that_installs_it(tmp_path):
    """As in the image without extras."""
    code = (
        "import sys, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name in ('s3fs', 'obstore') else find(name, *rest)\n"
        "from serving.config.settings import SettingsError, check_models, load_settings\n"
        "try: check_models(load_settings().models)\n"
        "except SettingsError as error: print(error)\n"
    )
    environment = os.environ | {"FIGMENT_MODELS": "s3://bucket/zoo"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == (
        "FIGMENT_MODELS: s3:// needs a package that is not installed: pip install -c constraints.txt obstore "
        "(in the container image: --build-arg REMOTE=1).\n"
    )


@pytest.mark.parametrize(
    ("first", "absent"),
    [
        ("serving.app", {"serving.remote.source", "fsspec", "aiohttp", "obstore", "s3fs", "huggingface_hub"}),
        ("serving.service", {"aiohttp", "obstore", "s3fs", "huggingface_hub"}),  # BentoML itself imports fsspec's core
    ],
)
def test_service_with_a_folder_imports_no_package_for_urls(zoo, first, absent):
    """Each would add to the time of every start."""
    code = (
        f"import sys, {first}, serving.runtime\n"
        "from serving.config.settings import check_models, load_settings\n"
        "from serving.loading.source import open_source\n"
        "settings = load_settings(); check_models(settings.models)\n"
        "assert open_source(settings.models, settings.models_cache).find().folders\n"
        f"print(*{absent} & sys.modules.keys())\n"
    )
    environment = os.environ | {"FIGMENT_MODELS": str(zoo)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("\n", 0), done.stderr


def test_shared_cache_fetches_once_for_all_workers(serve, web, publish, tmp_path):
    publish(to(web))
    settings = READY | {"models": web.url, "models_cache": tmp_path / "cache", "workers": 2}
    with serve(**settings) as server:
        server.until(lambda: server.log.count("Ready with") == 2, 60)
    assert web.requests.count("/zoo/mlp/1/generator.onnx") == 1
