"""The device that a run computes on."""

import torch


def best_device() -> torch.device:
    """Returns the CUDA GPU if PyTorch finds one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device) -> str:
    """Returns what decides how fast a device computes: a GPU's model, or the CPU's vector instructions and threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU with {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
