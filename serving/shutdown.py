"""From a signal to the end of the process: lingers, drains, then aborts the remaining connections."""

import asyncio
import logging
import signal
import threading

from serving.runtime import Phase, Runtime

logger = logging.getLogger("figment.service")

# Seconds after the drain for sending the last responses. Then connections are aborted, whether read or not.
_LAST_RESPONSES_SECONDS = 1.0


def install_signal_handlers(runtime: Runtime, connections: set[asyncio.Transport]) -> None:
    """Handles SIGTERM (lingers, drains) and SIGINT (drains), and lets the server stop only after that.

    The server's own handlers would stop listening at once, and would wait forever for a client that reads nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    server_handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    skip_linger = asyncio.Event()
    shutdown_tasks: list[asyncio.Task[None]] = []

    def stop_server(number: signal.Signals) -> None:
        handler = server_handlers[number]
        if callable(handler):
            handler(number, None)

    def abort_connections() -> None:
        if connections:
            logger.warning("Aborted %d connections", len(connections))
        for transport in [*connections]:
            transport.abort()

    async def shut_down(number: signal.Signals) -> None:
        if not skip_linger.is_set():
            await runtime.linger(skip_linger)
        loop.call_later(runtime.settings.drain_seconds + _LAST_RESPONSES_SECONDS, abort_connections)
        await runtime.drain()
        stop_server(number)

    def on_signal(number: signal.Signals) -> None:
        if number is signal.SIGINT:
            # A person waits. A SIGTERM that follows changes nothing. Under ``bentoml serve``, Ctrl-C reaches only the
            # arbiter, which sends SIGTERM: a worker gets SIGINT only if it is sent to the worker itself.
            skip_linger.set()
        if not shutdown_tasks:
            shutdown_tasks.append(loop.create_task(shut_down(number)))
        elif number is signal.SIGINT and runtime.phase is Phase.DRAINING:
            stop_server(number)

    for number in server_handlers:
        loop.add_signal_handler(number, on_signal, number)
