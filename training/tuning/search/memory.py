"""Running out of memory: what it was needed for, and who has the rest of it."""

import gc

import torch

NOT_TO_TRAIN = "the device has too little memory to train with these settings"
NOT_TO_SCORE = "the device can train with these settings, but has too little memory left to score the generator"
_WORDS = ("out of memory", "can't allocate memory", "alloc_failed", "failed to allocate")
_WORTH_TELLING = 0.05
"""Share of a device's memory below which the memory that other processes hold explains nothing."""


def ran_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or its cause, says that memory of the device or of the machine was used up.

    Only PyTorch's own allocator on a GPU has a class for it; libraries of CUDA and the allocator of the CPU raise a
    ``RuntimeError``, NumPy and Python a ``MemoryError``.
    """
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        if isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS):
            return True
        error = error.__cause__
    return False


def memory_of_other_processes(device: torch.device) -> str:
    """Words for the memory of a GPU that other processes hold, to be put behind a sentence; none if it is little."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    if others < _WORTH_TELLING * total:
        return ""
    return f" (other processes hold {others / 2**30:.1f} of its {total / 2**30:.1f} GiB)"


def release_memory() -> None:
    """Gives the device back what a run that has ended still holds: its error refers to its tensors in a circle."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
