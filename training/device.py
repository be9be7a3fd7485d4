"""The device that a run computes on, and its precision."""

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
