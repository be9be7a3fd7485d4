"""The device that a run computes on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def best_device() -> torch.device:
    """Returns the CUDA GPU if PyTorch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device) -> str:
    """Returns what decides how fast a device computes: a GPU's model, or the CPU's vector instructions and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"


def gpu_memory(device: torch.device) -> int | None:
    """Returns the bytes of memory that a GPU has in all, used or free; None for the CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


@contextmanager
def without_tf32() -> Iterator[None]:
    """Computes float32 as float32 on a GPU, whose convolutions otherwise round their inputs to 10 bits (TF32).

    As in the code of StyleGAN2-ADA and R3GAN: penalties are squared and differentiated again, for which these are too
    few. Must span the backward pass.
    """
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = False, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
