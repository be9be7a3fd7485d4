"""A bundle is published so that readers see all of it or nothing, and never in place of another generator."""

import hashlib
import json
from pathlib import Path

import pytest

from models.bundle import read_bundle
from models.published import list_bundles
from models.store import Store, StoreError, StoreUrl, open_store
from tests.stores import s3_server, web_server
from training.errors import TrainingError
from training.publishing.push import push


@pytest.fixture
def target(tmp_path):
    """An empty folder, as (folder, URL)."""
    return tmp_path / "zoo", f"file://{tmp_path}/zoo"


def index(folder):
    bundles = json.loads((folder / "index.json").read_text())["bundles"]
    return {f"{entry['name']}/{entry['version']}": entry["card_sha256"] for entry in bundles}


def test_published_bundle_is_the_bundle(bundle, target):
    folder, url = target
    assert push(bundle, url) == f"{url}/mlp/1"
    assert read_bundle(folder / "mlp" / "1") == read_bundle(bundle)
    for name in ("card.json", "generator.onnx", "samples.png"):
        assert (folder / "mlp" / "1" / name).read_bytes() == (bundle / name).read_bytes()
    assert index(folder) == {"mlp/1": hashlib.sha256((bundle / "card.json").read_bytes()).hexdigest()}


def test_card_is_written_after_its_files_and_the_index_last(bundle, target, monkeypatch):
    written = []
    write = Store.write
    monkeypatch.setattr(
        Store, "write", lambda store, path, content: (written.append(path), write(store, path, content))
    )
    push(bundle, target[1])
    assert written == ["mlp/1/generator.onnx", "mlp/1/samples.png", "mlp/1/card.json", "index.json"]


@pytest.mark.parametrize("failing", ["mlp/1/generator.onnx", "mlp/1/samples.png", "mlp/1/card.json", "index.json"])
def test_interrupted_push_shows_nothing_and_can_be_repeated(bundle, target, monkeypatch, failing, tmp_path):
    folder, url = target
    write = Store.write

    def interrupted(store, path, content):
        if path == failing:
            raise StoreError("cannot write: the connection is lost")
        write(store, path, content)

    folder.mkdir()
    with web_server(tmp_path) as web:
        push(bundle, url, 7)
        with monkeypatch.context() as patched:
            patched.setattr(Store, "write", interrupted)
            with pytest.raises(TrainingError, match=r"^not published: cannot write: the connection is lost$"):
                push(bundle, url)
        store = open_store(StoreUrl.parse(web.url))
        assert [str(found) for found in list_bundles(store).bundles] == ["mlp/7"]
        push(bundle, url)
        assert [str(found) for found in list_bundles(store).bundles] == ["mlp/1", "mlp/7"]


def test_taken_version_names_a_free_one(bundle, target, make_bundle):
    folder, url = target
    push(bundle, url)
    other = make_bundle("other", producer="another test")
    with pytest.raises(
        TrainingError, match="has another generator as mlp/1, and caches keep its images; --version 2 is"
    ):
        push(other, url)
    assert read_bundle(folder / "mlp" / "1") == read_bundle(bundle)
    assert push(other, url, 2) == f"{url}/mlp/2"
    assert read_bundle(folder / "mlp" / "2").onnx == read_bundle(other).onnx
    assert read_bundle(folder / "mlp" / "2").card.version == 2
    assert index(folder).keys() == {"mlp/1", "mlp/2"}


def test_new_scores_of_the_same_generator_replace_its_card(bundle, target):
    folder, url = target
    push(bundle, url)
    card = json.loads((bundle / "card.json").read_text()) | {"licence": "another"}
    (bundle / "card.json").write_text(json.dumps(card))
    push(bundle, url)
    assert read_bundle(folder / "mlp" / "1").card.licence == "another"


def test_broken_bundle_is_not_published(bundle, target):
    (bundle / "generator.onnx").write_bytes(b"changed")
    with pytest.raises(TrainingError, match=r"^not published: mlp/1: generator.onnx has been changed"):
        push(bundle, target[1])
    assert not target[0].exists()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "https://example.com/zoo",
            "is a web server, which takes no files; push to the bucket or the folder behind it",
        ),
        ("models/zoo", "models/zoo is no URL of bundles: it needs a scheme"),
        ("s4://bucket", "there is no scheme s4://"),
        ("hf://user", "hf://user names no repository; it needs hf://user/repository"),
        ("hf://datasets/user/repo", "bundles belong into a repository for models"),
    ],
)
def test_url_that_takes_no_bundle(bundle, url, expected):
    with pytest.raises(TrainingError, match=r"^not published: ") as error:
        push(bundle, url)
    assert expected in str(error.value)


def test_push_to_a_bucket(bundle, monkeypatch):
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert push(bundle, "s3://bundles/zoo") == "s3://bundles/zoo/mlp/1"
        store = open_store(StoreUrl.parse("s3://bundles/zoo"))
        assert [str(found) for found in list_bundles(store).bundles] == ["mlp/1"]
        with pytest.raises(TrainingError, match=r"^not published: .*s3://no-such-bucket/zoo"):
            push(bundle, "s3://no-such-bucket/zoo")


def test_a_reader_of_a_folder_never_sees_half_a_file(bundle, tmp_path, monkeypatch):
    """A web server may serve that folder. Files get their names once they are complete, and a kill's drafts go."""
    store = tmp_path / "store"
    push(bundle, f"file://{store}")
    (store / "mlp" / "1" / ".card.json-abcd1234.draft").write_bytes(b"half")
    whole, names = {path.name: path.read_bytes() for path in store.rglob("*.*") if path.is_file()}, []
    original = Path.replace

    def replace(self, target):
        names.append(Path(target).name)
        assert Path(target).read_bytes() == whole[Path(target).name], "the old file is there until the new one is"
        return original(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    push(bundle, f"file://{store}")
    assert names == ["generator.onnx", "samples.png", "card.json", "index.json"]
    assert not list(store.rglob(".*"))
