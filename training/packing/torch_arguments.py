"""Finds out what a PyTorch generator is called with: programs and modules do not tell the sizes of their arguments."""

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from training.errors import TrainingError
from training.packing.inputs import is_label_name, is_truncation_name
from training.packing.options import PackOptions
from training.packing.outputs import CHANNELS

COUNT = 5
"""Images that are generated to try sizes: no number of channels, and no usual factor of a size."""
_LAYERS = 8
"""Parameters from the first on that may show the sizes of the arguments."""


@dataclass(frozen=True)
class Argument:
    """An argument of ``forward``."""

    name: str
    is_optional: bool


@dataclass(frozen=True)
class Call:
    """Arguments that a generator runs with, for ``COUNT`` images or one, by name and in order, and their roles."""

    tensors: dict[str, Tensor]
    noise: str
    label: str | None
    truncation: str | None

    @property
    def count(self) -> int:
        """Returns the number of images."""
        return len(self.tensors[self.noise])

    def first(self, count: int) -> "Call":
        """Returns the arguments of the first images."""
        return replace(
            self, tensors={name: tensor[:count] if tensor.ndim else tensor for name, tensor in self.tensors.items()}
        )


def arguments_of(module: nn.Module) -> list[Argument]:
    """Returns the arguments of a module's or a program's ``forward``."""
    if isinstance(module, torch.jit.ScriptModule):
        found = module.forward.schema.arguments[1:]  # type: ignore[attr-defined]
        return [Argument(argument.name, argument.has_default_value()) for argument in found]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return [
        Argument(parameter.name, parameter.default is not inspect.Parameter.empty)
        for parameter in parameters
        if parameter.kind in kinds
    ]


@torch.no_grad()
def find_call(module: nn.Module, options: PackOptions) -> Call:
    """Returns arguments that the generator runs with, found by trying the sizes that its first weights suggest.

    Raises ``TrainingError`` if none fits: the user then says the sizes.
    """
    arguments = arguments_of(module)
    if not arguments:
        raise TrainingError("the generator's forward takes no argument, and the noise is one")
    dtype = next((parameter.dtype for parameter in module.parameters() if parameter.is_floating_point()), torch.float32)
    sizes = _sizes(module)
    for count in (COUNT, 1):  # a traced program may take one image only
        for call in _calls(arguments, sizes, dtype, options):
            if _fits(module, call.first(count)):
                return call.first(count)
    shown = ", ".join(argument.name for argument in arguments)
    raise TrainingError(
        f"no size of noise fits the generator's forward({shown}): say it with --noise-shape, such as 100 or 100,1,1"
        + (", and the number of labels with --labels" if len(arguments) > 1 else "")
    )


def _calls(arguments: list[Argument], sizes: list[int], dtype: torch.dtype, options: PackOptions) -> Iterator[Call]:
    noise = next((entry for entry in arguments if entry.name == options.noise), arguments[0])
    others = [entry for entry in arguments if entry != noise]
    truncations = [entry for entry in others if _is(entry, options.truncation, is_truncation_name)]
    labels = [entry for entry in others if entry not in truncations and _is(entry, options.label, is_label_name)]
    labels = labels or [entry for entry in others if entry not in truncations and not entry.is_optional][:1]
    for shape in _noise_shapes(sizes, options):
        for label in _label_values(sizes, dtype, options) if labels else (None,):
            for scalar in (torch.ones((), dtype=dtype), None) if truncations else (None,):
                given = {noise.name: torch.randn(COUNT, *shape, dtype=dtype)}
                given |= {} if label is None else {labels[0].name: label}
                given |= {} if scalar is None else {truncations[0].name: scalar}
                yield Call(
                    {entry.name: given[entry.name] for entry in arguments if entry.name in given},
                    noise.name,
                    None if label is None else labels[0].name,
                    None if scalar is None else truncations[0].name,
                )


def _is(argument: Argument, name: str | None, guess: Callable[[str], bool]) -> bool:
    return argument.name == name if name is not None else guess(argument.name)


def _noise_shapes(sizes: list[int], options: PackOptions) -> Iterable[tuple[int, ...]]:
    if options.noise_shape is not None:
        return [options.noise_shape]
    return itertools.chain.from_iterable(((size,), (size, 1, 1)) for size in sizes)


def _label_values(sizes: list[int], dtype: torch.dtype, options: PackOptions) -> Iterator[Tensor | None]:
    """Yields labels to try: indices first, then one-hot rows of every size, then none."""
    index = torch.zeros(COUNT, dtype=torch.int64)
    given = len(options.labels) if isinstance(options.labels, tuple) else options.labels
    yield index
    for size in [given] if given else sizes:
        if size > 1:
            yield nn.functional.one_hot(index, size).to(dtype)
    yield index.view(-1, 1)
    yield None


def _sizes(module: nn.Module) -> list[int]:
    """Returns the sizes of the first weights, and the differences between them: inputs are often joined."""
    shapes = [tuple(tensor.shape) for tensor in itertools.islice(module.state_dict().values(), _LAYERS)]
    plain = list(dict.fromkeys(size for shape in shapes if len(shape) > 1 for size in shape[:2] if size > 1))
    differences = [abs(one - other) for one, other in itertools.combinations(plain, 2)]
    return list(dict.fromkeys([*plain, *(size for size in differences if size > 1)]))


def _fits(module: nn.Module, call: Call) -> bool:
    """Returns whether the generator runs with these arguments, and gives an image for each row of noise."""
    try:
        result = module(**call.tensors)
    except Exception:  # whatever a stranger's forward raises: these arguments do not fit
        return False
    return any(_is_images(tensor, call.count) for tensor in tensors_in(result).values())


def _is_images(tensor: Tensor, count: int) -> bool:
    if tensor.ndim < 2 or len(tensor) != count:
        return False
    return tensor.ndim < 4 or tensor.shape[1] in CHANNELS or tensor.shape[3] in CHANNELS


def tensors_in(result: Any) -> dict[str, Tensor]:
    """Returns all tensors of a generator's result by name: its own names in a dict, else by position."""
    if isinstance(result, Tensor):
        return {"output": result}
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items() if isinstance(value, Tensor)}
    if isinstance(result, (tuple, list)):
        return {f"output_{index}": value for index, value in enumerate(result) if isinstance(value, Tensor)}
    return {}
