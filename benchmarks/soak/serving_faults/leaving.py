"""Clients that vanish in each phase of a request. Their slots become free, and nobody else notices."""

import json
import socket
import struct
from collections.abc import Callable

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.service import Service
from benchmarks.soak.serving_faults.traffic import References, Traffic

_LARGE_IMAGES = 128
"""Of 256×256: 8 MB as an array, more than the sockets between two processes hold."""


def clients_that_leave(service: Service, references: References, times: int) -> list[Outcome]:
    """Lets clients of the models ``slow`` and ``large`` leave, each phase ``times``, while others use ``plain``."""
    phases: dict[str, Callable[[Service], bool]] = {
        "with half a head sent": _in_head,
        "with half a body sent": _in_body,
        "while its images wait in the queue": _in_queue,
        "while its images are encoded": _while_encoding,
        "while its answer is sent": _while_sending,
    }
    return [_outcome(service, references, name, leave, times) for name, leave in phases.items()]


def _outcome(
    service: Service, references: References, name: str, leave: Callable[[Service], bool], times: int
) -> Outcome:
    service.wait_for(lambda: _is_free(service), 10)
    files = _open_files(service)
    with Traffic(service.port, references, clients=2) as traffic:
        traffic.wait_for(5)
        struck = sum(leave(service) for _ in range(times))
        freed = service.wait_for(lambda: _is_free(service), 10)
        traffic.wait_for(5)
    closed = service.wait_for(lambda: _open_files(service) <= files, 10)
    happened = f"{struck} left in that phase; {'queue 0' if freed else 'queue NOT 0'} afterwards; "
    happened += f"{'all' if closed else 'NOT all'} connections closed; others: {traffic.account}"
    return Outcome(
        f"a client leaves {name}",
        f"{times} times",
        "the queue's gauge returns to 0, the connection is closed, and others get their images",
        happened,
        struck == times and freed and closed and traffic.account.all_ended(),
    )


def _is_free(service: Service) -> bool:
    return service.get("/metrics")[0] == 200 and service.metric("figment_queued_images") == 0


def _open_files(service: Service) -> int:
    return sum(worker.num_fds() for worker in service.workers())


def _connect(service: Service) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", service.port), timeout=10)
    # A close sends a reset: this client has vanished and will read nothing.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return client


def _request(accept: str, **body: object) -> bytes:
    content = json.dumps(body).encode()
    head = f"POST /generate HTTP/1.1\r\nHost: f\r\nContent-Type: application/json\r\nAccept: {accept}\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def _in_head(service: Service) -> bool:
    with _connect(service) as client:
        client.sendall(_request("image/png", seeds=[1])[:40])
    return True


def _in_body(service: Service) -> bool:
    with _connect(service) as client:
        client.sendall(_request("image/png", seeds=[1])[:-5])
    return True


def _in_queue(service: Service) -> bool:
    """Sends more images than two batches hold, so that the others wait."""
    dropped = service.metric("figment_dropped_images_total", model="slow", reason="disconnected")
    with _connect(service) as client:
        client.sendall(_request("application/x-npy", model="slow", count=256))
        waited = service.wait_for(lambda: service.metric("figment_queued_images", model="slow") > 0, 5)
    # The images that were not generated are counted as those of a client that has left.
    return waited and service.wait_for(
        lambda: service.metric("figment_dropped_images_total", model="slow", reason="disconnected") > dropped, 5
    )


def _while_encoding(service: Service) -> bool:
    """Leaves when the last batch has been generated, long before its WebP files are encoded."""
    generated = service.metric("figment_batch_images_sum", model="large")
    sent = service.metric("figment_images_total", model="large")
    with _connect(service) as client:
        client.sendall(_request("application/zip", model="large", count=_LARGE_IMAGES, format="webp"))
        reached = service.wait_for(
            lambda: service.metric("figment_batch_images_sum", model="large") >= generated + _LARGE_IMAGES, 10
        )
    return reached and service.metric("figment_images_total", model="large") == sent


def _while_sending(service: Service) -> bool:
    with _connect(service) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(_request("application/x-npy", model="large", count=_LARGE_IMAGES))
        return client.recv(64).startswith(b"HTTP/1.1 200")
