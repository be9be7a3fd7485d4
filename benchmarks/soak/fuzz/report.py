"""The rows of the report. A row is kept only if its fault really struck."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.soak.fuzz.campaign import Campaign, Tally
from benchmarks.soak.fuzz.described import Described
from benchmarks.soak.fuzz.footprint import Footprint
from benchmarks.soak.fuzz.framing import HONEST
from benchmarks.soak.outcome import Outcome

_MAX_SHED = 0.2
"""Share of answers that may say that the service has too much to do: on a busy machine it has less time."""

_MAX_LATE = 0.1
"""Share of clients that this machine may have kept from sending in time."""

_MAX_GROWTH = 0.1
"""Share by which memory may grow after the first pass."""

_MIN_REJECTED = 0.02
"""Share of answers that a full queue must have rejected, for the queue to count as full."""

_ANSWERED = "every request has its own answer, in order"
_REJECTED = "an error, nothing in it is answered as another request, and the connection ends"
_ENDED = "the service ends the connection in time"
_PROMISES = {
    "split packets": _ANSWERED,
    "pipelined requests": _ANSWERED,
    "empty lines between requests": _ANSWERED,
    "offers of an upgrade": _ANSWERED,
    "honest requests": _ANSWERED,
    "garbage behind a request in work": "the answers, then one error, then the end",
    "wrong Content-Length": _REJECTED,
    "chunk errors": _REJECTED,
    "random paths": "an answer that is no server error, or a rejection",
    "damaged requests": "an answer that is no server error, or a rejection",
    "clients that leave": "a client that still reads has its answers; nothing stays",
    "slow requests": "408, and the end",
    "idle connections": _ENDED,
    "clients that never close": _ENDED,
    "clients that never read": _ENDED,
}
_HELD = ("clients that never close", "clients that never read", "idle connections", "slow requests")
_COMPARED = (*list(_PROMISES)[:5], "garbage behind a request in work", "chunk errors")
_ANSWERS = ("random paths", "damaged requests", "wrong Content-Length")


def attempt_rows(campaign: Campaign, smoke: bool) -> list[Outcome]:
    """Returns a row for each kind of attempt."""
    rows = []
    for kind, promise in _PROMISES.items():
        tally = campaign.tallies.get(kind, Tally())
        struck = _struck(kind, tally) and (kind != "split packets" or smoke or _all_places(campaign, tally))
        tried = f"{tally.attempts} clients, {tally.requests} requests"
        if kind == "split packets":
            tried += f", cut at {len(tally.places)} of {len(campaign.split.places)} places"
        rows.append(Outcome(kind, tried, promise, _happened(kind, tally), struck and not tally.failures))
    return rows


def _struck(kind: str, tally: Tally) -> bool:
    """Returns whether the fault was really tried, and what it promises was really looked at."""
    if tally.late > tally.attempts * _MAX_LATE:
        return False
    if kind in _HELD:
        return 0 < tally.attempts == tally.ended
    if kind in _COMPARED:
        return tally.compared > 0 and tally.answers > 0
    return tally.answers >= tally.attempts * 0.8 > 0 if kind in _ANSWERS else tally.attempts > 0 < tally.answers


def _all_places(campaign: Campaign, tally: Tally) -> bool:
    return len(tally.places) == len(campaign.split.places)


def _happened(kind: str, tally: Tally) -> str:
    parts = [f"{tally.answers} answers: {_statuses(tally.statuses)}"] if tally.answers else []
    if tally.compared:
        parts.append(f"{tally.compared} equal to the known ones")
    if tally.ended:
        parts.append(f"{tally.ended} connections ended by the service")
    if tally.late:
        parts.append(f"{tally.late} clients were late themselves")
    parts += [f"{len(tally.failures)} FAILED: {tally.failures[0]}"] if tally.failures else []
    return "; ".join(parts)


def _statuses(statuses: Counter[int]) -> str:
    return ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))


def crowded_row(campaign: Campaign) -> Outcome:
    """Returns the row of all kinds of attempts together, against a service whose queue is full most of the time."""
    statuses: Counter[int] = sum((tally.statuses for tally in campaign.tallies.values()), Counter())
    equal = sum(tally.compared for tally in campaign.tallies.values())
    failures = [failure for tally in campaign.tallies.values() for failure in tally.failures]
    happened = f"{statuses.total()} answers, of them {statuses[429]} × 429 and {statuses[504]} × 504; "
    happened += f"{equal} equal to the known ones"
    happened += f"; {len(failures)} FAILED: {failures[0]}" if failures else ""
    kept = not failures and statuses[429] > statuses.total() * _MIN_REJECTED and equal > 0
    tried = f"{campaign.answered} requests"
    return Outcome("all of these while the queue is full", tried, "the same, or 429", happened, kept)


def hypothesis_row(tried: int, succeeded: int, problem: str | None) -> Outcome:
    """Returns the row of the requests that Hypothesis made."""
    happened = f"as promised; {succeeded} were answered with 200" if problem is None else problem
    kept = problem is None and succeeded > tried * 0.1
    return Outcome("requests by Hypothesis, all routes", f"{tried} requests", _PROMISES["random paths"], happened, kept)


def schemathesis_row(path: str, described: Described) -> Outcome:
    """Returns the row of a document."""
    tried = f"{described.cases} requests to {described.operations} operations"
    happened = "nothing found" if described.passed else described.output[-2000:]
    kept = described.passed and described.cases > 0 < described.operations
    return Outcome(f"schemathesis over {path}", tried, "answers as the document says", happened, kept)


def total_row(campaign: Campaign, requests: int, compared: int, least: int) -> Outcome:
    """Returns the row of all requests. ``compared`` known answers were compared with ONNX Runtime's own output."""
    statuses: Counter[int] = sum((tally.statuses for tally in campaign.tallies.values()), Counter())
    shed = {status: statuses[status] for status in sorted(HONEST)}
    faults = {status: count for status, count in statuses.items() if status >= 500 and status not in HONEST}
    equal = sum(tally.compared for tally in campaign.tallies.values())
    happened = (
        f"{equal} answers equal byte for byte, of which images of {compared} kinds equal ONNX Runtime's own; "
        f"server errors: {faults or 'none'}; too much to do: {shed}"
    )
    kept = requests >= least and not faults and sum(shed.values()) <= _MAX_SHED * statuses.total() and equal > 0
    return Outcome("all of these at once", f"{requests} requests", "no 5xx but an honest 503 or 504", happened, kept)


def footprint_rows(prints: Sequence[Footprint], invented: Sequence[str]) -> list[Outcome]:
    """Returns the rows of what the service keeps: each measured after every pass, with no request in work."""
    first, last = prints[0], prints[-1]
    tried = f"{len(prints)} measurements"
    memory = f"{first.resident_mib:.0f} MiB after the first pass, {last.resident_mib:.0f} at the end, "
    memory += f"{max(one.resident_mib for one in prints):.0f} at most"
    series = f"{first.series} after the first pass, {prints[len(prints) // 2].series} after half of them, "
    series += f"{last.series} at the end; made up by clients: {len(invented)}"
    return [
        Outcome(
            "memory",
            tried,
            f"flat: at most {_MAX_GROWTH:.0%} more than after the first pass",
            memory,
            last.resident_mib <= first.resident_mib * (1 + _MAX_GROWTH),
        ),
        Outcome(
            "open files",
            tried,
            "flat",
            f"{first.open_files} after the first pass, {last.open_files} at the end",
            last.open_files <= first.open_files,
        ),
        Outcome("connections", tried, "none stays", _connections(prints), not any(one.connections for one in prints)),
        Outcome(
            "metric series",
            tried,
            "none with a path, status or model that a client made up",
            "; ".join([series, *invented[:3]]),
            not invented,
        ),
    ]


def _connections(prints: Sequence[Footprint]) -> str:
    return f"{max(one.connections for one in prints)} open after a pass, at most"


def end_row(asked: int, differences: Sequence[str], seconds: float) -> Outcome:
    """Returns the row of the known requests, asked again at the end."""
    happened = f"{asked - len(differences)} are, in {seconds:.1f} s"
    happened = "; ".join([happened, *differences[:1]])
    return Outcome(
        "the known requests at the end", f"{asked} requests", "answered as at first", happened, not differences
    )


def log_row(complaints: Sequence[str]) -> Outcome:
    """Returns the row of the service's log."""
    happened = f"{len(complaints)} lines" + (f": {complaints[0][:500]}" if complaints else "")
    return Outcome("the service's log", "once", "no error of its own, no warning", happened, not complaints)
