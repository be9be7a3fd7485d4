"""Runs a bundle's generator: takes noise, labels and truncation, returns uint8 images, in padded batches.

On the CPU, an image is the same alone and in any batch, bit for bit. ONNX Runtime packs constant weights once, and its
kernels then add up each row in the same order, whatever the number of rows. Weights that a graph computes cannot be
packed, and a batch of one then takes another kernel, whose sums differ in the last bit. So the engine compares all
smaller batch sizes with the largest before it is ready. It uses only those that give the same images.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bundle import GENERATOR_FILE, Bundle, BundleError, Card, Tensor, check_signature
from models.noise import DEFAULT_TRUNCATION, labels_for_seeds, noise_for_seeds
from models.onnx_nan import NAN_OUTPUT
from serving.inference.batching import padded_size, preferred_size
from serving.inference.device import CPU, PROVIDER_NAMES, Devices, Hardware, Session

logger = logging.getLogger("figment.engine")

_ONNX_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}

# A batch of one is compared thoroughly, and batches of two and three as long as smaller ones differ. Sums that differ
# in the last bit change about one pixel in fifty thousand, so hundreds of small images are needed. Larger batches are
# compared briefly: if a kernel for few rows exists, the smallest batches show it.
_COMPARED_VALUES = 3 * 2**17  # of which eight would differ
_MIN_COMPARED_IMAGES, _MAX_COMPARED_IMAGES = 16, 512
_LARGEST_SUSPECT = 3
_BRIEFLY_COMPARED_IMAGES = 16

# If one thread runs the largest batch in this time, waking a second thread costs more than it gains.
_ONE_THREAD_SECONDS = 0.003

Images = NDArray[np.uint8]

# A batch of the warm-up: its size, and the first of its images.
_Job = tuple[int, int]

# Calls a function with each batch, like ``map``, and may do so in several threads.
MapBatches = Callable[[Callable[[_Job], Images], Iterable[_Job]], Iterator[Images]]


@dataclass(slots=True)
class Inputs:
    """The inputs of N images: noise float32 [N, Z], label int64 [N] or None, truncation float32 [N]."""

    noise: NDArray[np.float32]
    label: NDArray[np.int64] | None
    truncation: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.noise)

    def part(self, start: int, stop: int) -> "Inputs":
        """Returns the inputs of the images ``start`` … ``stop``."""
        label = None if self.label is None else self.label[start:stop]
        return Inputs(self.noise[start:stop], label, self.truncation[start:stop])


@dataclass(slots=True)
class PaddedBatch:
    """The graph's inputs, padded to a batch size in use, and the number of images without padding."""

    feed: dict[str, NDArray[Any]]
    count: int


def bucket_sizes(max_batch: int) -> tuple[int, ...]:
    """Returns the batch sizes 1, 2, 3, 4, 6, 8, 12, … and ``max_batch``. At most a third of a batch is padding."""
    sizes = {max_batch}
    power = 1
    while power < max_batch:
        sizes |= {power, min(max_batch, power * 3 // 2)}
        power *= 2
    return tuple(sorted(sizes))


class Engine:
    """One generator on one device.

    A GPU runs one batch at a time. A CPU runs ``parallel_batches``, each on one core. So no core waits for another at
    the end of an operator, and a core with other work delays only its own batch. All cores compute a batch together
    only if they would be idle otherwise.
    """

    def __init__(
        self,
        card: Card,
        session: Session,
        provider: str,
        max_batch: int,
        hardware: Hardware,
        open_multithreaded: Callable[[], Session] | None = None,
        map_batches: MapBatches = map,
    ) -> None:
        """Checks the graph against the card, and runs every batch size once.

        On a CPU, ``session`` must have one thread, and ``map_batches`` runs batches side by side.
        ``open_multithreaded`` opens a session with a thread for each core.

        Raises ``BundleError`` if the graph does not fit the card.
        """
        outputs = session.get_outputs()
        declared = [output for output in outputs if output.name != NAN_OUTPUT]
        check_signature(card, _tensors(session.get_inputs()), _tensors(declared))
        self.card = card
        self.provider = PROVIDER_NAMES[provider]
        self.parallel_batches = 1
        self._session = session
        self._outputs = ["images", NAN_OUTPUT][: len(outputs)]
        self._multithreaded_session: Session | None = None
        self._buffers: dict[int, _BoundBuffers] = {}
        self._hardware = hardware
        self._on_gpu = provider != CPU
        self.buckets = bucket_sizes(max_batch) if card.batch_size is None else (card.batch_size,)
        self._largest_batch_seconds = math.inf
        if self._on_gpu:
            self._warm_up_gpu()
        else:
            self._warm_up_cpu(open_multithreaded, map_batches)

    @property
    def max_batch(self) -> int:
        """Returns the largest number of images in one run."""
        return self.buckets[-1]

    def padding(self, images: int) -> int:
        """Returns the number of padding images for a batch of this number of images."""
        return padded_size(self.buckets, images) - images

    def preferred_batch(self, waiting: int) -> int:
        """Returns how many of the waiting images the next batch should take: see ``preferred_size``."""
        return preferred_size(self.buckets, waiting, self._on_gpu)

    def pad(self, parts: Sequence[Inputs]) -> PaddedBatch:
        """Joins parts of at most ``max_batch`` images to one padded batch. Any thread may call this."""
        count = sum(map(len, parts))
        return PaddedBatch(self._feed(parts, count + self.padding(count)), count)

    def run(self, batch: PaddedBatch, device_idle: bool = False) -> Images:
        """Returns a batch's images, uint8 [N, H, W, C]. ``device_idle``: no other batch runs, so all cores may help.

        Raises ``BundleError`` if an image has NaN among its values. On a GPU, such an image is black or white.
        """
        if self._on_gpu:
            return self._run_bound(batch.feed)[: batch.count]
        session = (
            self._multithreaded_session if device_idle and self._multithreaded_session is not None else self._session
        )
        images, has_nan = self._run_checked(session, batch.feed)
        # Padding may be NaN. A graph whose values have another first axis cannot say which image they belong to.
        if has_nan[: batch.count if len(has_nan) == len(images) else None].any():
            raise BundleError(f"{self.card.name}/{self.card.version}: {GENERATOR_FILE} computes NaN")
        return images[: batch.count]

    def _feed(self, parts: Sequence[Inputs], size: int) -> dict[str, NDArray[Any]]:
        feed: dict[str, NDArray[Any]] = {
            "noise": np.zeros((size, self.card.noise_dim), np.float32),
            "truncation": np.full(size, DEFAULT_TRUNCATION, np.float32),
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
        if size not in self._buffers:
            self._buffers[size] = _BoundBuffers(self._session, self.card, feed, "cuda", self._hardware)
        return self._buffers[size].run(feed)

    def _run_checked(self, session: Session, feed: dict[str, NDArray[Any]]) -> tuple[Images, NDArray[np.float32]]:
        """Returns the images of a run on the CPU, and which of them have NaN among their values.

        Raises ``BundleError`` if they have another shape than declared: ONNX Runtime does not compare them. A GPU's
        buffers have the card's shape and admit no other.
        """
        images, *has_nan = session.run(self._outputs, feed)
        image = self.card.image
        expected = (len(feed["noise"]), image.height, image.width, image.channels)
        if images.shape != expected:
            raise BundleError(
                f"{self.card.name}/{self.card.version}: {GENERATOR_FILE} generates images of the shape "
                f"{list(images.shape)} instead of {list(expected)}, which it declares"
            )
        return images, has_nan[0] if has_nan else np.zeros(len(images), np.float32)

    def _warm_up_gpu(self) -> None:
        """Runs every size once. Compares none: on a GPU, images may differ between batch sizes in the last bit."""
        inputs = self._warm_up_inputs(1)
        for size in reversed(self.buckets):
            self._run_bound(self._feed([inputs], size))

    def _warm_up_cpu(self, open_multithreaded: Callable[[], Session] | None, map_batches: MapBatches) -> None:
        """Runs every size, and keeps the sizes that give the images of the largest."""
        image, threads = self.card.image, self._hardware.intra_op_threads
        compared = -(-_COMPARED_VALUES // (image.height * image.width * image.channels))
        inputs = self._warm_up_inputs(min(max(compared, _MIN_COMPARED_IMAGES), _MAX_COMPARED_IMAGES))
        thorough, brief = len(inputs), {size: max(size, _BRIEFLY_COMPARED_IMAGES) for size in self.buckets}
        counts = brief | {self.buckets[0]: thorough, self.max_batch: thorough}
        images = self._run_in_batches(counts, inputs, self._session, map_batches)
        reference = images[self.max_batch]

        def exact(images: Mapping[int, Images]) -> set[int]:
            return {size for size, some in images.items() if np.array_equal(some, reference[: len(some)])}

        sizes = exact(images)
        for suspect in range(2, min(_LARGEST_SUSPECT, self.max_batch - 1) + 1):
            if min(sizes) == suspect:
                sizes -= {suspect}
                sizes |= exact(self._run_in_batches({suspect: thorough}, inputs, self._session, map_batches))
        if padded := sorted({*self.buckets} - sizes):
            logger.info(
                "%s/%d: batches of %s are padded, since their images would differ from those of larger batches",
                self.card.name,
                self.card.version,
                ", ".join(map(str, padded)),
            )
        self.buckets = tuple(sorted(sizes))
        if threads == 1 or open_multithreaded is None or self._largest_batch_seconds < _ONE_THREAD_SECONDS:
            return
        self.parallel_batches = threads
        multithreaded = open_multithreaded()
        few = {count + self.padding(count) for count in range(1, min(threads, self.max_batch + 1))}
        if few == exact(self._run_in_batches({size: brief[size] for size in few}, inputs, multithreaded, map)):
            self._multithreaded_session = multithreaded

    def _warm_up_inputs(self, count: int) -> Inputs:
        label = labels_for_seeds(range(count), self.card.num_labels) if self.card.labels else None
        return Inputs(
            noise_for_seeds(range(count), self.card.noise_dim), label, np.full(count, DEFAULT_TRUNCATION, np.float32)
        )

    def _run_in_batches(
        self, counts: Mapping[int, int], inputs: Inputs, session: Session, map_batches: MapBatches
    ) -> dict[int, Images]:
        """Returns the first ``counts[size]`` images for each size, run in batches that are padded to this size."""

        def run(job: _Job) -> Images:
            size, start = job
            part = inputs.part(start, min(start + size, counts[size]))
            started = time.perf_counter()
            images = self._run_checked(session, self._feed([part], size))[0][: len(part)]
            if size == self.max_batch:
                self._largest_batch_seconds = min(self._largest_batch_seconds, time.perf_counter() - started)
            return images

        # The largest first, so that all threads end at about the same time.
        jobs = [
            (size, start)
            for size in sorted(counts, reverse=True)
            for start in range(0, min(counts[size], len(inputs)), size)
        ]
        images: dict[int, list[Images]] = {size: [] for size in counts}
        for (size, _), some in zip(jobs, map_batches(run, jobs), strict=True):
            images[size].append(some)
        return {size: np.concatenate(batches) for size, batches in images.items()}


class _BoundBuffers:
    """Buffers on the device for one batch size. They are bound once, and their addresses never change."""

    def __init__(
        self, session: Session, card: Card, feed: dict[str, NDArray[Any]], device: str, hardware: Hardware
    ) -> None:
        from onnxruntime import OrtValue, RunOptions

        self._session = session
        self._options = RunOptions()
        if hardware.cuda_graphs:
            # A recorded CUDA graph has one shape and these addresses. The first run records it.
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
    """Opens a bundle's generator on the configured device, and returns it checked and warmed up.

    Raises ``BundleError`` if the graph does not fit the card, ``DeviceError`` if the device cannot be used.
    """

    def open_multithreaded() -> Session:
        return devices.session(bundle.onnx, CPU)

    def prepare(session: Session, provider: str) -> Engine:
        map_batches = devices.warm_up_threads.map
        return Engine(bundle.card, session, provider, max_batch, devices.hardware, open_multithreaded, map_batches)

    return devices.open(bundle.onnx, prepare, threads=1)


def _tensors(nodes: Sequence[Any]) -> list[Tensor]:
    return [Tensor(node.name, _ONNX_TYPES.get(node.type, node.type), tuple(node.shape)) for node in nodes]
