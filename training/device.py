"""The device that a run computes on, and its precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def best_device() -> torch.device:
    """Returns the CUDA GPU if PyTorch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_precision(device: torch.device) -> str:
    """Returns bfloat16 if the device computes it natively, else float32.

    Emulated bfloat16 is slower than float32, so a CPU without the instructions uses float32.
    """
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"


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
