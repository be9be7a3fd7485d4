"""A row of the fuzz program is red if its promise was broken, and also if its fault hardly struck."""

from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.soak.fuzz import report
from benchmarks.soak.fuzz.campaign import Tally
from benchmarks.soak.fuzz.footprint import Footprint, complaints

GOOD = Footprint(resident_mib=200, open_files=30, series=500, connections=0)


def campaign(kind, tally):
    return SimpleNamespace(tallies={kind: tally}, answered=tally.requests, split=SimpleNamespace(places=[(0, 1)]))


def row_of(kind, tally, smoke=False):
    return next(row for row in report.attempt_rows(campaign(kind, tally), smoke) if row.fault == kind)


@pytest.mark.parametrize(
    ("kind", "tally", "kept"),
    [
        ("pipelined requests", Tally(attempts=2, answers=9, compared=9), True),
        ("pipelined requests", Tally(attempts=2, answers=9, compared=9, failures=["a"]), False),
        ("pipelined requests", Tally(attempts=2, answers=9), False),
        ("pipelined requests", Tally(attempts=2, answers=9, compared=9, late=1), False),
        ("pipelined requests", Tally(), False),
        ("split packets", Tally(attempts=2, answers=9, compared=9), False),
        ("split packets", Tally(attempts=2, answers=9, compared=9, places={(0, 1)}), True),
        ("clients that never close", Tally(attempts=2, ended=2), True),
        ("clients that never close", Tally(attempts=2, ended=1), False),
        ("random paths", Tally(attempts=10, answers=10), True),
        ("random paths", Tally(attempts=10, answers=5), False),
        ("clients that leave", Tally(attempts=10), False),
    ],
)
def test_attempts(kind, tally, kept):
    assert row_of(kind, tally).kept is kept


@pytest.mark.parametrize(
    ("statuses", "requests", "kept"),
    [
        ({200: 99, 404: 1}, 100, True),
        ({200: 99, 404: 1}, 99, False),
        ({200: 99, 504: 1}, 100, True),
        ({200: 50, 504: 50}, 100, False),
        ({200: 99, 500: 1}, 100, False),
        ({200: 99, 502: 1}, 100, False),
    ],
)
def test_all_requests(statuses, requests, kept):
    tally = Tally(compared=1, statuses=Counter(statuses))
    assert report.total_row(campaign("honest requests", tally), requests, 1, 100).kept is kept


@pytest.mark.parametrize(
    ("last", "invented", "broken"),
    [
        (GOOD, [], []),
        (Footprint(230, 30, 500, 0), [], ["memory"]),
        (Footprint(200, 31, 500, 0), [], ["open files"]),
        (Footprint(200, 30, 500, 1), [], ["connections"]),
        (GOOD, ["figment_requests_total{route='/nowhere'}"], ["metric series"]),
    ],
)
def test_what_the_service_keeps(last, invented, broken):
    assert [row.fault for row in report.footprint_rows([GOOD, last], invented) if not row.kept] == broken


def test_the_log(tmp_path):
    log = tmp_path / "log"
    log.write_text("2026 [INFO] figment: ready\nTraceback (most recent call last):\n")
    assert not report.log_row(complaints(log)).kept
    log.write_text("2026 [INFO] figment: ready\n")
    assert report.log_row(complaints(log)).kept
