"""Writes the tables and pictures of ``docs/scaling.md``: ``python -m benchmarks.scaling.document``.

A table stands between two comments, ``<!-- NAME -->`` and ``<!-- end of NAME -->``; the rest of the page is written by
hand. It takes five minutes of two cores.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.scaling import tables
from benchmarks.scaling.autoscaler import Rules, shipped_rules
from benchmarks.scaling.capacity import REPLICA_CORES
from benchmarks.scaling.cluster import Trace
from benchmarks.scaling.limits import GENERATOR
from benchmarks.scaling.loads import Load
from benchmarks.scaling.pictures import draw_autoscaling, draw_cache
from benchmarks.scaling.profiles import Profiles, load_profiles
from benchmarks.scaling.replica import Device
from benchmarks.scaling.tuning import (
    LOADS,
    REQUEST_IMAGES,
    START_REPLICAS,
    TOO_MUCH,
    Result,
    cpu_rules,
    safety_rules,
    simulate,
    try_rules,
    with_cpu_target,
)
from serving.config.cores import usable_cores

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"
DRAWN = ("steps ×2", "spikes ×2")


def replica(profiles: Profiles) -> Device:
    """Returns the replica that is simulated: the overlay ``cpu`` with the larger generator that ships."""
    return profiles.cpu_device(GENERATOR, REPLICA_CORES)


def quick_tables(profiles: Profiles, rules: Rules) -> dict[str, str]:
    """Returns the tables that take no long simulation, by name."""
    return {
        "serving": tables.serving(profiles),
        "batches": tables.batches(profiles),
        "gpu": tables.gpu(profiles),
        "prices": tables.prices(),
        "costs": tables.costs(profiles, rules),
        "misses": tables.misses(),
        "growth": tables.growth(profiles, rules),
        "places": tables.places(rules),
    }


def tuning_tables(cpu: list[Result], safety: list[Result]) -> dict[str, str]:
    """Returns the tables of the autoscaler's rules."""
    return {"cpu targets": tables.targets(cpu), "safety nets": tables.targets(safety)}


def written(text: str, made: Mapping[str, str]) -> str:
    """Returns a page with its tables replaced. Raises ``ValueError`` for a table that the page does not have."""
    for name, table in made.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{DOCUMENT.name} has no place for the table {name!r}: add <!-- {name} -->.")
        text = pattern.sub(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", text)  # type: ignore[misc]
    return text


def drawn_runs(device: Device, rules: Rules) -> dict[str, tuple[Load, dict[str, Trace]]]:
    """Returns the traces that the picture compares: the shipped rules, and those without the processor."""
    compared = {"as shipped": rules, "the queue alone": with_cpu_target(rules, None)}
    return {
        name: (
            LOADS[name](START_REPLICAS * device.capacity / REQUEST_IMAGES),
            {title: simulate(device, chosen, name) for title, chosen in compared.items()},
        )
        for name in DRAWN
    }


def main() -> None:
    """Writes the page."""
    profiles, rules = load_profiles(), shipped_rules()
    device = replica(profiles)
    cpu = try_rules(device, cpu_rules(), usable_cores())
    safety = try_rules(device, safety_rules(), usable_cores(), TOO_MUCH)
    made = quick_tables(profiles, rules) | tuning_tables(cpu, safety)
    made |= {"lru": tables.lru(), "agreement": tables.agreement()}
    DOCUMENT.write_text(written(DOCUMENT.read_text(), made))
    draw_cache(DOCUMENT.with_name("scaling-cache.png"))
    draw_autoscaling(DOCUMENT.with_name("scaling-autoscaling.png"), device, drawn_runs(device, rules))


if __name__ == "__main__":
    main()
