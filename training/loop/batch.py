"""The input of one training step, and its parts where memory is too small for the whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from training.config.schema import Config, nearest_divisor
from training.errors import TrainingError
from training.parallel.distributed import Processes
from training.parallel.rng import BatchRng


@dataclass(frozen=True)
class Batch:
    """The input of one step, and the metrics that the step collects."""

    reals: Tensor
    """float [N, C, H, W] in -1 … 1."""
    label: Tensor | None
    """int64 [N]; generated images take the labels of the reals."""
    rng: BatchRng
    budget_used: float
    """Share of the budget spent so far, 0 … 1."""
    metrics: dict[str, Tensor] = field(default_factory=dict)


def num_micro_batches(config: Config, processes: Processes) -> int:
    """Returns the number of parts in which each process computes its share of a batch; 1 without ``micro_batch``.

    Raises ``TrainingError`` if the processes cannot share a batch evenly, or ``micro_batch`` does not divide a share.
    """
    share = processes.share(config.batch_size)
    if config.micro_batch is None:
        return 1
    if share % config.micro_batch:
        divisor = nearest_divisor(share, config.micro_batch)
        raise TrainingError(
            f"micro_batch is {config.micro_batch}, which does not divide the {share} images of batch_size "
            f"{config.batch_size} that each of {processes.count} processes computes; take {divisor or 'null'}"
        )
    return share // config.micro_batch


def micro_batches(batch: Batch, count: int, networks: Sequence[nn.Module]) -> Iterator[Batch]:
    """Yields ``count`` equal parts of a batch in turn, each as if a process of its own had it for its share.

    Every part draws the random numbers that its images have in the whole batch, and starts from the networks' buffers
    as they are now. After the last part, the buffers (running statistics, singular vectors) are the means over the
    parts, and the batch has the means of the parts' metrics.
    """
    if count == 1:
        yield batch
        return
    buffers = [buffer for network in networks for buffer in network.buffers()]
    before = [buffer.clone() for buffer in buffers]
    averaged = [buffer for buffer in buffers if buffer.is_floating_point()]
    means = [buffer.clone() for buffer in averaged]
    labels = [None] * count if batch.label is None else batch.label.chunk(count)
    collected: list[dict[str, Tensor]] = []
    for number, (reals, label, rng) in enumerate(
        zip(batch.reals.chunk(count), labels, batch.rng.split(count), strict=True), start=1
    ):
        _copy(buffers, before)
        part = Batch(reals, label, rng, batch.budget_used)
        yield part
        collected.append(part.metrics)
        for mean, buffer in zip(means, averaged, strict=True):
            # A step of a running mean, which keeps equal values as they are: a sum over the count would round them.
            mean.lerp_(buffer, 1 / number)
    _copy(averaged, means)
    for name in collected[0]:
        batch.metrics[name] = torch.stack([metrics[name] for metrics in collected]).mean()


@torch.no_grad()
def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
