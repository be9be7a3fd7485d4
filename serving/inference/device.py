"""Where generators run: opens ONNX Runtime sessions on the device that was asked for, and makes sure of it.

ONNX Runtime lists CUDA as available where its libraries cannot be loaded, and then runs on the CPU without an
error. So a provider counts only once a session says that it uses it, and has run.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

from models.bundle import BundleError

logger = logging.getLogger("figment.device")

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

# What metrics and cards call the providers.
SHORT_NAME = {CPU: "cpu", CUDA: "cuda", TENSORRT: "tensorrt"}

_CANDIDATES = {"auto": (CUDA, CPU), "cuda": (CUDA,), "tensorrt": (TENSORRT,), "cpu": (CPU,)}

# Per session. A generator's weights and its largest batch are far below; without a limit, ONNX Runtime's arena
# takes what it once touched from every other model on the card.
_GPU_MEMORY_BYTES = 8 * 2**30

_CUDA_OPTIONS = {
    # The default, EXHAUSTIVE, tries every algorithm at each new shape: seconds a bucket for no gain here.
    "cudnn_conv_algo_search": "HEURISTIC",
    "gpu_mem_limit": str(_GPU_MEMORY_BYTES),
    "arena_extend_strategy": "kSameAsRequested",
    # TF32 keeps 10 bits of a mantissa, too few for images that agree within one step of 255 in every batch.
    "use_tf32": "0",
}


class DeviceError(Exception):
    """The device that was asked for cannot be used."""


class Session(Protocol):
    """What is used of ``onnxruntime.InferenceSession``."""

    def get_providers(self) -> list[str]: ...
    def get_inputs(self) -> list[Any]: ...
    def get_outputs(self) -> list[Any]: ...
    def run(self, output_names: list[str] | None, input_feed: dict[str, Any]) -> list[Any]: ...
    def io_binding(self) -> Any: ...
    def run_with_iobinding(self, iobinding: Any, run_options: Any = None) -> None: ...


@dataclass(frozen=True)
class Hardware:
    """What of the machine a process uses: so many cores of the CPU, or one GPU by its number.

    ``cuda_graphs`` has every batch size recorded once and replayed, which spares the launch of each kernel; it is for
    graphs that run on the GPU as a whole.
    """

    intra_op_threads: int
    gpu: int = 0
    cuda_graphs: bool = False


# Opens a session of a graph on one provider.
Opener = Callable[[bytes, str, Hardware], Session]

T = TypeVar("T")


def open_onnxruntime(onnx: bytes, provider: str, hardware: Hardware) -> Session:
    """A session on ``provider``, or silently on the CPU where that does not load.

    Raises ``DeviceError`` where ONNX Runtime was built without that provider.
    """
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(f"this build of ONNX Runtime has no {provider}")
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = hardware.intra_op_threads
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # To wake a thread for each operator costs a lone image half its time, so threads spin; but not between two batches,
    # when they would take the cores from the threads that encode.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = [provider]
    if provider != CPU:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
        gpu = {"device_id": str(hardware.gpu)}
        graphs = {"enable_cuda_graph": "1"} if hardware.cuda_graphs and provider == CUDA else {}
        providers = [(CUDA, _CUDA_OPTIONS | gpu | graphs)]
        if provider == TENSORRT:
            own_graphs = {"trt_cuda_graph_enable": "1"} if hardware.cuda_graphs else {}
            memory = {"trt_max_workspace_size": str(_GPU_MEMORY_BYTES // 2)}
            providers.insert(0, (TENSORRT, memory | gpu | own_graphs))
    session: Session = onnxruntime.InferenceSession(onnx, options, providers=providers)
    return session


class Devices:
    """The choice of a device, made once for all bundles.

    ``device`` is the setting; ``opener`` opens a session.
    """

    def __init__(self, device: str, hardware: Hardware, opener: Opener = open_onnxruntime) -> None:
        self.hardware = hardware
        self._device = device
        self._opener = opener
        self._candidates = _CANDIDATES[device]
        self._proven = False  # a bundle has run on the first candidate

    def open(self, onnx: bytes, prepare: Callable[[Session, str], T], threads: int | None = None) -> T:
        """Opens a session of a graph, and returns ``prepare(session, provider)``, which is to run it.

        ``threads`` of ONNX Runtime in place of the hardware's.

        What fails on a device that no bundle has run on yet is tried on the CPU: if that fails, too, the graph is at
        fault, and the CPU's error is raised; else the device is, and ``auto`` moves to the CPU for good. Once a bundle
        has run on the device, an error there is about the bundle and is raised as ``RuntimeError``: nothing moves.

        Raises ``DeviceError`` if the CPU can run the graph and the device that was asked for cannot.
        """
        provider = self._candidates[0]
        try:
            made = prepare(self.session(onnx, provider, threads), provider)
        except Exception as error:
            if provider == CPU or isinstance(error, BundleError):
                raise
            if self._proven:
                raise RuntimeError(f"{SHORT_NAME[provider]}, which runs other bundles: {error}") from error
            try:
                on_cpu = prepare(self.session(onnx, CPU, threads), CPU)
            except Exception:
                logger.warning("A graph runs neither on the CPU nor on %s: %s", SHORT_NAME[provider], error)
                raise
            if CPU not in self._candidates:
                raise DeviceError(f"FIGMENT_DEVICE={self._device} cannot be used: {error}") from error
            logger.warning("No GPU is used, generators run on the CPU: %s", error)
            # Said once, and decided for every bundle: half of them on each device is nobody's wish.
            self._candidates = (CPU,)
            return on_cpu
        self._proven = True
        return made

    def session(self, onnx: bytes, provider: str, threads: int | None = None) -> Session:
        """Opens a session of a graph on this very provider. ``threads`` as in ``open``.

        Raises ``DeviceError`` if ONNX Runtime would use another one, and whatever ONNX Runtime raises.
        """
        hardware = self.hardware if threads is None else replace(self.hardware, intra_op_threads=threads)
        session = self._opener(onnx, provider, hardware)
        used = session.get_providers()[0]
        if used != provider:
            raise DeviceError(f"{provider} did not load; ONNX Runtime would use {used}")
        return session
