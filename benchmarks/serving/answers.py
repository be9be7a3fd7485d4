"""Reads HTTP/1.1 answers from the bytes of a connection, strictly, for clients of raw sockets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9]{2}) [ -~]*")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t -~\x80-\xff]*)")
_NO_BODY = (204, 304)


class NotHttpError(Exception):
    """The service sent something other than the answers that are due."""


@dataclass(frozen=True)
class Answer:
    """One answer; the names of its headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class AnswerReader:
    """Takes the bytes of one connection in any pieces. Interim answers (100) are checked and left out."""

    def __init__(self, methods: Sequence[str] = ()) -> None:
        """``methods`` are those of the requests in order, GET beyond them: the answer to HEAD has no body."""
        self.answers: list[Answer] = []
        self._methods = methods
        self._unread = bytearray()

    @property
    def unread(self) -> bytes:
        """Returns the bytes of an answer that is not complete."""
        return bytes(self._unread)

    def feed(self, data: bytes) -> None:
        """Adds all answers that are complete with these bytes. Raises ``NotHttpError``."""
        self._unread += data
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            status, headers = _read_head(bytes(self._unread[:end]))
            length = self._body_length(status, headers)
            if len(self._unread) < end + 4 + length:
                return
            body = bytes(self._unread[end + 4 : end + 4 + length])
            del self._unread[: end + 4 + length]
            if status != 100:
                self.answers.append(Answer(status, headers, body))

    def _body_length(self, status: int, headers: dict[str, str]) -> int:
        number = len(self.answers)
        is_head = number < len(self._methods) and self._methods[number] == "HEAD"
        if is_head or status in _NO_BODY or status < 200:
            return 0
        length = headers.get("content-length", "")
        if not length.isdecimal():
            raise NotHttpError(f"an answer with status {status} has the Content-Length {length!r}")
        return int(length)


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.split(b"\r\n")
    status = _STATUS_LINE.fullmatch(first)
    if status is None:
        raise NotHttpError(f"no status line: {first[:200]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise NotHttpError(f"no header: {line[:200]!r}")
        name = header[1].decode().lower()
        if name in headers:
            raise NotHttpError(f"the header {name} is sent twice")
        headers[name] = header[2].decode("latin-1")
    return int(status[1]), headers
