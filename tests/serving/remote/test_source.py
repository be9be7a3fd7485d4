"""Bundles of a store: whole, verified and followed, or not there. Nothing that a store holds does harm."""

import errno
import json
import os
import resource
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from models.bundle import read_bundle
from models.store import StoreError, StoreUrl, open_store
from serving.remote.cache import BundleCache, CacheError


def names(found):
    return [f"{folder.parent.name}/{folder.name}" for folder in found.folders]


def files(folder):
    return [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def file_url(web):
    return f"file://{web.folder}/zoo"


@pytest.fixture(params=["web", "s3", "file"])
def places(request):
    """(where to publish, where to read) of each kind of store."""
    if request.param == "s3":
        url = request.getfixturevalue("s3")
        return url, url
    web = request.getfixturevalue("web")
    return (file_url(web), web.url) if request.param == "web" else (file_url(web), file_url(web))


def test_published_bundles_are_fetched_whole(places, publish, follow):
    to, of = places
    made = publish(to), publish(to, "other", 12)
    found = follow(of).find()
    assert names(found) == ["mlp/1", "other/12"]
    assert [read_bundle(folder) for folder in found.folders] == [read_bundle(folder) for folder in made]
    assert (found.unreadable, found.ignored, found.settled) == ({}, {}, True)


def test_new_version_is_found_and_nothing_is_fetched_twice(places, publish, follow):
    to, of = places
    publish(to)
    source = follow(of)
    first = source.find()
    assert source.find().folders == first.folders
    publish(to, version=2, width=48)
    assert names(source.find()) == ["mlp/1", "mlp/2"]
    assert follow(of).find().folders == source.find().folders, "another process has the same cache"


def test_cache_spares_the_download(web, publish, follow):
    publish(file_url(web))
    follow(web.url).find()
    web.requests.clear()
    follow(web.url).find()
    assert web.requests == ["/zoo/index.json"]


def test_damaged_cache_is_fetched_again(web, publish, follow):
    publish(file_url(web))
    (folder,) = follow(web.url).find().folders
    whole = (folder / "generator.onnx").read_bytes()
    for name, content in (("generator.onnx", b"damaged"), ("card.json", b"{}")):
        (folder / name).write_bytes(content)
        assert follow(web.url).find().folders == [folder]
        assert (folder / "generator.onnx").read_bytes() == whole


@pytest.mark.parametrize("missing", ["card.json", "generator.onnx"])
def test_half_uploaded_bundle_is_not_there(s3, publish, follow, missing):
    """``push`` writes the card last; other programs may write it first."""
    publish(s3)
    whole = read_bundle(publish(s3, version=2, width=48))
    store = open_store(StoreUrl.parse(s3))
    content = store.read(f"mlp/2/{missing}", 2**24)
    store.filesystem.rm_file(f"{store.root}/mlp/2/{missing}")
    source = follow(s3)
    found = source.find()
    assert names(found) == ["mlp/1"]
    assert found.ignored == {"mlp/2": f"is not complete: {s3}/mlp/2/{missing} does not exist"}
    store.write(f"mlp/2/{missing}", content)
    assert read_bundle(source.find().folders[1]) == whole, "at the next poll"


def test_bundle_that_is_replaced_stays_as_it_was(s3, publish, follow):
    """The new graph is there, and not yet its card."""
    folder = publish(s3)
    source = follow(s3)
    before = source.find().folders
    store = open_store(StoreUrl.parse(s3))
    store.write("mlp/1/generator.onnx", b"the next one")
    assert source.find().folders == before
    (fresh,) = follow(s3).find().folders
    assert read_bundle(fresh) == read_bundle(folder), "a restart has the cache"


def test_wrong_hash_is_rejected_and_not_fetched_at_each_poll(web, publish, follow, monkeypatch):
    publish(file_url(web))
    publish(file_url(web), "good")
    (web.folder / "zoo" / "mlp" / "1" / "generator.onnx").write_bytes(b"changed")
    source = follow(web.url)
    for _ in range(3):
        found = source.find()
        assert names(found) == ["good/1"]
        assert found.unreadable.keys() == {"mlp/1"}
        assert "mlp/1: generator.onnx has been changed: its SHA-256 is" in found.unreadable["mlp/1"]
    assert web.requests.count("/zoo/mlp/1/generator.onnx") == 1
    publish(file_url(web))
    now = time.monotonic()
    monkeypatch.setattr("serving.remote.source.time.monotonic", lambda: now + 61)
    assert names(source.find()) == ["good/1", "mlp/1"]


def test_bundle_that_changes_while_it_is_read_is_read_again(web, s3, publish, follow):
    """Both files are replaced between the request for the card and the one for the graph."""
    old = publish(file_url(web))
    new = shutil.copytree(old, old.parents[2] / "new" / "mlp" / "1")
    card = json.loads((new / "card.json").read_text()) | {"licence": "another"}
    (new / "card.json").write_text(json.dumps(card))
    store = open_store(StoreUrl.parse(s3))
    for name in ("card.json", "generator.onnx"):
        store.write(f"mlp/1/{name}", (old / name).read_bytes())
    store.write("mlp/1/generator.onnx", b"written before its card")
    source = follow(s3)
    read = type(store).read

    def read_then_replace(store, path, limit):
        content = read(store, path, limit)
        if path.endswith("card.json") and b"another" not in content and not replaced:
            replaced.append(path)
        elif replaced and len(replaced) == 1:
            replaced.append(path)
            for name in ("generator.onnx", "card.json"):
                store.write(f"mlp/1/{name}", (new / name).read_bytes())
            return read(store, path, limit)
        return content

    replaced = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("models.store.Store.read", read_then_replace)
        (folder,) = source.find().folders
    assert read_bundle(folder) == read_bundle(new)


def test_index_and_card_that_differ_are_a_bundle_in_transit(web, publish, follow):
    publish(file_url(web))
    card = web.folder / "zoo" / "mlp" / "1" / "card.json"
    card.write_text(card.read_text() + "\n")
    found = follow(web.url).find()
    assert found.folders == []
    assert "is not the one that the index names" in found.unreadable["mlp/1"]


@pytest.mark.parametrize("file", ["index.json", "card.json", "generator.onnx"])
@pytest.mark.parametrize("fault", ["hang", "cut", "500"])
def test_failing_server_is_one_sentence_and_leaves_nothing(web, publish, follow, tmp_path, file, fault):
    publish(file_url(web))
    web.faults[file] = (lambda content: 500) if fault == "500" else getattr(web, fault)
    source = follow(web.url, 0.3)
    began = time.monotonic()
    with pytest.raises(StoreError) as error:
        source.find()
    assert time.monotonic() - began < 5
    assert str(error.value).startswith(f"cannot read {web.url}/")
    assert "\n" not in str(error.value)
    if fault == "hang":
        assert "no answer within 0.3 seconds" in str(error.value)
    assert files(tmp_path / "cache") == []
    web.faults.clear()
    assert names(source.find()) == ["mlp/1"]


def test_store_without_rights_says_so(web, publish, follow):
    publish(file_url(web))
    publish(file_url(web), "secret")
    web.faults["/secret/1/generator.onnx"] = lambda content: 403
    found = follow(web.url).find()
    assert names(found) == ["mlp/1"]
    assert found.unreadable == {
        "secret/1": f"no rights to read {web.url}/secret/1/generator.onnx: check the credentials in the environment"
    }
    web.faults["index.json"] = lambda content: 401
    with pytest.raises(StoreError, match=r"no rights to read .*/index.json"):
        follow(web.url).find()


def test_web_server_that_is_gone(follow):
    with pytest.raises(StoreError, match=r"^cannot read http://127.0.0.1:1/zoo/index.json: .*[Cc]onnect"):
        follow("http://127.0.0.1:1/zoo").find()


def test_bucket_that_never_answers(follow, s3, monkeypatch):
    """Its client would wait for half a minute, and try again ten times."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(StoreError, match=rf"^cannot read {s3}: no answer within 0\.5 seconds$"):
            follow(s3, 0.5).find()
        assert time.monotonic() - began < 5


def test_one_process_at_a_time_fetches(web, publish, follow, tmp_path):
    publish(file_url(web))
    with ThreadPoolExecutor(1) as pool:
        with BundleCache(tmp_path / "cache").locked():
            fetching = pool.submit(follow(web.url).find)
            while "/zoo/index.json" not in web.requests:
                time.sleep(0.01)
            with pytest.raises(TimeoutError):
                fetching.result(0.5)
            assert web.requests == ["/zoo/index.json"]
        assert names(fetching.result(10)) == ["mlp/1"]


def test_full_disk_ends_the_fetch_and_leaves_nothing(web, publish, follow, tmp_path):
    publish(file_url(web))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(
            CacheError, match=r"cannot write to the cache .*: File too large; FIGMENT_MODELS_CACHE names"
        ):
            follow(web.url).find()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert files(tmp_path / "cache") == []
    assert names(follow(web.url).find()) == ["mlp/1"]


def test_disk_without_space(web, publish, follow, monkeypatch):
    publish(file_url(web))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("serving.remote.cache.os.fsync", full)
        with pytest.raises(CacheError, match="No space left on device") as error:
            follow(web.url).find()
    assert error.value.errno == errno.ENOSPC


def test_other_objects_of_a_bucket_do_not_matter(s3, publish, follow):
    """Files beside the bundles, more than one page of a listing (1000); files in a folder, and folders like models."""
    publish(s3)
    store = open_store(StoreUrl.parse(s3))
    paths = [f"{number}.png" for number in range(1001)] + [f"photos/{number}" for number in range(20)]
    paths += [f"run-{number}/config.yaml" for number in range(25)]
    paths += [f"Bilder {number}/1/card.json" for number in range(25)]
    store.filesystem.pipe({f"{store.root}/{path}": b"" for path in paths}, batch_size=64)
    found = follow(s3).find()
    assert names(found) == ["mlp/1"]
    assert found.unreadable == {}
    assert len(found.ignored) == 21
    assert found.ignored["Bilder 0"] == "is not the name of a model"
    assert found.ignored["…"] == "and 5 more"


def test_ten_thousand_other_files_do_not_matter(web, publish, follow):
    publish(file_url(web))
    for number in range(10_000):
        (web.folder / "zoo" / f"{number}.png").touch()
    assert names(follow(file_url(web)).find()) == ["mlp/1"]


def test_too_many_folders_name_a_way_out(follow, tmp_path):
    for number in range(1001):
        (tmp_path / "big" / f"folder-{number}").mkdir(parents=True)
    with pytest.raises(StoreError, match="holds 1001 folders; give the URL of a folder that holds bundles only"):
        follow(f"file://{tmp_path}/big").find()


def test_names_that_are_no_bundle_names(s3, publish, follow):
    publish(s3)
    card = open_store(StoreUrl.parse(s3)).read("mlp/1/card.json", 2**20)
    store = open_store(StoreUrl.parse(s3))
    for place in (
        "mlp/latest",
        "mlp/007",
        "mlp/0",
        "mlp/-1",
        "mlp/9999999999",
        "MLP/1",
        "flat",
        ".hidden/1",
        "other/1",
    ):
        store.write(f"{place}/card.json", card)
        store.write(f"{place}/generator.onnx", b"x")
    found = follow(s3).find()
    assert names(found) == ["mlp/1"]
    assert found.unreadable == {"other/1": "other/1: its card says mlp/1; the folder must be named like that"}
    versions = ("-1", "0", "007", "9999999999", "latest")
    assert found.ignored == {
        "MLP": "is not the name of a model",
        "flat": "holds card.json itself; a bundle lies in NAME/VERSION",
    } | {f"mlp/{name}": "is not named like a version; versions are 1, 2, …" for name in versions}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"name": "../../etc"}, "bundles.0.name String should match pattern"),
        ({"name": "/etc"}, "bundles.0.name String should match pattern"),
        ({"name": "a/b"}, "bundles.0.name String should match pattern"),
        ({"version": "../1"}, "bundles.0.version Input should be a valid integer"),
        ({"version": 0}, "bundles.0.version Input should be greater than or equal to 1"),
        ({"card_sha256": "../../../tmp"}, "bundles.0.card_sha256 String should match pattern"),
        ({"url": "http://elsewhere"}, "bundles.0.url Extra inputs are not permitted"),
    ],
)
def test_index_with_paths_is_rejected(web, publish, follow, entry, expected, tmp_path):
    publish(file_url(web))
    index = json.loads((web.folder / "zoo" / "index.json").read_text())
    index["bundles"][0] |= entry
    (web.folder / "zoo" / "index.json").write_text(json.dumps(index))
    with pytest.raises(StoreError) as error:
        follow(web.url).find()
    assert str(error.value).startswith(f"{web.url}/index.json is no index of bundles: {expected}")
    assert not (tmp_path / "cache").exists()


def test_index_that_is_a_web_page(web, follow):
    (web.folder / "zoo" / "index.json").write_text("<html>")
    with pytest.raises(StoreError, match=r"index.json is no index of bundles: Invalid JSON"):
        follow(web.url).find()


def test_web_server_without_an_index_says_how_to_get_one(web, follow):
    with pytest.raises(StoreError, match=r"index.json does not exist; .* `python -m training push`"):
        follow(web.url).find()


def test_card_without_end_is_not_read(web, publish, follow):
    publish(file_url(web))
    (web.folder / "zoo" / "mlp" / "1" / "card.json").write_bytes(b" " * 2**23)
    with pytest.raises(StoreError, match=r"card.json is larger than 1048576 bytes"):
        follow(web.url).find()


@pytest.mark.parametrize("scheme", ["s3", "file"])
def test_empty_store_holds_no_bundle(scheme, request, follow, tmp_path):
    url = request.getfixturevalue("s3") if scheme == "s3" else f"file://{tmp_path}/nothing"
    assert follow(url).find().folders == []


def test_cache_keeps_what_is_used(web, publish, follow):
    publish(file_url(web))
    publish(file_url(web), version=2, width=48)
    source = follow(web.url)
    old, new = source.find().folders
    for folder in (old, new):
        os.utime(folder.parents[1], (0, 0))
    index = json.loads((web.folder / "zoo" / "index.json").read_text())
    index["bundles"].pop(0)
    (web.folder / "zoo" / "index.json").write_text(json.dumps(index))
    assert source.find().folders == [new]
    assert not old.exists()
    assert (new / "generator.onnx").exists()


def test_cache_that_others_can_write_is_not_used(web, publish, follow, tmp_path):
    """In /tmp anybody may create a folder of that name first."""
    publish(file_url(web))
    cache = tmp_path / "cache" / f"figment-{os.getuid()}"
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    with pytest.raises(CacheError, match="belongs to somebody else or can be written by others"):
        follow(web.url).find()


def test_password_of_a_url_stays_secret(follow, web, publish):
    publish(file_url(web))
    url = web.url.replace("http://", "http://me:pa55word@")
    source = follow(url)
    assert str(source) == web.url.replace("http://", "http://me:***@")
    assert names(source.find()) == ["mlp/1"]
    web.faults["index.json"] = lambda content: 500
    with pytest.raises(StoreError) as error:
        source.find()
    assert "pa55word" not in str(error.value)
    assert "pa55word" not in repr(StoreUrl.parse(url))
