"""A bundle as a running generator: noise, labels and truncation in, uint8 images out, in padded batches.

Why an image is the same alone and in any batch, bit for bit, on the CPU: ONNX Runtime packs constant weights
once, and its kernels then add up each row in the same order however many rows there are. Weights that a graph
computes cannot be packed, and a batch of one takes another kernel whose sums differ in the last bit. So the
smaller batch sizes are used only if they are seen, before the engine is ready, to give the images of the largest.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle, Card, Tensor, check_signature
from models.noise import labels_for_seeds, noise_for_seeds
from serving.inference.device import CPU, SHORT_NAME, Devices, Hardware, Session

logger = logging.getLogger("figment.engine")

_ONNX_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}

# How much is compared for a batch of one, and while that differs for two and three. Sums that differ in the last bit
# change but one pixel in some fifty thousand, so small images are compared by the hundred. Beyond, no other kernel is
# expected: the kernels for few rows are found out by the fewest.
_COMPARED_VALUES = 2**19
_COMPARED_IMAGES = (16, 512)
_LARGEST_SUSPECT = 3
_COMPARED_UNSUSPECTED = 16

# A largest batch that one thread makes in this time gains nothing from a second one but the cost of waking it.
_ONE_THREAD_SECONDS = 0.003

_MOST_PADDING = 8  # that is, one image in so many

Images = NDArray[np.uint8]

# Calls a function with each of some numbers, like ``map``, and perhaps at the same time.
RunAll = Callable[[Callable[[int], Images], range], Iterator[Images]]


@dataclass(slots=True)
class Inputs:
    """What N images are made of: noise float32 [N, Z], label int64 [N] or none, truncation float32 [N]."""

    noise: NDArray[np.float32]
    label: NDArray[np.int64] | None
    truncation: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.noise)

    def part(self, start: int, stop: int) -> "Inputs":
        """The images ``start`` … ``stop``."""
        label = None if self.label is None else self.label[start:stop]
        return Inputs(self.noise[start:stop], label, self.truncation[start:stop])


@dataclass(slots=True)
class PaddedBatch:
    """A batch as the graph takes it, padded, and how many of its images are wanted."""

    feed: dict[str, NDArray[Any]]
    count: int


def bucket_sizes(max_batch: int) -> tuple[int, ...]:
    """The batch sizes in use: 1, 2, 3, 4, 6, 8, 12, … and ``max_batch``. At most a third of a batch is padding."""
    sizes = {max_batch}
    power = 1
    while power < max_batch:
        sizes |= {power, min(max_batch, power * 3 // 2)}
        power *= 2
    return tuple(sorted(sizes))


class Engine:
    """One generator on one device.

    On a GPU, one thread at a time runs it. On a CPU, ``parallel`` threads may: each batch is computed by one core, so
    that none waits for another at the end of every operator, and a core that has other things to do delays its own
    batch alone. Only a batch that would leave cores idle is computed by all of them.
    """

    def __init__(
        self,
        card: Card,
        session: Session,
        provider: str,
        max_batch: int,
        hardware: Hardware,
        open_wide: Callable[[], Session] | None = None,
    ) -> None:
        """Checks that the graph is the card's, and warms every batch size up.

        On a CPU ``session`` is to have one thread; ``open_wide`` opens one with a thread for each core, if there are
        several.

        Raises ``BundleError`` if the graph is not the card's.
        """
        check_signature(card, _tensors(session.get_inputs()), _tensors(session.get_outputs()))
        self.card = card
        self.provider = SHORT_NAME[provider]
        self.parallel = 1
        self._session = session
        self._multithreaded_session: Session | None = None
        self._bound: dict[int, _Bound] = {}
        self._hardware = hardware
        self._on_gpu = provider != CPU
        self.buckets = bucket_sizes(max_batch)
        self._batch_seconds = math.inf
        if self._on_gpu:
            self._warm_up_gpu()
        else:
            self._warm_up_cpu(open_wide)

    @property
    def max_batch(self) -> int:
        """The images that one run can make."""
        return self.buckets[-1]

    def padding(self, images: int) -> int:
        """The images that a batch of this size is filled up with."""
        return next(size for size in self.buckets if size >= images) - images

    def room(self, waiting: int) -> int:
        """How many images the next batch should take of those that wait.

        A GPU makes a batch that is filled up as fast as a smaller one. A CPU's time goes with the size: there, a batch
        that would be filled up by more than an eighth is cut to the size below, and the rest goes with the next.
        """
        if self._on_gpu or waiting >= self.max_batch:
            return self.max_batch
        padding = self.padding(waiting)
        if padding * _MOST_PADDING <= waiting + padding:
            return waiting
        return max((size for size in self.buckets if size < waiting), default=waiting)

    def join(self, parts: Sequence[Inputs]) -> PaddedBatch:
        """One batch of all parts, of at most ``max_batch`` images in all. Any thread may do that, and ahead of time."""
        count = sum(map(len, parts))
        return PaddedBatch(self._padded(parts, count + self.padding(count)), count)

    def run(self, batch: PaddedBatch, device_idle: bool = False) -> Images:
        """The images of a batch, uint8 [N, H, W, C]; ``device_idle`` says that the device has nothing else to do."""
        if self._on_gpu:
            return self._run_bound(batch.feed)[: batch.count]
        session = (
            self._multithreaded_session if device_idle and self._multithreaded_session is not None else self._session
        )
        return _run(session, batch.feed)[: batch.count]

    def _padded(self, parts: Sequence[Inputs], size: int) -> dict[str, NDArray[Any]]:
        feed: dict[str, NDArray[Any]] = {
            "noise": np.zeros((size, self.card.noise_dim), np.float32),
            "truncation": np.ones(size, np.float32),
        }
        if self.card.labels:
            feed["label"] = np.zeros(size, np.int64)
        row = 0
        for part in parts:
            end = row + len(part)
            feed["noise"][row:end] = part.noise
            feed["truncation"][row:end] = part.truncation
            if part.label is not None:
                feed["label"][row:end] = part.label
            row = end
        return feed

    def _run_bound(self, feed: dict[str, NDArray[Any]]) -> Images:
        size = len(feed["noise"])
        if size not in self._bound:
            self._bound[size] = _Bound(self._session, self.card, feed, "cuda", self._hardware)
        return self._bound[size].run(feed)

    def _warm_up_gpu(self) -> None:
        """Runs every size once: a GPU's images are not promised to be the same to the bit."""
        inputs = self._inputs_of(1)
        for size in reversed(self.buckets):
            self._run_bound(self._padded([inputs], size))

    def _warm_up_cpu(self, open_wide: Callable[[], Session] | None) -> None:
        """Runs every size, and keeps those that give the images of the largest."""
        image, threads = self.card.image, self._hardware.intra_op_threads
        compared = -(-_COMPARED_VALUES // (image.height * image.width * image.channels))
        inputs = self._inputs_of(min(max(compared, _COMPARED_IMAGES[0]), _COMPARED_IMAGES[1]))
        with ThreadPoolExecutor(threads) as pool:
            reference = self._in_batches_of(self.max_batch, inputs, self._session, pool.map)

            def is_exact(size: int, suspect: bool, session: Session, run_all: RunAll) -> bool:
                some = inputs if suspect else inputs.part(0, max(size, _COMPARED_UNSUSPECTED))
                return np.array_equal(self._in_batches_of(size, some, session, run_all), reference[: len(some)])

            smaller: list[int] = []
            for size in self.buckets[:-1]:
                suspect = not smaller and size <= _LARGEST_SUSPECT
                if is_exact(size, suspect, self._session, pool.map):
                    smaller.append(size)
        if len(smaller) + 1 < len(self.buckets):
            filled_up = ", ".join(str(size) for size in self.buckets[:-1] if size not in smaller)
            logger.info(
                "%s/%d: batches of %s are filled up, since alone their images differ from those of larger batches",
                self.card.name,
                self.card.version,
                filled_up,
            )
        self.buckets = (*smaller, self.max_batch)
        if threads == 1 or open_wide is None or self._batch_seconds < _ONE_THREAD_SECONDS:
            return
        self.parallel = threads
        wide = open_wide()
        sizes = {count + self.padding(count) for count in range(1, min(threads, self.max_batch + 1))}
        if all(is_exact(size, False, wide, map) for size in sizes):
            self._multithreaded_session = wide

    def _inputs_of(self, count: int) -> Inputs:
        label = labels_for_seeds(range(count), len(self.card.labels)) if self.card.labels else None
        return Inputs(noise_for_seeds(range(count), self.card.noise_dim), label, np.ones(count, np.float32))

    def _in_batches_of(self, size: int, inputs: Inputs, session: Session, run_all: RunAll) -> Images:
        """All images, each batch filled up to just this size."""

        def batch(start: int) -> Images:
            part = inputs.part(start, min(start + size, len(inputs)))
            started = time.perf_counter()
            images = _run(session, self._padded([part], size))[: len(part)]
            if size == self.max_batch:
                self._batch_seconds = min(self._batch_seconds, time.perf_counter() - started)
            return images

        return np.concatenate([*run_all(batch, range(0, len(inputs), size))])


def _run(session: Session, feed: dict[str, NDArray[Any]]) -> Images:
    images: Images = session.run(["images"], feed)[0]
    return images


class _Bound:
    """The buffers of one batch size on the device, bound once: their addresses never change."""

    def __init__(
        self, session: Session, card: Card, feed: dict[str, NDArray[Any]], device: str, hardware: Hardware
    ) -> None:
        from onnxruntime import OrtValue, RunOptions

        self._session = session
        self._options = RunOptions()
        if hardware.cuda_graphs:
            # A recorded graph is of one shape and of these very addresses. The first run records it.
            self._options.add_run_config_entry("gpu_graph_id", str(len(feed["noise"])))
        self._binding = session.io_binding()
        self._inputs = {name: OrtValue.ortvalue_from_numpy(array, device, hardware.gpu) for name, array in feed.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        shape = [len(feed["noise"]), card.image.height, card.image.width, card.image.channels]
        self._images = OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, device, hardware.gpu)
        self._binding.bind_ortvalue_output("images", self._images)

    def run(self, feed: dict[str, NDArray[Any]]) -> Images:
        for name, array in feed.items():
            self._inputs[name].update_inplace(array)
        self._session.run_with_iobinding(self._binding, self._options)
        # The next run writes into the same buffer.
        images: Images = np.array(self._images.numpy())
        return images


def open_engine(bundle: Bundle, devices: Devices, max_batch: int) -> Engine:
    """A bundle's generator, checked and warm, on the device that was asked for.

    Raises ``BundleError`` if its graph is not what its card says, ``DeviceError`` if the device cannot be used.
    """

    def open_wide() -> Session:
        return devices.session(bundle.onnx, CPU)

    def prepare(session: Session, provider: str) -> Engine:
        return Engine(bundle.card, session, provider, max_batch, devices.hardware, open_wide)

    return devices.open(bundle.onnx, prepare, threads=1)


def _tensors(nodes: Sequence[Any]) -> list[Tensor]:
    return [Tensor(node.name, _ONNX_TYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes]
