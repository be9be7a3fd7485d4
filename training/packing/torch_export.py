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

    Programs take PyTorch's older exporter: the newer one cannot read them. Modules take it where the newer one fails. A
    generator whose operators depend on the size of the batch is exported for one image.

    Raises ``TrainingError`` if PyTorch cannot export it.
    """
    single = call.first(1)
    if isinstance(module, torch.jit.ScriptModule):
        return _first([lambda: _export_older(module, call), lambda: _export_older(module, single)])
    plain = with_plain_weights(module)
    return _first(
        [
            lambda: _export_newer(plain, call, optimize=False),
            lambda: _export_newer(plain, call, optimize=True),
            lambda: _export_older(plain, call),
            lambda: _export_older(plain, single),
        ]
    )


def export_program(program: ExportedProgram) -> onnx.ModelProto:
    """Exports a ``torch.export`` program. Its batch is dynamic if the program's is.

    Raises ``TrainingError`` if PyTorch cannot.
    """
    return _first([lambda: _opened(export_to_onnx(program, optimize=False)), lambda: _opened(export_to_onnx(program))])


def _first(exports: Sequence[Callable[[], onnx.ModelProto]]) -> onnx.ModelProto:
    """Returns the first model that is exported without an error."""
    failures = []
    for export in exports:
        try:
            return export()
        except Exception as error:  # the exporters raise whatever an operator of a stranger's forward makes them raise
            failures.append(error)
    raise TrainingError(f"PyTorch cannot export the generator to ONNX: {one_line(failures[0])}") from failures[0]


def _opened(model: onnx.ModelProto, feed: dict[str, Tensor] | None = None) -> onnx.ModelProto:
    """Returns a model that ONNX Runtime opens, and runs with these inputs; else raises ``TrainingError``."""
    runner = Runner(model)
    if feed is not None:
        runner.run({name: tensor.numpy() for name, tensor in feed.items()})
    return model


def _export_newer(module: nn.Module, call: Call, optimize: bool) -> onnx.ModelProto:
    batch = torch.export.Dim("N")
    shapes = {name: {0: batch} if tensor.ndim else None for name, tensor in call.tensors.items()}
    names = list(call.tensors)
    return _opened(
        export_to_onnx(module, kwargs=call.tensors, dynamic_shapes=shapes, input_names=names, optimize=optimize)
    )


def _export_older(module: nn.Module, call: Call) -> onnx.ModelProto:
    axes = {name: {0: "N"} for name, tensor in call.tensors.items() if tensor.ndim}
    with tempfile.TemporaryDirectory() as folder, quiet_exporter(), torch.no_grad():
        path = Path(folder) / "generator.onnx"
        torch.onnx.export(
            module,
            tuple(call.tensors.values()),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(call.tensors),
            dynamic_axes=axes if call.count > 1 else None,
        )
        model = without_traces(onnx.load(path))
    # It makes sizes constant that it cannot follow, so the graph must run with fewer images, too.
    return _opened(model, call.first(max(1, call.count - 2)).tensors)


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
