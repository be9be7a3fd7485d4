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
_EXAMPLES = {"hypothesis": 6000, "/openapi.json": 100, "/docs.json": 50}
"""Examples of Hypothesis in all, and of schemathesis for each operation."""

# BentoML describes only its own routes rightly.
_DOCUMENTS = {"/openapi.json": "all", "/docs.json": "not_a_server_error"}


def run(smoke: bool, work: Path) -> list[Outcome]:
    """Attacks two services, and returns a row for each kind of attack and for each thing that must stay as it is.

    The second one has a full queue. The short form leaves it out, and schemathesis: ``make test`` has both elsewhere.
    """
    deadline = 1.0 if smoke else 2.0
    keep_alive = deadline / 2  # shorter than a response may take
    bundles = work / "bundles"
    write_generators(bundles)
    settings = {
        "deadline_seconds": deadline,
        "keep_alive_seconds": keep_alive,
        "max_batch": 16,
        "max_images": 64,
        "predict_route": PREDICT,
        "health_route": "/ping",
    }
    home = work / "home"
    with figment(bundles, home, queue_images=256, **settings) as server:
        outcomes = _attack(server, bundles, smoke, deadline, keep_alive, work)
    complaints = footprint.complaints(home / "log")
    if not smoke:
        home = work / "crowded"
        with figment(bundles, home, queue_images=4, **settings) as server:
            campaign = Campaign(server, ask_alone(server.url, 10), _SEED, deadline, keep_alive, crowd=3)
            campaign.run({name: count // 20 for name, count in _COUNTS.items()})
            outcomes.append(report.crowded_row(campaign))
        complaints += footprint.complaints(home / "log")
    return [*outcomes, report.log_row(complaints)]


def _attack(
    server: Server, bundles: Path, smoke: bool, deadline: float, keep_alive: float, work: Path
) -> list[Outcome]:
    seeds, examples, passes = (1, 60, 2) if smoke else (10, _EXAMPLES["hypothesis"], 10)
    counts = {name: (_SMOKE_COUNT if smoke else count) // passes for name, count in _COUNTS.items()}
    known = ask_alone(server.url, seeds)
    compared = compare_with_onnxruntime(known, bundles)
    campaign = Campaign(server, known, _SEED, deadline, keep_alive)
    prints = []
    for _ in range(passes):
        campaign.run(counts)
        prints.append(footprint.measure(server))
    tried, succeeded, problem = run_hypothesis(server.port, examples, _SEED, 30)
    outcomes = [*report.attempt_rows(campaign, smoke), report.hypothesis_row(tried, succeeded, problem)]
    requests = campaign.answered + tried
    for path, checks in {} if smoke else _DOCUMENTS.items():
        described = run_schemathesis(f"{server.url}{path}", _EXAMPLES[path], _SEED, work, checks)
        outcomes.append(report.schemathesis_row(path, described))
        requests += described.cases
    prints.append(footprint.measure(server))
    outcomes.append(report.total_row(campaign, requests, compared, 0 if smoke else 100_000))
    outcomes += report.footprint_rows(prints, footprint.invented_labels(server, MODELS))
    began = monotonic()
    again = ask_alone(server.url, seeds)
    differences = [one.difference(two.answer) for one, two in zip(known, again, strict=True) if two.answer is not None]
    outcomes.append(report.end_row(len(known), [text for text in differences if text], monotonic() - began))
    return outcomes
