"""Opens stores: the places behind URLs where bundles are published, such as buckets, web servers and the Hub.

fsspec and its packages are imported when a store is opened: a service with a folder of bundles starts without them.
"""

import atexit
import importlib.util
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from models.drafts import draft_file, remove_abandoned

T = TypeVar("T")

STALL_SECONDS = 60.0
"""Seconds without an answer, or without the next block of a file, after which a store counts as unreachable."""

BLOCK_BYTES = 2**22
"""Largest part of a file in one read. It must arrive within ``STALL_SECONDS``, so 70 kB/s are enough."""

_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://[^\s?#]*[^\s?#/]/*")

# The packages that open a scheme: the first is fsspec's own, and is used where somebody has installed it. obstore opens
# three of them and needs no other package.
_PACKAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("s3", "s3a"), ("s3fs", "obstore")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "obstore")),
    **dict.fromkeys(("az", "abfs", "abfss"), ("adlfs", "obstore")),
    "hf": ("huggingface_hub",),
}

# Errors without a common base, by the names of their classes in obstore, botocore and the Hub's client.
_DENIED = {"PermissionDeniedError", "UnauthenticatedError", "NoCredentialsError", "GatedRepoError"}

_HTTP = ("http", "https")
_FOLDERS = ("file", "local")


class StoreUrlError(ValueError):
    """A URL names no store that can be opened here. The message says why, and what to do."""


class StoreError(OSError):
    """A store cannot be reached, or fails. The message is one sentence, without a full stop."""


class StoreNotFoundError(StoreError):
    """There is nothing at a place in a store."""


class StoreDeniedError(StoreError):
    """The credentials do not allow the access."""


@dataclass(frozen=True)
class StoreUrl:
    """The URL of a store. As text, it has no password."""

    scheme: str
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "StoreUrl":
        """Returns the URL. Raises ``StoreUrlError`` if it has another form."""
        url = cls(text.partition("://")[0], text)
        match = _URL.fullmatch(text)
        if match is None:
            raise StoreUrlError(
                f"{url} is no URL of bundles: it needs a scheme in lower case and a place, like s3://bucket/zoo, "
                "and neither white space, ? nor #"
            )
        return cls(match["scheme"], text.rstrip("/"))

    def __str__(self) -> str:
        return re.sub(r"(://[^/@]*:)[^/@]*@", r"\1***@", self.secret)

    def without_password(self, text: str) -> str:
        """Returns a text of a library, in which the URL's password is replaced."""
        password = urlsplit(self.secret).password
        return text.replace(password, "***") if password else text

    @property
    def place(self) -> str:
        """What follows the scheme."""
        return self.secret.partition("://")[2]

    @property
    def is_http(self) -> bool:
        """Whether a plain web server is meant. It lists nothing and takes no files."""
        return self.scheme in _HTTP


def check_package(url: StoreUrl) -> None:
    """Raises ``StoreUrlError`` unless a package for the URL's scheme is installed. Imports no such package."""
    packages = _PACKAGES.get(url.scheme)
    if packages is None:
        from fsspec.registry import known_implementations

        if url.scheme not in known_implementations:
            schemes = ", ".join(f"{scheme}://" for scheme in ("s3", "gs", "az", "hf", "https"))
            raise StoreUrlError(f"{url}: there is no scheme {url.scheme}://; {schemes} are known, and others of fsspec")
    elif not any(map(_is_installed, packages)):
        raise StoreUrlError(
            f"{url.scheme}:// needs a package that is not installed: pip install -c constraints.txt {packages[-1]} "
            "(in the container image: --build-arg REMOTE=1)"
        )


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@dataclass(frozen=True)
class Store:
    """An open store. Paths are relative to its URL, with ``/`` between names.

    Each method raises ``StoreError`` or a subclass. Reading gives up after ``stall_seconds`` without progress.
    """

    url: StoreUrl
    filesystem: Any
    root: str
    stall_seconds: float = STALL_SECONDS

    def list(self, path: str = "") -> dict[str, bool]:
        """Returns the names in a folder, each with whether it is a folder itself."""
        place = self._place(path)

        def entries() -> Any:
            self.filesystem.invalidate_cache()  # of an earlier listing
            return self.filesystem.ls(place, detail=True)

        with self.errors("read", path):
            found = {
                entry["name"].rstrip("/").rpartition("/")[2]: entry["type"] == "directory"
                for entry in self._limited(entries)
                if entry["name"].strip("/") != place.strip("/")  # some stores list the folder itself
            }
        return dict(sorted(found.items()))

    def read(self, path: str, limit: int) -> bytes:
        """Returns the content of a small file. Raises ``StoreError`` if it is longer than ``limit`` bytes."""
        if self.url.is_http:  # nobody knows the length before
            content = bytearray()
            for block in self.blocks(path):
                content += block
                self._check_size(path, len(content), limit)
            return bytes(content)
        place = self._place(path)
        with self.errors("read", path):
            self._check_size(path, self._limited(lambda: self.filesystem.info(place))["size"] or 0, limit)
            data: bytes = self._limited(lambda: self.filesystem.cat_file(place))
            return data

    def blocks(self, path: str) -> Iterator[bytes]:
        """Yields the content of a file in blocks of ``BLOCK_BYTES`` at most."""
        options: dict[str, Any] = {"block_size": BLOCK_BYTES}
        if self.url.is_http:
            # One streamed GET. A size spares a HEAD, whose errors fsspec would all report as a missing file.
            options = {"block_size": 0, "size": 1}
        place = self._place(path)
        with self.errors("read", path):
            if not self.url.is_http:
                self._limited(lambda: self.filesystem.info(place))  # for a missing file obstore's open prints an error
            file = self._limited(lambda: self.filesystem.open(place, "rb", **options))
            try:
                while block := self._limited(lambda: file.read(BLOCK_BYTES)):
                    yield block
            finally:
                file.close()

    def write(self, path: str, content: bytes) -> None:
        """Writes a file, and the folders above it where a store has folders."""
        place = self._place(path)
        with self.errors("write", path):
            if self.url.scheme not in _PACKAGES:  # in a bucket, s3fs would create a misspelt bucket
                self.filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
            if self.url.scheme in _FOLDERS:
                folder = Path(place).parent
                remove_abandoned(folder)
                with draft_file(Path(place)) as file:
                    file.write(content)
            else:  # buckets and the Hub show a file once it is complete
                self.filesystem.pipe_file(place, content)

    def _check_size(self, path: str, size: int, limit: int) -> None:
        if size > limit:
            raise StoreError(f"{self.url}/{path} is larger than {limit} bytes, and is not what its name says")

    def _place(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def _limited(self, call: Callable[[], T]) -> T:
        """Returns what ``call`` returns, or raises ``TimeoutError``: a call that hangs is left to its daemon thread."""
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(call())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run, name="store", daemon=True)
        thread.start()
        thread.join(self.stall_seconds)
        if errors:
            raise errors[0]
        if not results:
            raise TimeoutError
        return results[0]

    @contextmanager
    def errors(self, action: str, path: str = "") -> Iterator[None]:
        """Translates each exception of a package into a ``StoreError``: what cannot be done, where, and why."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # each package has exceptions of its own
            where = f"{self.url}/{path}" if path else str(self.url)
            raise self._translated(error, action, where) from error

    def _translated(self, error: BaseException, action: str, where: str) -> StoreError:
        cause: BaseException | None = error
        while cause is not None:
            status = getattr(cause, "status", None) or getattr(getattr(cause, "response", None), "status_code", None)
            if isinstance(cause, PermissionError) or type(cause).__name__ in _DENIED or status in (401, 403):
                return StoreDeniedError(f"no rights to {action} {where}: check the credentials in the environment")
            if (isinstance(cause, FileNotFoundError) and cause.__cause__ is None) or status in (404, 410):
                return StoreNotFoundError(f"{where} does not exist")
            cause = cause.__cause__
        if isinstance(error, FileNotFoundError):
            return StoreNotFoundError(f"{where} does not exist")
        if isinstance(error, TimeoutError):  # also of the package's own limit
            return StoreError(f"cannot {action} {where}: no answer within {self.stall_seconds:g} seconds")
        lines = self.url.without_password(str(error)).strip().splitlines()
        return StoreError(f"cannot {action} {where}: {lines[0][:300].rstrip('.') if lines else type(error).__name__}")


def open_store(url: StoreUrl, stall_seconds: float = STALL_SECONDS) -> Store:
    """Opens a store. Connects to nothing yet.

    Raises ``StoreUrlError`` if a package is missing or refuses the URL.
    """
    check_package(url)
    import fsspec

    options: dict[str, Any] = {}
    if url.is_http:
        from aiohttp import ClientTimeout

        # By default a download that takes longer than five minutes would be cut off.
        timeout = ClientTimeout(total=None, sock_connect=stall_seconds, sock_read=stall_seconds)
        options["client_kwargs"] = {"timeout": timeout, "trust_env": True}  # trust_env: HTTPS_PROXY holds
    if url.scheme == "hf":
        # Else each request names this machine's libraries, and the first one asks for a list of such names.
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    own, *others = _PACKAGES.get(url.scheme, (url.scheme,))
    if others and not _is_installed(own):
        from obstore.fsspec import register

        register(url.scheme)
        atexit.unregister(_await_native_threads)  # one wait is enough for all stores
        atexit.register(_await_native_threads)
    try:
        filesystem, root = fsspec.url_to_fs(url.secret, **options)
    except (ImportError, ValueError) as error:
        raise StoreUrlError(f"{url} cannot be opened: {url.without_password(str(error))}") from error
    return Store(url, filesystem, root.rstrip("/"), stall_seconds)


def _await_native_threads(limit_seconds: float = 1.0) -> None:
    """Waits until only threads that Python started run Python code, for ``limit_seconds`` at most.

    obstore hands its results over from threads of Rust. Python before 3.14 unwinds a thread that is still doing so when
    the interpreter ends. Rust does not allow that: the process aborts, although its work is done
    (https://github.com/PyO3/pyo3/pull/4874).
    """
    end = time.monotonic() + limit_seconds
    while time.monotonic() < end:
        if sys._current_frames().keys() <= {thread.ident for thread in threading.enumerate()}:
            return
        time.sleep(0.001)
