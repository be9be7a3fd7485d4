"""Computes and simulates what several machines serve, cost and bear. See ``docs/scaling.md``."""

import json
from dataclasses import asdict
from pathlib import Path

from benchmarks.scaling import capacity, tables
from benchmarks.scaling.autoscaler import shipped_rules
from benchmarks.scaling.document import drawn_runs, quick_tables, replica, tuning_tables
from benchmarks.scaling.pictures import draw_autoscaling, draw_cache
from benchmarks.scaling.profiles import load_profiles
from benchmarks.scaling.replica import Device
from benchmarks.scaling.tuning import TOO_MUCH, choose, cpu_rules, safety_rules, try_rules
from serving.config.cores import usable_cores

_SMOKE_SLOWER = 100
"""Fewer requests for the same replicas."""


def run(smoke: bool, out: Path) -> None:
    """Prints the tables, and writes ``scaling.json`` and two pictures."""
    profiles, rules = load_profiles(), shipped_rules()
    device = replica(profiles)
    if smoke:
        slow = {size: seconds * _SMOKE_SLOWER for size, seconds in device.inference_seconds.items()}
        device = Device(slow, device.host_seconds * _SMOKE_SLOWER, device.cores)
    cpu = try_rules(device, cpu_rules(), usable_cores())
    safety = try_rules(device, safety_rules(), usable_cores(), TOO_MUCH)
    made = quick_tables(profiles, rules) | tuning_tables(cpu, safety)
    if not smoke:
        made |= {"lru": tables.lru(), "agreement": tables.agreement()}
    for name, table in made.items():
        print(f"\n{name}\n{table}", flush=True)
    print(f"\nThe cheapest target of the processor that keeps both objectives: {choose(cpu) or 'none'}", flush=True)
    draw_cache(out / "scaling-cache.png", tables.CATALOGUE // 50 if smoke else tables.CATALOGUE)
    draw_autoscaling(out / "scaling-autoscaling.png", device, drawn_runs(device, rules))
    results = {
        "serving": capacity.serving_rows(profiles),
        "costs": capacity.cost_rows(profiles, rules),
        "cpu_targets": [asdict(result) for result in cpu],
        "safety_nets": [asdict(result) for result in safety],
    }
    (out / "scaling.json").write_text(json.dumps(results, indent=2) + "\n")
