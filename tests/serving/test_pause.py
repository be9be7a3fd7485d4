"""While requests are refused the event loop pauses between its turns, and never where a client wants to connect."""

import asyncio
from types import SimpleNamespace

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from serving import app, connection, pause
from serving.errors import Refusal, RequestError
from serving.metrics import Metrics
from serving.pause import Pause
from serving.settings import Settings


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The seconds of each pause that was taken."""
    taken: list[float] = []
    monkeypatch.setattr(pause.time, "sleep", taken.append)
    return taken


def in_turns(*turns):
    """Runs each function in a turn of the loop of its own."""

    async def run():
        for turn in turns:
            turn()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(run())


def test_many_refusals_in_one_turn_are_one_pause(pauses):
    it = Pause()
    in_turns(lambda: [it.ask() for _ in range(10)])
    assert len(pauses) == 1


def test_each_turn_with_a_refusal_has_a_pause_of_a_millisecond_or_so(pauses):
    it = Pause()
    in_turns(it.ask, it.ask, it.ask)
    assert len(pauses) == 3
    assert all(0 < seconds <= 0.002 for seconds in pauses)


def test_nobody_who_connects_waits_for_a_pause(pauses):
    it = Pause()
    in_turns(it.ask, it.count_connection, it.ask)
    assert len(pauses) == 1
    in_turns(it.ask)
    assert len(pauses) == 2


def test_there_is_no_pause_without_a_refusal(pauses):
    it = Pause()
    in_turns(it.count_connection)
    assert pauses == []


class Asked:
    """Stands in for a pause, and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def ask(self) -> None:
        self.told.append("refused")

    def count_connection(self) -> None:
        self.told.append("connected")


def answered_with(monkeypatch, refusal):
    """What a pause is told while a request is refused for this reason, and the status."""
    asked, sent = Asked(), []

    async def refuse(runtime, request, receive):
        raise RequestError(refusal, "no")

    async def send(message):
        sent.append(message)

    async def nothing(*_):
        raise AssertionError

    monkeypatch.setattr(app, "Pause", lambda: asked)
    monkeypatch.setitem(app._ROUTES, "/generate", ("POST", refuse))
    application = app.Application(nothing, nothing, Settings())
    application._runtime = SimpleNamespace(metrics=Metrics())
    scope = {"type": "http", "method": "POST", "path": "/generate", "raw_path": b"/generate", "query_string": b""}
    asyncio.run(application({**scope, "headers": []}, nothing, send))
    return asked.told, sent[0]["status"]


def test_a_full_queue_asks_for_a_pause(monkeypatch):
    assert answered_with(monkeypatch, Refusal.QUEUE_FULL) == (["refused"], 429)


def test_a_bad_request_does_not(monkeypatch):
    assert answered_with(monkeypatch, Refusal.INVALID) == ([], 422)


def test_each_new_connection_is_told(monkeypatch):
    asked = Asked()
    monkeypatch.setitem(connection.HTTP_PROTOCOLS, "auto", connection.HTTP_PROTOCOLS["auto"])
    for name in ("seconds", "count_connection", "count_refused"):
        monkeypatch.setattr(connection.Connection, name, None, raising=False)
    connection.limit_connections(30, asked.count_connection, print)

    async def connect():
        server = await asyncio.get_running_loop().create_server(
            lambda: connection.Connection(Config(None, log_level="error"), ServerState(), {}), "127.0.0.1", 0
        )
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await asyncio.sleep(0.05)
            writer.close()

    asyncio.run(connect())
    assert asked.told == ["connected"]
