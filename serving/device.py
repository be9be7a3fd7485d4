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

    def open(self, onnx: bytes, prepare: Callable[[Session, str], T], threads: int | None = None) -> T:
        """Opens a session of a graph, and returns what ``prepare(session, provider)`` makes of it; that is to run it.

        ``threads`` of ONNX Runtime in place of the hardware's.

        Raises ``DeviceError`` if the device cannot be used; what goes wrong on the CPU is not about the device
        and is raised as it is.
        """
        hardware = self.hardware if threads is None else replace(self.hardware, intra_op_threads=threads)
        for provider in self._candidates:
            try:
                session = self._opener(onnx, provider, hardware)
                used = session.get_providers()[0]
                if used != provider:
                    raise DeviceError(f"{provider} did not load; ONNX Runtime would use {used}")
                return prepare(session, provider)
            except Exception as error:
                if provider == CPU or isinstance(error, BundleError):
                    raise
                if self._device != "auto":
                    raise DeviceError(f"FIGMENT_DEVICE={self._device} cannot be used: {error}") from error
                logger.warning("No GPU is used, generators run on the CPU: %s", error)
                # Said once, and decided for every bundle: half of them on each device is nobody's wish.
                self._candidates = (CPU,)
        raise AssertionError("the last candidate returns or raises")
