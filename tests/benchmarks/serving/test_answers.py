"""The reader of raw answers takes bytes in any pieces, and refuses everything that is no complete answer."""

import pytest

from benchmarks.serving.answers import AnswerReader, NotHttpError

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-A: b\r\n\r\n"
NOT_MODIFIED = b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n'
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
ERROR = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_answers_in_any_pieces(size):
    content = HEAD + INTERIM + HEAD + b"0123456789" + NOT_MODIFIED + ERROR
    reader = AnswerReader(["HEAD", "GET", "GET", "GET"])
    for start in range(0, len(content), size):
        reader.feed(content[start : start + size])
    assert [(answer.status, answer.body) for answer in reader.answers] == [
        (200, b""),
        (200, b"0123456789"),
        (304, b""),
        (404, b"{}"),
    ]
    assert reader.answers[1].headers == {"content-length": "10", "x-a": "b"}
    assert reader.unread == b""


def test_half_an_answer_is_none():
    reader = AnswerReader()
    reader.feed(HEAD + b"012345678")
    assert reader.answers == []
    assert reader.unread.endswith(b"012345678")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", "no status line"),
        (b"0123456789" + HEAD, "no status line"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "Content-Length ''"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nContent-Length: 1\r\n\r\na", "sent twice"),
        (b"HTTP/1.1 200 OK\r\nX-A: \x00\r\ncontent-length: 1\r\n\r\na", "no header"),
    ],
)
def test_other_bytes_are_refused(content, message):
    with pytest.raises(NotHttpError, match=message):
        AnswerReader().feed(content)
