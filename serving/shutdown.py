"""From a signal to the end of the process: still answering, then finishing, then cutting off."""

import asyncio
import logging
import signal
import threading

from serving.runtime import Phase, Runtime

logger = logging.getLogger("figment.service")

# Seconds after the drain for the last refusals to be sent; then connections are cut off, read or not.
_LAST_ANSWERS_SECONDS = 1.0


def leave_on_signals(runtime: Runtime, connections: set[asyncio.Transport]) -> None:
    """On SIGTERM lingers and drains first, on SIGINT drains, and lets the server stop then: it would stop listening at
    once, and would wait for ever for a client that reads nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    hurry = asyncio.Event()
    leaving: list[asyncio.Task[None]] = []

    def stop_server(number: signal.Signals) -> None:
        handler = handlers[number]
        if callable(handler):
            handler(number, None)

    def cut_off() -> None:
        if connections:
            logger.warning("Cut off %d connections", len(connections))
        for transport in [*connections]:
            transport.abort()

    async def leave(number: signal.Signals) -> None:
        if not hurry.is_set():
            await runtime.linger(hurry)
        loop.call_later(runtime.settings.drain_seconds + _LAST_ANSWERS_SECONDS, cut_off)
        await runtime.drain()
        stop_server(number)

    def on_signal(number: signal.Signals) -> None:
        if number is signal.SIGINT:
            # From a keyboard, where somebody waits. BentoML's arbiter follows its first SIGINT with a SIGTERM: that
            # changes nothing any more.
            hurry.set()
        if not leaving:
            leaving.append(loop.create_task(leave(number)))
        elif number is signal.SIGINT and runtime.phase is Phase.DRAINING:
            stop_server(number)

    for number in handlers:
        loop.add_signal_handler(number, on_signal, number)
