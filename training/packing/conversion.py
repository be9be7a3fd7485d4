"""Turns a generator's own graph into a bundle's graph, and proves that both give the same images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from models.bundle import Parity
from models.noise import noise_for_seeds
from training.errors import TrainingError
from training.packing.batching import with_dynamic_batch
from training.packing.checks import (
    MAX_DIFFERENCE,
    MixedBatchError,
    Precision,
    RunOriginal,
    batch_sizes,
    compare,
    sample_original,
)
from training.packing.graph import values
from training.packing.inputs import Inputs, find_inputs
from training.packing.labels import indices, label_names
from training.packing.options import PackOptions
from training.packing.outputs import find_output
from training.packing.plan import SMALLEST_TRUNCATION, Plan, layer_noise, own_feed
from training.packing.random_operators import check_inference_mode, check_not_random, freeze_random, random_nodes
from training.packing.running import Feed, Runner
from training.packing.wrapping import wrap

_TRIED = 5
"""Images that are generated to look at: a number that is no number of channels."""
_USUAL_EXAMPLES = (1, 2, 4, 8, 16, 32, 64)
"""Batch sizes that generators are exported with."""
_MOST_NUMBERS = 2**22
"""Numbers after which no more images are generated to look at."""
_COMPARED = 16
"""Images that are compared one by one."""


@dataclass(frozen=True)
class Converted:
    """A bundle's graph that gives the images of the generator it comes from."""

    graph: bytes
    plan: Plan
    precision: Precision
    parity: Parity
    frozen: tuple[str, ...]
    """The nodes and inputs whose noise has become constant."""
    is_independent: bool
    """Whether the images were compared with those of another framework."""


def convert(model: onnx.ModelProto, original: RunOriginal | None, options: PackOptions) -> Converted:
    """Looks at a graph, runs it once, puts around it what it lacks, and compares the result with the original.

    ``original`` runs the generator in its own framework; None compares with the graph itself.

    Raises ``TrainingError`` if the graph is no generator, leaves a guess open, or gives other images in a batch.
    """
    check_inference_mode(model)
    if options.freeze_random is None:
        check_not_random(model)
    inputs = find_inputs(values(list(model.graph.input)), options, indices(model))
    seed = options.freeze_random or 0
    constants = layer_noise(inputs, seed)
    nodes = random_nodes(model)
    names = tuple(node.name or node.output[0] for node in nodes)
    labels = _labels(model, inputs, constants, options)
    if nodes:
        model = freeze_random(model, seed, _feed(inputs, constants, 0, len(labels or ())))
        original = None  # it draws its noise anew
    graph_run = Runner(model).run
    run = original or graph_run
    inputs, results = _tried_batches(run, inputs, constants, len(labels or ()))
    output = find_output(model, results, inputs.batch or _TRIED, inputs.noise.has_batch, options)
    plan = Plan(inputs, output, labels, constants, inputs.batch)
    plan = replace(plan, least_truncation=_least_truncation((run, graph_run), plan))
    graph, plan, parity = _proved(model, run, plan, _precision(model))
    return Converted(graph, plan, _precision(model), parity, (*names, *constants), original is not None)


def _proved(model: onnx.ModelProto, run: RunOriginal, plan: Plan, precision: Precision) -> tuple[bytes, Plan, Parity]:
    """Returns the first graph whose images are the original's, alone and in batches."""
    allowed = MAX_DIFFERENCE[precision]
    large = len(batch_sizes(replace(plan, batch=None))) < 5
    samples = sample_original(run, plan, plan.inputs.batch or 1, 3 if large else _COMPARED)
    failure: TrainingError | None = None
    for candidate, attempt in _candidates(model, plan):
        graph = wrap(candidate, attempt).SerializeToString()
        sizes = batch_sizes(attempt)
        try:
            largest = compare(graph, samples, sizes, allowed)
        except TrainingError as error:
            if isinstance(error, MixedBatchError) or not isinstance(failure, MixedBatchError):
                failure = error
            if _mixes(error, attempt):
                break
        else:
            return graph, attempt, Parity(max_difference=largest, batch_sizes=sizes)
    if isinstance(failure, MixedBatchError):
        raise TrainingError(f"{failure}: call eval() before exporting, and export without random numbers") from failure
    raise TrainingError(str(failure))


def _mixes(error: TrainingError, plan: Plan) -> bool:
    """Returns whether the generator itself, which takes any batch, lets images change each other."""
    single_number = plan.inputs.truncation is not None and not plan.inputs.truncation.has_batch
    return isinstance(error, MixedBatchError) and plan.inputs.batch is None and not single_number


def _candidates(model: onnx.ModelProto, plan: Plan) -> Iterator[tuple[onnx.ModelProto, Plan]]:
    """Yields graphs with their plans, the most useful first: any batch, then the graph's own, then one image."""
    truncation = plan.inputs.truncation
    forms: list[tuple[int, ...] | None] = [None]
    if truncation is not None:
        # One number for a batch becomes one for each image where it broadcasts.
        forms = [(1,) * (truncation.rank - 1)] if truncation.has_batch else [(1,), (1, 1), (1, 1, 1), ()]
    own = plan.inputs.batch
    for form in forms:
        if own is None:
            yield model, replace(plan, batch=None, truncation_shape=form)
        elif plan.inputs.noise.has_batch:
            dynamic = with_dynamic_batch(model, plan.inputs.noise.name, own)
            yield dynamic, replace(plan, batch=None, truncation_shape=form)
    fixed = own or 1
    if fixed == 1 and truncation is not None and not truncation.has_batch:
        forms = [None]
    for form in forms:
        yield model, replace(plan, batch=fixed, truncation_shape=form)


def _labels(model: onnx.ModelProto, inputs: Inputs, constants: Feed, options: PackOptions) -> tuple[str, ...] | None:
    count = inputs.batch or 1
    runner = cache(lambda: Runner(model))

    def runs_with(index: int) -> bool:
        noise = np.zeros((count, inputs.noise.size), np.float32)
        label = np.full(count, index, np.int64)
        try:
            runner().run(own_feed(inputs, constants, noise, label, 0, np.ones(count, np.float32)))
        except TrainingError:
            return False
        return True

    return label_names(model, inputs.label, options, runs_with)


def _feed(inputs: Inputs, constants: Feed, first: int, labels: int) -> Feed:
    """Returns what the generator takes for the seeds from ``first`` on, in a batch that it takes."""
    count = inputs.batch or _TRIED
    noise = noise_for_seeds(range(first, first + count), inputs.noise.size)
    label = np.arange(first, first + count, dtype=np.int64) % labels if labels else None
    return own_feed(inputs, constants, noise, label, labels, np.ones(count, np.float32))


def _tried_batches(
    run: RunOriginal, inputs: Inputs, constants: Feed, labels: int
) -> tuple[Inputs, list[Mapping[str, NDArray[Any]]]]:
    """Returns what runs gave, and the inputs with the batch that they ran with.

    Exporters call a batch open, and yet fix it inside to that of their example.
    """
    try:
        return inputs, _tried(run, inputs, constants, labels)
    except TrainingError as error:
        sizes = _USUAL_EXAMPLES if inputs.batch is None else ()
        for size in sizes:
            try:
                fixed = replace(inputs, batch=size)
                return fixed, _tried(run, fixed, constants, labels)
            except TrainingError:
                continue
        raise error


def _tried(run: RunOriginal, inputs: Inputs, constants: Feed, labels: int) -> list[Mapping[str, NDArray[Any]]]:
    """Returns what runs gave for the first seeds: for more than one if a run generates few and small images."""
    results: list[Mapping[str, NDArray[Any]]] = []
    count, numbers = inputs.batch or _TRIED, 0
    while not results or (len(results) * count < _COMPARED and numbers < _MOST_NUMBERS):
        results.append(run(_feed(inputs, constants, len(results) * count, labels)))
        numbers += sum(array.size for array in results[-1].values())
    return results


def _least_truncation(runs: Sequence[RunOriginal], plan: Plan) -> float:
    """Returns what stands for a truncation of 0: in a generator that divides by the noise's length, 0 gives NaN."""
    if plan.inputs.truncation is not None:
        return 0.0
    count, labels = plan.inputs.batch or 1, len(plan.labels or ())
    noise = np.zeros((count, plan.inputs.noise.size), np.float32)
    label = np.zeros(count, np.int64) if labels else None
    feed = own_feed(plan.inputs, plan.layer_noise, noise, label, labels, np.ones(count, np.float32))
    return 0.0 if all(np.isfinite(run(feed)[plan.output.name]).all() for run in runs) else SMALLEST_TRUNCATION


def _precision(model: onnx.ModelProto) -> Precision:
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    return "fp16" if half else "fp32"
