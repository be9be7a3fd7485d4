"""Starts to load the bundles in a thread of its own, beside whatever else the start of the process does."""

from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache, partial

from serving.config.settings import Settings
from serving.inference.device import Devices, Hardware
from serving.loading.loader import BundleLoader, LoadResult
from serving.loading.opening import open_bundle
from serving.loading.source import open_source
from serving.process.worker import start_in_daemon_thread

LOAD_THREAD = "load"
"""The name of the thread that polls the folder of bundles."""


@dataclass
class StartedLoad:
    """A loader whose first poll is running: ``first`` is its result, until it is taken. One poll runs at a time."""

    devices: Devices
    loader: BundleLoader
    first: Future[LoadResult] | None

    def next_poll(self) -> Future[LoadResult]:
        """Returns the first poll, or starts another one. Keeps neither: a result holds engines, and so their memory."""
        first, self.first = self.first, None
        return first or start_in_daemon_thread(self.loader.poll, LOAD_THREAD)


def start_loading(settings: Settings, devices: Devices) -> StartedLoad:
    """Starts to load all bundles, and returns at once."""
    opener = partial(open_bundle, devices=devices, max_batch=settings.max_batch)
    source = open_source(settings.models, settings.models_cache)
    loader = BundleLoader(source, opener, threads=settings.intra_op_threads)
    return StartedLoad(devices, loader, start_in_daemon_thread(loader.poll, LOAD_THREAD))


@cache
def load_for_process(settings: Settings, worker: int) -> StartedLoad:
    """Returns the load of this process: the first call starts it. ``worker`` is BentoML's number, from 1.

    Every worker sees all GPUs, and takes the one of its number.
    """
    hardware = Hardware(settings.intra_op_threads, worker - 1, settings.cuda_graphs)
    return start_loading(settings, Devices(settings.device, hardware))
