"""What a core, a machine and a GPU serve, and what a million images cost."""

import math
from typing import Any

from benchmarks.scaling import assumptions
from benchmarks.scaling.autoscaler import Rules
from benchmarks.scaling.profiles import Profiles
from benchmarks.scaling.prometheus import CPU
from benchmarks.scaling.replica import Device
from serving.config.settings import Settings

GENERATORS = ("digits", "cifar10")
REPLICA_CORES = 2
BOX_CORES = 16
GPU_HOST_CORES = 4
MILLION = 1_000_000

Row = dict[str, Any]


def cpu_target(rules: Rules) -> float:
    """Returns the share of the processor at which the autoscaler keeps replicas."""
    (target,) = (trigger.threshold for trigger in rules.triggers if trigger.query == CPU)
    return target / 100


def requests_per_process(profiles: Profiles) -> float:
    """Returns the most requests a second that one process answers, whatever its cores: the interpreter's lock.

    The smallest generator spends next to nothing outside of Python, so a request's whole processor time holds the lock.
    """
    seconds = profiles.cpu.generators["tiny"].request_seconds
    assert seconds is not None
    return 1 / seconds


def requests_per_core(profiles: Profiles, generator: str) -> float:
    """Returns the requests for one PNG a second for which one core has time."""
    seconds = profiles.cpu.generators[generator].request_seconds
    assert seconds is not None
    return 1 / seconds


def serving_rows(profiles: Profiles) -> list[Row]:
    """Returns a row for each generator: requests for one PNG a second, by machine."""
    process = requests_per_process(profiles)
    rows = []
    for generator in GENERATORS:
        core = requests_per_core(profiles, generator)
        rows.append(
            {
                "generator": generator,
                "core": core,
                "replica": min(REPLICA_CORES * core, process),
                "box": BOX_CORES * core,
                "box_processes": math.ceil(BOX_CORES * core / process),
                "gpu": gpu_requests(profiles, generator),
            }
        )
    return rows


def gpu_requests(profiles: Profiles, generator: str) -> float | None:
    """Returns the requests a second of one GPU and one process: the slower of the two. None if none was measured."""
    device = profiles.gpu_device(generator, GPU_HOST_CORES)
    return None if device is None else min(device.capacity, requests_per_process(profiles))


def gpu_rows(profiles: Profiles) -> list[Row]:
    """Returns a row for each generator: a GPU beside cores, and what its host and a full queue mean to it.

    No row if no GPU was measured.
    """
    process, queue = requests_per_process(profiles), Settings.model_fields["queue_images"].default
    rows = []
    for generator in GENERATORS:
        device = profiles.gpu_device(generator, GPU_HOST_CORES)
        if device is None:
            continue
        core = profiles.cpu.generators[generator].batch_seconds
        rows.append(
            {
                "generator": generator,
                "images": device.capacity,
                "cores": device.capacity * core[max(core)] / max(core),
                "needed": min(1.0, process / device.capacity),
                "host": process * device.host_seconds / GPU_HOST_CORES,
                "queue_seconds": queue / device.capacity,
            }
        )
    return rows


def batch_rows(profiles: Profiles) -> list[Row]:
    """Returns a row for each batch size: images a second of inference alone, on one core and on the GPU."""
    rows = []
    for size in profiles.cpu.generators[GENERATORS[0]].batch_seconds:
        row: Row = {"size": size}
        for generator in GENERATORS:
            row[f"{generator} core"] = size / profiles.cpu.generators[generator].batch_seconds[size]
            gpu = None if profiles.gpu is None else profiles.gpu.generators[generator]
            row[f"{generator} GPU"] = None if gpu is None else size / gpu.batch_seconds[size]
        rows.append(row)
    return rows


def hours_for_a_million(device: Device, share: float, most: float = math.inf) -> float:
    """Returns a replica's hours for a million images at ``share`` of the capacity, of at most ``most`` a second."""
    return MILLION / (min(device.capacity, most) * share) / 3600


def cost_rows(profiles: Profiles, rules: Rules) -> list[Row]:
    """Returns what a million images cost, in USD: computing at the autoscaler's target, and sending them."""
    target, process = cpu_target(rules), requests_per_process(profiles)
    rows: list[Row] = []
    for generator in GENERATORS:
        sent_gb = MILLION * (profiles.image_bytes(generator) + header_bytes(profiles)) / 1e9
        devices = [
            ("2 cores", profiles.cpu_device(generator, REPLICA_CORES), REPLICA_CORES * assumptions.USD_PER_CORE_HOUR),
            ("1 GPU", profiles.gpu_device(generator, GPU_HOST_CORES), assumptions.USD_PER_GPU_HOUR),
        ]
        for name, device, price in devices:
            computing = None if device is None else price * hours_for_a_million(device, target, process)
            rows.append(
                {
                    "generator": generator,
                    "replica": name,
                    "computing": computing,
                    "egress": sent_gb * assumptions.USD_PER_EGRESS_GB,
                    "cdn": assumptions.USD_PER_MILLION_CDN_REQUESTS + sent_gb * assumptions.USD_PER_CDN_GB,
                }
            )
    return rows


def header_bytes(profiles: Profiles) -> int:
    """Returns the bytes of a response beside its image: its head, and TCP's and TLS's."""
    assert profiles.cpu.service is not None
    return profiles.cpu.service.header_bytes + assumptions.TRANSPORT_BYTES


def cached_cost(row: Row, hit_rate: float) -> float | None:
    """Returns the cost of a million images behind a CDN: those that it has not are computed and sent to it."""
    if row["computing"] is None:
        return None
    return float(row["cdn"] + (1 - hit_rate) * (row["computing"] + row["egress"]))
