"""Generators that raise, return NaN, lack memory for large batches, or never end, while others are used."""

import io
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.soak.outcome import Outcome
from benchmarks.soak.serving_faults.graphs import HUNGRY_TRUNCATION, NOISE_DIM, TRIGGER, reference
from benchmarks.soak.serving_faults.service import Service
from benchmarks.soak.serving_faults.traffic import WRONG, Account, References, Traffic, ask, judge_error

_FAILING_NOISE = [[2 * TRIGGER] + [0.0] * (NOISE_DIM - 1)]
_BATCH = 16


def engines_that_fail(service: Service, zoo: Path, references: References, times: int) -> list[Outcome]:
    """Tries ``raises``, ``nan`` and ``hungry``: the service must have loaded these bundles of ``zoo``."""
    return [
        _fails(service, references, "raises", "an engine raises for one input", times),
        _fails(service, references, "nan", "an engine computes NaN for one input", times),
        _lacks_memory(service, zoo, references, times),
    ]


def _fails(service: Service, references: References, model: str, fault: str, times: int) -> Outcome:
    """Sends failing requests among sound ones to the same model, which share their batches."""
    failed = Account()
    with Traffic(service.port, {f"{model}/1": references[f"{model}/1"]}, clients=4) as traffic:
        traffic.wait_for(5)
        for _ in range(times):
            failed.begin()
            status, content = ask(service.port, model=model, noise=_FAILING_NOISE)
            failed.end(*(judge_error(status, content) if status != 200 else (WRONG, "200 with an image")))
        traffic.wait_for(5)
    return Outcome(
        fault,
        f"{times} times",
        "that request gets a 500 with a sentence, and those beside it their images",
        f"that request: {failed}; beside it: {traffic.account}",
        failed.ends["500"] == times and failed.all_ended("500") and traffic.account.all_ended(),
    )


def _lacks_memory(service: Service, zoo: Path, references: References, times: int) -> Outcome:
    expected = reference(zoo / "hungry" / "1", _BATCH, HUNGRY_TRUNCATION)
    hungry = Account()
    failures = _failed_batches(service)
    with Traffic(service.port, {"plain/1": references["plain/1"]}, clients=2) as traffic:
        traffic.wait_for(5)
        for _ in range(times):
            hungry.begin()
            status, content = ask(
                service.port,
                "application/x-npy",
                model="hungry",
                seeds=[*range(_BATCH)],
                truncation=HUNGRY_TRUNCATION,
            )
            if status != 200:
                hungry.end(*judge_error(status, content))
            elif np.array_equal(np.load(io.BytesIO(content))[..., 0], expected):
                hungry.end("right")
            else:
                hungry.end(WRONG, "another image")
        traffic.wait_for(5)
    struck = _failed_batches(service) - failures
    return Outcome(
        "an engine runs out of memory in batches of 8 images and more",
        f"{times} requests of {_BATCH} images",
        "smaller batches generate all images",
        f"{struck} batches failed; those requests: {hungry}; others: {traffic.account}",
        struck >= times and hungry.all_ended() and traffic.account.all_ended(),
    )


def _failed_batches(service: Service) -> int:
    return service.log.count("its halves are tried alone")


def engine_that_hangs(service: Service, references: References, deadline: float, stuck: float) -> list[Outcome]:
    """Hangs the model ``hangs``, which stays so. Then ends the service with SIGTERM."""
    account, same = Account(), Account()

    def ask_same() -> None:
        same.begin()
        same.end(*judge_error(*ask(service.port, model="hangs", seeds=[1])))

    with Traffic(service.port, {"plain/1": references["plain/1"]}, clients=2) as traffic:
        traffic.wait_for(5)
        began = time.monotonic()
        account.begin()
        beside = threading.Timer(deadline / 4, ask_same)
        beside.start()
        account.end(*judge_error(*ask(service.port, model="hangs", noise=_FAILING_NOISE)))
        waited = time.monotonic() - began
        beside.join()
        reported = service.wait_for(lambda: service.get("/livez")[0] == 503, stuck + 2)
        traffic.wait_for(20)
    happened = f"that request: {account} after {waited:.1f} s; of the same model: {same}; "
    happened += f"/livez {'503' if reported else 'NOT 503'}; other models: {traffic.account}"
    kept = account.ends["504"] == 1 and waited < deadline + 1 and same.ends["504"] == 1
    hang = Outcome(
        "an engine never ends",
        "once",
        f"504 after the deadline of {deadline:g} s, /livez is 503 after {stuck:g} s, other models are served",
        happened,
        kept and reported and traffic.account.all_ended(),
    )
    workers = service.workers()
    seconds = service.terminate()
    gone = not any(worker.is_running() for worker in workers)
    end = Outcome(
        "SIGTERM while an engine never ends",
        "once",
        "the processes end, and the port is free",
        f"ended after {seconds:.1f} s; {'no worker' if gone else 'a WORKER'} is left",
        gone and service.port_is_free() and service.process.returncode == 0,
    )
    return [hang, end]
