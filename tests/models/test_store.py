"""URLs of stores: their form, their packages, and what is never shown."""

import subprocess
import sys

import pytest

from models.store import Store, StoreDeniedError, StoreError, StoreNotFoundError, StoreUrl, StoreUrlError, check_package


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket",
        "s3://bucket/zoo/",
        "hf://user/repo@main",
        "https://example.com:8443/zoo",
        "abfss://box@me.dfs/zoo",
    ],
)
def test_urls(text):
    url = StoreUrl.parse(text)
    assert str(url) == text.rstrip("/")
    check_package(url)


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3:///",
        "://bucket",
        "S3://bucket",
        "s3://a bucket",
        "https://host/zoo?sig=1",
        "s3://bucket#1",
        "a::b://c",
    ],
)
def test_text_that_is_no_url_of_bundles(text):
    with pytest.raises(StoreUrlError, match="is no URL of bundles: it needs a scheme in lower case and a place"):
        StoreUrl.parse(text)


def test_scheme_that_nobody_knows():
    with pytest.raises(StoreUrlError, match="there is no scheme s4://; s3://, gs://, az://, hf://, https:// are known"):
        check_package(StoreUrl.parse("s4://bucket"))


@pytest.mark.parametrize(
    ("scheme", "package"), [("s3", "obstore"), ("gs", "obstore"), ("az", "obstore"), ("hf", "huggingface_hub")]
)
def test_missing_package_is_named_with_its_line(monkeypatch, scheme, package):
    monkeypatch.setattr("models.store.importlib.util.find_spec", lambda name: None)
    with pytest.raises(StoreUrlError) as error:
        check_package(StoreUrl.parse(f"{scheme}://bucket/zoo"))
    assert f"pip install -c constraints.txt {package} " in str(error.value)


def test_own_package_of_fsspec_is_enough(monkeypatch):
    monkeypatch.setattr("models.store.importlib.util.find_spec", lambda name: name == "s3fs" or None)
    check_package(StoreUrl.parse("s3://bucket/zoo"))


def test_password_is_never_shown():
    url = StoreUrl.parse("https://me:pa55@host/zoo")
    assert str(url) == "https://me:***@host/zoo"
    assert "pa55" not in repr(url)
    assert url.without_password("GET https://me:pa55@host/zoo failed") == "GET https://me:***@host/zoo failed"
    assert str(StoreUrl.parse("abfss://box@me.dfs/zoo")) == "abfss://box@me.dfs/zoo", "that is no password"


def test_kinds_of_errors_are_one_kind_for_callers():
    assert issubclass(StoreNotFoundError, StoreError)
    assert issubclass(StoreDeniedError, StoreError)
    assert issubclass(StoreError, OSError), "a poll that fails by one is logged without a traceback"


class CachingFileSystem:
    """Keeps a listing until it is told not to, as s3fs and the Hub's client do."""

    def __init__(self):
        self.names, self._kept = [], None

    def ls(self, path, detail):
        self._kept = self._kept or [{"name": f"{path}/{name}", "type": "directory"} for name in self.names]
        return self._kept

    def invalidate_cache(self):
        self._kept = None


def test_each_listing_is_a_new_one():
    filesystem = CachingFileSystem()
    store = Store(StoreUrl.parse("s3://bucket/zoo"), filesystem, "bucket/zoo")
    filesystem.names = ["a"]
    assert store.list() == {"a": True}
    filesystem.names = ["a", "b"]
    assert store.list() == {"a": True, "b": True}


LEAVE_WITH_A_THREAD = """
import _thread, time
from models.store import StoreUrl, open_store

def hand_over(seconds):
    time.sleep(seconds)
    print("handed over", flush=True)

open_store(StoreUrl.parse("s3://bucket/zoo"))
_thread.start_new_thread(hand_over, ({seconds},))  # as a thread of a library: threading does not know it
time.sleep(0.1)
"""


@pytest.mark.parametrize(("seconds", "printed"), [(0.4, "handed over\n"), (60, "")])
def test_the_end_waits_for_threads_of_libraries_but_not_for_ever(seconds, printed):
    """Else a process that has used a bucket aborts now and then, with all its work done."""
    pytest.importorskip("obstore")
    script = LEAVE_WITH_A_THREAD.format(seconds=seconds)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
