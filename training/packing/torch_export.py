"""Exports PyTorch generators to ONNX, with a dynamic batch where PyTorch can."""

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize

from training.errors import TrainingError
from training.packing.checks import RunOriginal
from training.packing.graph import without_traces
from training.packing.running import Runner, one_line
from training.packing.torch_arguments import Call, tensors_in

OPSET = 20


def export_module(module: nn.Module, call: Call) -> onnx.ModelProto:
    """Exports a module, or a TorchScript program, that runs with these arguments.

    Programs take PyTorch's older exporter: the newer one cannot read them. Modules take it where the newer one fails.

    Raises ``TrainingError`` if neither can export it.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return _first([lambda: _export_older(module, call)])
    plain = with_plain_weights(module)
    batch = torch.export.Dim("N")
    newer: dict[str, Any] = {
        "kwargs": call.tensors,
        "dynamic_shapes": {name: {0: batch} if tensor.ndim else None for name, tensor in call.tensors.items()},
        "input_names": list(call.tensors),
    }
    return _first(
        [
            lambda: export_to_onnx(plain, optimize=False, **newer),
            lambda: export_to_onnx(plain, **newer),
            lambda: _export_older(plain, call),
        ]
    )


def export_program(program: ExportedProgram) -> onnx.ModelProto:
    """Exports a ``torch.export`` program. Its batch is dynamic if the program's is.

    Raises ``TrainingError`` if PyTorch cannot.
    """
    return _first([lambda: export_to_onnx(program, optimize=False), lambda: export_to_onnx(program)])


def _first(exports: Sequence[Callable[[], onnx.ModelProto]]) -> onnx.ModelProto:
    """Returns the first model that is exported, and that ONNX Runtime opens."""
    failures = []
    for export in exports:
        try:
            model = export()
            Runner(model)
        except Exception as error:  # the exporters raise whatever an operator of a stranger's forward makes them raise
            failures.append(error)
        else:
            return model
    raise TrainingError(f"PyTorch cannot export the generator to ONNX: {one_line(failures[0])}") from failures[0]


def _export_older(module: nn.Module, call: Call) -> onnx.ModelProto:
    axes = {name: {0: "N"} for name, tensor in call.tensors.items() if tensor.ndim}
    args, names = tuple(call.tensors.values()), list(call.tensors)
    with tempfile.TemporaryDirectory() as folder, quiet_exporter(), torch.no_grad():
        path = Path(folder) / "generator.onnx"
        torch.onnx.export(module, args, path, dynamo=False, opset_version=OPSET, input_names=names, dynamic_axes=axes)
        return without_traces(onnx.load(path))


def export_to_onnx(
    module: nn.Module | ExportedProgram,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Tensor] | None = None,
    **options: Any,
) -> onnx.ModelProto:
    """Exports with ``torch.export``, into one model without notes of where it was made.

    With ``optimize=False``, what the generator computes stays: the exporter's optimiser drops additions of 1e-8, and
    0 / 0 is NaN then.
    """
    with tempfile.TemporaryDirectory() as folder, quiet_exporter():
        path = Path(folder) / "generator.onnx"
        torch.onnx.export(
            module,
            args,
            path,
            kwargs=kwargs,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            external_data=False,
            **options,
        )
        return without_traces(onnx.load(path))


def original_runner(module: Callable[..., Any], model: onnx.ModelProto, by_name: bool) -> RunOriginal:
    """Returns what runs a generator in PyTorch, with the names of its exported graph.

    ``by_name``: its arguments have the names of the graph's inputs, else only their order.
    """
    inputs = [entry.name for entry in model.graph.input]
    outputs = [entry.name for entry in model.graph.output]

    @torch.no_grad()
    def run(feed: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: torch.from_numpy(feed[name]) for name in inputs}
        try:
            result = tensors_in(module(**tensors) if by_name else module(*tensors.values()))
        except Exception as error:
            raise TrainingError(f"PyTorch cannot run the generator: {one_line(error)}") from error
        if len(result) != len(outputs):
            raise TrainingError(f"the generator returns {len(result)} tensors, and its exported graph {len(outputs)}")
        return {name: tensor.numpy() for name, tensor in zip(outputs, result.values(), strict=True)}

    return run


@torch.no_grad()
def with_plain_weights(network: nn.Module) -> nn.Module:
    """Returns a copy that holds the present values of parametrised weights, such as spectrally normalised ones."""
    plain = copy.deepcopy(network).eval()
    for module in plain.modules():
        if parametrize.is_parametrized(module):
            # remove_parametrizations would delete the property from the class, which the original uses too.
            values = {name: getattr(module, name) for name in module.get_submodule("parametrizations")._modules}
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value))
    return plain


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Hides what the exporter reports: missing packages and its own deprecations, which the user cannot act on."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
