"""Recognises that memory ran out, and describes what used it."""

import gc

import torch

OOM_IN_TRAINING = "the device has too little memory to train with these settings"
OOM_IN_SCORING = "the device can train with these settings, but has too little memory left to score the generator"
_MESSAGES = ("out of memory", "can't allocate memory", "alloc_failed", "failed to allocate")
_MIN_REPORTED_SHARE = 0.05
"""Share of a device's memory. Below it, the memory of other processes does not explain the failure."""


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Returns whether an error, or one of its causes, says that the device or the machine ran out of memory.

    Only PyTorch's GPU allocator has a class for it. CUDA libraries and PyTorch's CPU allocator raise ``RuntimeError``,
    NumPy and Python ``MemoryError``.
    """
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES):
            return True
        error = error.__cause__
    return False


def memory_of_other_processes(device: torch.device) -> str:
    """Returns text for the end of a sentence: a GPU's memory held by other processes. Empty if it is little."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    if others < _MIN_REPORTED_SHARE * total:
        return ""
    return f" (other processes hold {others / 2**30:.1f} of its {total / 2**30:.1f} GiB)"


def release_memory() -> None:
    """Frees the device memory of a run that has ended; its error and its tensors refer to each other in a cycle."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
