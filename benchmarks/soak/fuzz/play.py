"""Plays an attempt on a socket, and judges what came back."""

import asyncio
import re
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field

from benchmarks.serving.answers import Answer, AnswerReader, NotHttpError
from benchmarks.soak.fuzz.attempt import Attempt, Expected, Leave, Then
from benchmarks.soak.fuzz.framing import HONEST

_RANDOM_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class Played:
    """What came back. ``held`` is the open socket of a client that never closes."""

    answers: list[Answer] = field(default_factory=list)
    unread: bytes = b""
    ended: bool = False
    """Whether the service ended the connection."""

    timed_out: bool = False
    not_http: str | None = None
    sending_seconds: float = 0.0
    held: socket.socket | None = None

    @property
    def port(self) -> int:
        """Returns the client's port, of an attempt that holds its socket."""
        assert self.held is not None
        port: int = self.held.getsockname()[1]
        return port


async def play(port: int, attempt: Attempt, seconds: float) -> Played:
    """Plays an attempt. Waits at most ``seconds`` for what is due once all is sent."""
    client = socket.socket()
    if attempt.receive_buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, attempt.receive_buffer)
    client.setblocking(False)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    played = Played()
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        sending = asyncio.create_task(_send(client, attempt, played))
        try:
            if attempt.then in (Then.GONE, Then.HELD):
                with suppress(TimeoutError):  # the service need not read all of a client that does not read
                    async with asyncio.timeout(seconds):
                        await asyncio.shield(sending)
            else:
                await _receive(client, attempt, played, sending, seconds)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    except TimeoutError:
        played.timed_out = True
    finally:
        if attempt.then is Then.HELD and not played.timed_out:
            played.held = client
        else:
            client.close()
    return played


async def _send(client: socket.socket, attempt: Attempt, played: Played) -> None:
    """Takes all steps. The service may have ended the connection before the last one."""
    loop, began = asyncio.get_running_loop(), time.monotonic()
    with suppress(OSError):
        for step in attempt.steps:
            if isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, bytes):
                await loop.sock_sendall(client, step)
            elif step is Leave.HALF_CLOSE:
                client.shutdown(socket.SHUT_WR)
            else:
                if step is Leave.RESET:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
    played.sending_seconds = time.monotonic() - began


async def _receive(
    client: socket.socket, attempt: Attempt, played: Played, sending: asyncio.Task[None], seconds: float
) -> None:
    """Reads until what is due has come. Raises ``TimeoutError`` if it does not."""
    reader = AnswerReader([expected.method for expected in attempt.expected])
    loop = asyncio.get_running_loop()
    needed = {Then.OPEN: len(attempt.expected), Then.ANY: 1}.get(attempt.then)
    try:
        async with asyncio.timeout(seconds + attempt.pauses):
            while needed is None or len(reader.answers) < needed:
                data = await loop.sock_recv(client, 65536)
                if not data:
                    played.ended = True
                    break
                reader.feed(data)
            await asyncio.shield(sending)
    except ConnectionError:
        played.ended = True
    except NotHttpError as error:
        played.not_http = str(error)
    finally:
        played.answers, played.unread = reader.answers, reader.unread


def was_late(attempt: Attempt, played: Played, patience: float) -> bool:
    """Returns whether this machine was too busy for the client to send in time, and the service said so or left."""
    was_told = played.ended or any(answer.status == 408 for answer in played.answers)
    return was_told and played.sending_seconds - attempt.pauses > patience * 0.8


def judge(attempt: Attempt, played: Played) -> str | None:
    """Returns which promise an attempt's outcome breaks, in words; ``None`` if none."""
    if played.not_http is not None:
        return f"no HTTP: {played.not_http}"
    if played.timed_out:
        return f"hang: {len(played.answers)} of {len(attempt.expected)} answers"
    if attempt.then in (Then.GONE, Then.HELD):
        return None
    if len(played.answers) > len(attempt.expected) and attempt.then is not Then.ANY:
        return f"{len(played.answers)} answers to {len(attempt.expected)} requests"
    if len(played.answers) < len(attempt.expected) and not attempt.may_end and attempt.then is not Then.ANY:
        return f"the connection ended after {len(played.answers)} of {len(attempt.expected)} answers"
    if played.unread and played.ended and not attempt.may_end:
        return f"the connection ended within an answer: {played.unread[:200]!r}"
    for number, answer in enumerate(played.answers):
        expected = attempt.expected[min(number, len(attempt.expected) - 1)]
        if problem := _problem(attempt, expected, answer):
            return f"answer {number + 1}: {problem}"
    return None


def _problem(attempt: Attempt, expected: Expected, answer: Answer) -> str | None:
    given = answer.headers.get("x-request-id", "")
    if expected.id is not None and given.encode() != expected.id:
        return f"X-Request-ID is {given!r}, not {expected.id!r}: status {answer.status}"
    if not _RANDOM_ID.fullmatch(given) and given.encode("latin-1") not in attempt.sent:
        return f"X-Request-ID {given!r} belongs to another request"
    if attempt.forbidden is not None and given.encode() == attempt.forbidden:
        return "what is in a body was answered as a request"
    if answer.status not in expected.statuses:
        return f"status {answer.status}, not one of {sorted(expected.statuses)}: {answer.body[:200]!r}"
    if expected.known is not None and answer.status not in HONEST:
        return expected.known.difference(answer)
    return None
