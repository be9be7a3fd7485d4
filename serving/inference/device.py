"""Opens ONNX Runtime sessions on the configured device, and verifies that they run there.

ONNX Runtime lists CUDA as available even if its libraries cannot be loaded, and then runs on the CPU without an error.
So a provider counts as working only after a session has named it and has run.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from models.bundle import BundleError
from models.onnx_nan import with_nan_output
from serving.inference.driver import describe_driver

logger = logging.getLogger("figment.device")

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

# The names of providers in metrics and messages.
PROVIDER_NAMES = {CPU: "cpu", CUDA: "cuda", TENSORRT: "tensorrt"}

_CANDIDATES = {"auto": (CUDA, CPU), "cuda": (CUDA,), "tensorrt": (TENSORRT,), "cpu": (CPU,)}

# Per session. A generator's weights and its largest batch need far less. Without a limit, ONNX Runtime's arena never
# returns memory that it has used once, and other models on the GPU lack it.
_GPU_MEMORY_BYTES = 8 * 2**30

_CUDA_OPTIONS = {
    # The default, EXHAUSTIVE, tries every algorithm at each new shape. That takes seconds per batch size, without gain.
    "cudnn_conv_algo_search": "HEURISTIC",
    "gpu_mem_limit": str(_GPU_MEMORY_BYTES),
    "arena_extend_strategy": "kSameAsRequested",
    # TF32 keeps 10 bits of the mantissa. Images would then differ between batches by more than one step of 255.
    "use_tf32": "0",
}


class DeviceError(Exception):
    """The configured device cannot be used."""


class ProviderMissingError(DeviceError):
    """ONNX Runtime was built without the provider."""


class Session(Protocol):
    """The methods of ``onnxruntime.InferenceSession`` that the service calls."""

    def get_providers(self) -> list[str]: ...
    def get_inputs(self) -> list[Any]: ...
    def get_outputs(self) -> list[Any]: ...
    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> list[Any]: ...
    def io_binding(self) -> Any: ...
    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> None: ...


@dataclass(frozen=True)
class Hardware:
    """The cores of the CPU, or the one GPU, that a process uses.

    ``cuda_graphs`` records every batch size once and replays it, which saves the launch of each kernel. It needs graphs
    that run entirely on the GPU.
    """

    intra_op_threads: int
    gpu: int = 0
    cuda_graphs: bool = False


# Opens a session for a graph (ONNX bytes) on one provider.
Opener = Callable[[bytes, str, Hardware], Session]

T = TypeVar("T")


def open_onnxruntime(onnx: bytes, provider: str, hardware: Hardware) -> Session:
    """Opens a session on ``provider``, or silently on the CPU if the provider's libraries do not load.

    For the CPU, the graph gets the output ``NAN_OUTPUT``. On a GPU, it would be one more copy to the host.

    Raises ``ProviderMissingError`` if ONNX Runtime was built without that provider.
    """
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise ProviderMissingError(f"this build of ONNX Runtime has no {provider}")
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = hardware.intra_op_threads
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # Waking a thread for each operator takes half of a single image's time, so threads spin. They stop between two
    # batches: otherwise they would take the cores from the encoder threads.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = [provider]
    if provider == CPU:
        onnx = with_nan_output(onnx)
    else:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN in the folders where pip installs them
        gpu = {"device_id": str(hardware.gpu)}
        graphs = {"enable_cuda_graph": "1"} if hardware.cuda_graphs and provider == CUDA else {}
        providers = [(CUDA, _CUDA_OPTIONS | gpu | graphs)]
        if provider == TENSORRT:
            tensorrt_graphs = {"trt_cuda_graph_enable": "1"} if hardware.cuda_graphs else {}
            memory = {"trt_max_workspace_size": str(_GPU_MEMORY_BYTES // 2)}
            providers.insert(0, (TENSORRT, memory | gpu | tensorrt_graphs))
    session: Session = onnxruntime.InferenceSession(onnx, options, providers=providers)
    return session


class Devices:
    """Chooses the device once for all bundles, and opens sessions on it. Any thread may call its methods.

    ``device`` is the setting ``FIGMENT_DEVICE``.
    """

    def __init__(self, device: str, hardware: Hardware, opener: Opener = open_onnxruntime) -> None:
        self.hardware = hardware
        self._device = device
        self._opener = opener
        self._candidates = _CANDIDATES[device]
        self._verified = False  # whether a bundle has run on the first candidate
        self._one_at_a_time = threading.Lock()
        # One thread for each core, for all bundles that are opened at once: more would only wait for each other.
        self.warm_up_threads = ThreadPoolExecutor(hardware.intra_op_threads, "warm-up")
        # Whether this build could use a GPU, and ``auto`` has moved to the CPU because none works.
        self.has_fallen_back = False

    def open(self, onnx: bytes, prepare: Callable[[Session, str], T], threads: int | None = None) -> T:
        """Opens a session for a graph, and returns ``prepare(session, provider)``, which must run it.

        ``threads`` replaces the hardware's number of ONNX Runtime's threads.

        While no bundle has run on the device, a graph that fails there is tried on the CPU. If it fails there, too, the
        graph is at fault, and the CPU's error is raised. Otherwise the device is, and ``auto`` moves to the CPU for all
        later bundles. Once a bundle has run on the device, an error there is the bundle's: it is raised as
        ``RuntimeError``, and no bundle moves.

        A CPU opens several graphs at once. A GPU opens one after the other: the first one decides whether the device
        works, and a CUDA graph cannot be recorded while another thread allocates memory.

        Raises ``DeviceError`` if the CPU can run the graph and the configured device cannot.
        """
        with self._one_at_a_time:
            try:
                if self._candidates[0] != CPU:
                    return self._open_on_gpu(onnx, prepare, threads)
            except ProviderMissingError as error:
                self._fall_back(error)
        return prepare(self.session(onnx, CPU, threads), CPU)

    def _open_on_gpu(self, onnx: bytes, prepare: Callable[[Session, str], T], threads: int | None) -> T:
        """Does what ``open`` does. Passes on ``ProviderMissingError`` if the CPU may replace the provider."""
        provider = self._candidates[0]
        try:
            result = prepare(self.session(onnx, provider, threads), provider)
        except Exception as error:
            no_graph_can_run = isinstance(error, ProviderMissingError) and CPU in self._candidates
            if no_graph_can_run or isinstance(error, BundleError):
                raise
            if self._verified:
                raise RuntimeError(f"{PROVIDER_NAMES[provider]}, which runs other bundles: {error}") from error
            try:
                cpu_result = prepare(self.session(onnx, CPU, threads), CPU)
            except Exception:
                logger.warning("A graph runs neither on the CPU nor on %s: %s", PROVIDER_NAMES[provider], error)
                raise
            if CPU not in self._candidates:
                raise DeviceError(f"FIGMENT_DEVICE={self._device} cannot be used: {_with_driver(error)}") from error
            self._fall_back(error)
            return cpu_result
        self._verified = True
        return result

    def _fall_back(self, error: Exception) -> None:
        """Moves to the CPU: once for all bundles, since a mixture of devices would surprise operators."""
        logger.warning("No GPU is used, generators run on the CPU: %s", _with_driver(error))
        self._candidates = (CPU,)
        self.has_fallen_back = not isinstance(error, ProviderMissingError)

    def session(self, onnx: bytes, provider: str, threads: int | None = None) -> Session:
        """Opens a session for a graph on exactly this provider. ``threads`` is as in ``open``.

        Raises ``DeviceError`` if ONNX Runtime would use another provider, and passes on ONNX Runtime's own errors.
        """
        hardware = self.hardware if threads is None else replace(self.hardware, intra_op_threads=threads)
        session = self._opener(onnx, provider, hardware)
        used = session.get_providers()[0]
        if used != provider:
            raise DeviceError(f"{provider} did not load; ONNX Runtime would use {used}")
        return session


def _with_driver(error: Exception) -> str:
    """Returns an error of a GPU with the driver found and the one needed, unless no driver could help."""
    return str(error) if isinstance(error, ProviderMissingError) else f"{error}. {describe_driver()}"
