"""Opens programs of PyTorch, and functions with weights. Runs no pickle."""

import importlib
import io
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from training.errors import TrainingError
from training.packing.running import one_line

FACTORY = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
"""``package.module:function``."""

_COMPILED = ("aotinductor/", "executorch/", "custom_obj_", "opaque_obj_")
"""In a ``.pt2``, compiled code and objects that only a pickle can hold."""


def open_torchscript(content: bytes, name: str) -> torch.jit.ScriptModule:
    """Opens a TorchScript program on the CPU, in evaluation mode."""
    try:
        module: torch.jit.ScriptModule = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"{name}: PyTorch {torch.__version__} cannot open this TorchScript: {one_line(error)}"
        ) from error
    return module.eval()


def open_exported_program(content: bytes, name: str) -> ExportedProgram:
    """Opens a program that ``torch.export.save`` wrote.

    Raises ``TrainingError`` if it holds compiled code or objects other than tensors, which could run code.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.namelist()
    if bad := [member for member in members if any(part in member for part in _COMPILED)]:
        raise TrainingError(
            f"{name}: holds compiled code or Python objects ({bad[0]}), which are never run: save tensors only"
        )
    try:
        with _tensors_only():
            return torch.export.load(io.BytesIO(content))
    except Exception as error:  # the library raises many kinds for an archive of another version
        raise TrainingError(
            f"{name}: PyTorch {torch.__version__} cannot open this program from its tensors alone; pickled Python "
            f"objects are never run, since they can hold any code: {one_line(error)}"
        ) from error


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Makes every ``torch.load`` inside PyTorch take tensors only: reading programs falls back to pickles otherwise."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def build(factory: str, weights: Path | None) -> nn.Module:
    """Calls ``package.module:function``, which returns a generator, and loads its weights.

    Raises ``TrainingError`` if there is no such function, if it returns no module, or if the weights do not fit.
    """
    module_name, _, function_name = factory.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # whatever a stranger's module raises
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise TrainingError(f"{factory}: cannot be imported ({reason}); the current folder is searched, too") from error
    try:
        module = function()
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise TrainingError(f"{factory}: must be a function that needs no argument, and failed ({reason})") from error
    if not isinstance(module, nn.Module):
        raise TrainingError(f"{factory}: returns {type(module).__name__}, and an nn.Module is needed")
    if weights is not None:
        _load_weights(module, weights)
    return module.cpu().eval()


def _load_weights(module: nn.Module, path: Path) -> None:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # UnpicklingError and many others
        raise TrainingError(
            f"{path}: is no file of weights alone, and is never unpickled, since a pickle can run any code; save "
            "model.state_dict()"
        ) from error
    state = _state_of(content, module)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise TrainingError(f"{path}: these weights are not this generator's: {one_line(error)}") from error


def _state_of(content: Any, module: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the weights in a checkpoint: itself, or the only entry with the module's names."""
    wanted = module.state_dict().keys()
    states = [content, *(content.values() if isinstance(content, dict) else ())]
    for state in states:
        if isinstance(state, dict):
            # nn.DataParallel puts "module." before each name.
            plain = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
            if plain.keys() == wanted:
                return plain
    return content if isinstance(content, dict) else {}
