"""Random and hostile requests against a running service, over raw sockets, from Hypothesis and from schemathesis.

Every attempt follows from a seed and its number. A failure is printed with both, and with the bytes.
"""

from pathlib import Path
from time import monotonic

from benchmarks.serving.generators import write_generators
from benchmarks.serving.servers import Server, figment
from benchmarks.soak.fuzz import footprint, report
from benchmarks.soak.fuzz.campaign import Campaign
from benchmarks.soak.fuzz.described import run_schemathesis
from benchmarks.soak.fuzz.generated import run_hypothesis
from benchmarks.soak.fuzz.known import MODELS, PREDICT, ask_alone, compare_with_onnxruntime
from benchmarks.soak.outcome import Outcome

_SEED = 20

_COUNTS = {
    "split": 3000,
    "lengths": 2000,
    "chunks": 2000,
    "pipelined": 2500,
    "empty": 2000,
    "garbage": 1500,
    "upgrade": 2000,
    "paths": 10_000,
    "damaged": 12_000,
    "leaves": 6000,
    "slow": 600,
    "silent": 400,
    "stays": 1500,
    "never": 100,
}
"""How many attempts of each kind the long form makes."""

_SMOKE_COUNT = 16
_EXAMPLES = {"hypothesis": 6000, "/openapi.json": 300, "/docs.json": 100}
"""Examples of Hypothesis in all, and of schemathesis for each operation."""


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Attacks one service, and returns a row for each kind of attack and for each thing that must stay as it is."""
    seconds = 1.0 if smoke else 2.0
    bundles = work / "bundles"
    write_generators(bundles)
    settings = {
        "deadline_seconds": seconds,
        "keep_alive_seconds": seconds,
        "max_batch": 16,
        "max_images": 64,
        "queue_images": 256,
        "predict_route": PREDICT,
        "health_route": "/ping",
    }
    with figment(bundles, work / "home", **settings) as server:
        outcomes = _attack(server, bundles, smoke, seconds, work)
    return [*outcomes, report.log_row(footprint.complaints(work / "home" / "log"))]


def _attack(server: Server, bundles: Path, smoke: bool, seconds: float, work: Path) -> list[Outcome]:
    known = ask_alone(server.url, seeds=2 if smoke else 10)
    compared = compare_with_onnxruntime(known, bundles)
    campaign = Campaign(server, known, _SEED, seconds, seconds)
    passes = 2 if smoke else 10
    counts = (
        dict.fromkeys(_COUNTS, _SMOKE_COUNT // passes)
        if smoke
        else {name: count // passes for name, count in _COUNTS.items()}
    )
    prints = []
    for _ in range(passes):
        campaign.run(counts)
        prints.append(footprint.measure(server))
    tried, succeeded, problem = run_hypothesis(
        server.port, 100 if smoke else _EXAMPLES["hypothesis"], _SEED, seconds, 30
    )
    outcomes = [*report.attempt_rows(campaign, smoke), report.hypothesis_row(tried, succeeded, problem)]
    requests = campaign.answered + tried
    if not smoke:  # `make test` has it in tests/serving/api/test_openapi.py
        for path, checks in (("/openapi.json", "all"), ("/docs.json", "not_a_server_error")):
            described = run_schemathesis(f"{server.url}{path}", _EXAMPLES[path], _SEED, work, checks)
            outcomes.append(report.schemathesis_row(path, described))
            requests += described.cases
    prints.append(footprint.measure(server))
    invented = footprint.invented_labels(server, MODELS)
    outcomes.append(report.total_row(campaign, requests, compared, 0 if smoke else 100_000))
    outcomes += report.footprint_rows(prints, invented)
    began = monotonic()
    differences = [
        one.difference(two.answer)
        for one, two in zip(known, ask_alone(server.url, 2 if smoke else 10), strict=True)
        if two.answer
    ]
    outcomes.append(report.end_row(len(known), [text for text in differences if text], monotonic() - began))
    return outcomes
