"""The tables of ``docs/scaling.md``, as Markdown. Each is made from figures, none is written by hand."""

from collections.abc import Iterable, Sequence

from benchmarks.scaling import assumptions, cache, capacity, limits, regions, validation
from benchmarks.scaling.autoscaler import Rules
from benchmarks.scaling.profiles import Profiles
from benchmarks.scaling.tuning import Result

EXPONENTS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
CATALOGUE = 100_000
CACHE_SHARES = (0.001, 0.01, 0.1, 0.3)
REQUESTS = 600_000
WARM_UP = 300_000
EDGES = 30
"""Caches of a CDN that share nothing, if it has no common cache behind them."""
EXPIRY_SECONDS = 60
EXPIRY_RATE = 1000.0
HIT_RATES = (0.5, 0.9)
NOT_MEASURED = "not measured yet"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    """Returns a number with three digits, and thousands apart."""
    if value is None:
        return NOT_MEASURED
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}".replace(",", " ") if rounded >= 100 else f"{rounded:g}"


def _usd(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"${value:,.2f}"


def serving(profiles: Profiles) -> str:
    """Requests for one PNG a second, by machine."""
    head = ["generator", "one core", "a replica of 2 cores", "a machine of 16 cores", "1 GPU, one process"]
    rows = [
        [
            f"`{row['generator']}`",
            f"{_number(row['core'])}/s",
            f"{_number(row['replica'])}/s",
            f"{_number(row['box'])}/s, by {row['box_processes']} processes or more",
            NOT_MEASURED if row["gpu"] is None else f"{_number(row['gpu'])}/s",
        ]
        for row in capacity.serving_rows(profiles)
    ]
    return table(head, rows)


def batches(profiles: Profiles) -> str:
    """Images a second of inference alone, by batch size."""
    columns = [f"{name} {device}" for name in capacity.GENERATORS for device in ("core", "GPU")]
    head = ["images in a batch", *(f"`{column.replace(' ', '`, ')}" for column in columns)]
    rows = [
        [str(row["size"]), *(f"{_number(row[column])}" for column in columns)] for row in capacity.batch_rows(profiles)
    ]
    return table(head, rows)


def gpu(profiles: Profiles) -> str:
    """A GPU beside cores, and what one process does with it."""
    head = [
        "generator",
        "full batches",
        "as many as",
        "GPU busy, one process",
        f"its host's {capacity.GPU_HOST_CORES} cores",
        "a full queue lasts",
    ]
    rows = [
        [
            f"`{row['generator']}`",
            f"{_number(row['images'])}/s",
            f"{_number(row['cores'])} cores",
            f"{row['needed']:.0%}",
            f"{row['host']:.0%}",
            f"{row['queue_seconds'] * 1000:.0f} ms",
        ]
        for row in capacity.gpu_rows(profiles)
    ]
    return table(head, rows)


def costs(profiles: Profiles, rules: Rules) -> str:
    """What a million images cost."""
    head = ["generator", "replica", "computing", "sending", "both", *(f"CDN, {rate:.0%} hits" for rate in HIT_RATES)]
    rows = []
    for row in capacity.cost_rows(profiles, rules):
        both = None if row["computing"] is None else row["computing"] + row["egress"]
        cached = [_usd(capacity.cached_cost(row, rate)) for rate in HIT_RATES]
        costs = [_usd(row["computing"]), _usd(row["egress"]), _usd(both), *cached]
        rows.append([f"`{row['generator']}`", row["replica"], *costs])
    return table(head, rows)


def prices() -> str:
    """The assumed prices."""
    rows = [
        ["a core for an hour, with its share of memory", _usd(assumptions.USD_PER_CORE_HOUR)],
        ["an H200 for an hour, with its share of a host", _usd(assumptions.USD_PER_GPU_HOUR)],
        ["a gigabyte from the region to the internet", _usd(assumptions.USD_PER_EGRESS_GB)],
        ["a gigabyte from the CDN", _usd(assumptions.USD_PER_CDN_GB)],
        ["a million requests to the CDN", _usd(assumptions.USD_PER_MILLION_CDN_REQUESTS)],
    ]
    return table(["assumed price", "USD"], rows)


def lru() -> str:
    """The hit rates of LRU caches: simulated, and by Che's approximation."""
    head = ["exponent", *(f"{share:.1%} of the images" for share in CACHE_SHARES)]
    rows = []
    for exponent in EXPONENTS:
        images = cache.zipf(CATALOGUE, exponent)
        asked = cache.requests(images, REQUESTS, seed=0).tolist()
        cells = []
        for share in CACHE_SHARES:
            entries = int(share * CATALOGUE)
            simulated = cache.lru_hit_rate(asked, entries, WARM_UP)
            cells.append(f"{simulated:.1%} ({cache.che_hit_rate(images, entries):.1%})")
        rows.append([f"{exponent:g}", *cells])
    return table(head, rows)


def misses() -> str:
    """What a cache of any size misses: first requests, and expired images."""
    head = [
        "exponent",
        "first million requests, one cache",
        f"{EDGES} caches that share nothing",
        f"no `version`: expires after {EXPIRY_SECONDS} s, {EXPIRY_RATE:.0f} requests/s",
    ]
    rows = []
    for exponent in EXPONENTS:
        images = cache.zipf(CATALOGUE, exponent)
        rates = (
            cache.unbounded_hit_rate(images, capacity.MILLION),
            cache.unbounded_hit_rate(images, capacity.MILLION, EDGES),
            cache.expiring_hit_rate(images, EXPIRY_RATE, EXPIRY_SECONDS),
        )
        rows.append([f"{exponent:g}", *(f"{rate:.1%}" for rate in rates)])
    return table(head, rows)


def agreement() -> str:
    """The simulated replica beside the measured one."""
    head = ["load", "goodput", "p50", "p99", "rejected"]
    rows = []
    for measured in validation.MEASURED:
        found = validation.simulated(measured.load)
        pairs = (
            (f"{measured.goodput:.0f}/s", f"{found.goodput:.0f}/s"),
            (f"{measured.p50 * 1000:.0f} ms", f"{found.p50 * 1000:.0f} ms"),
            (f"{measured.p99 * 1000:.0f} ms", f"{found.p99 * 1000:.0f} ms"),
            (f"{measured.rejected:.0%}", f"{found.rejected:.0%}"),
        )
        rows.append([f"{measured.load:.0%}", *(f"{real} · {simulated}" for real, simulated in pairs)])
    return table(head, rows)


def targets(results: Sequence[Result]) -> str:
    """How the loads went with each set of rules."""
    loads = list(dict.fromkeys(result.load for result in results))
    rows = []
    for rules in dict.fromkeys(result.rules for result in results):
        by_load = {result.load: result for result in results if result.rules == rules}
        rows.append([rules, *(target_cell(by_load[load]) for load in loads)])
    return table(["rules", *loads], rows)


def target_cell(result: Result) -> str:
    """Returns one load with one set of rules: p99, share failed, minutes and the most of the replicas."""
    late = f"{result.p99:.2f} s" if result.p99 < float("inf") else "no answer"
    mark = "" if result.holds else "**✗** "
    return f"{mark}{late}, {result.failed:.2%}, {result.replica_seconds / 60:.0f} min, {result.most_replicas}"


def growth(profiles: Profiles, rules: Rules) -> str:
    """The share of each limit that ×1 … ×1000 needs."""
    base = limits.base_rate(profiles, rules)
    rows = [
        ["requests a second", *(_number(base * factor) for factor in limits.FACTORS), ""],
        [
            "replicas of 2 cores",
            *(_number(limits.replicas(profiles, rules, base * factor)) for factor in limits.FACTORS),
            "",
        ],
    ]
    for limit in limits.limits(profiles, rules):
        shares = [limit.share(base * factor) for factor in limits.FACTORS]
        cells = [
            f"**{share:.0%}**" if share > 1 else f"{share:.1%}" if share < 0.1 else f"{share:.0%}" for share in shares
        ]
        rows.append([limit.name, *cells, limit.way_out])
    follow = [f"{limits.seconds_to_follow(rules, factor):.0f} s" for factor in limits.FACTORS]
    leave = [f"{limits.seconds_to_leave(profiles, rules, factor) / 60:.0f} min" for factor in limits.FACTORS]
    month = [f"${_number(limits.usd_per_month(profiles, rules, base * factor))}" for factor in limits.FACTORS]
    rows.append(["replicas follow within", *follow, "start them before the load comes"])
    rows.append(["replicas are gone after", *leave, "a `Percent` policy for scaling down"])
    rows.append(["computing and sending, a month", *month, ""])
    return table(["of the limit", *(f"×{factor}" for factor in limits.FACTORS), "way out"], rows)


def places(rules: Rules) -> str:
    """One to three regions: round trips, and the load after a loss."""
    rows = []
    target = capacity.cpu_target(rules)
    for chosen in assumptions.REGIONS:
        mean, longest = regions.round_trips(chosen)
        loss = "nobody is left"
        if len(chosen) > 1:
            factor = regions.load_after_loss(len(chosen))
            loss = f"×{factor:g}: {target * factor:.0%} of the processor until replicas follow"
        rows.append([", ".join(chosen), f"{mean * 1000:.0f} ms", f"{longest * 1000:.0f} ms", loss])
    return table(["regions", "round trip, mean", "longest", "load of the others if one is lost"], rows)
