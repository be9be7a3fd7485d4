"""Several processes training one generator: torchrun starts them, and they speak through collectives.

A process alone is the same thing with one member, and its collectives cost nothing. Each process computes its share
of every batch; gradients are averaged in one flat all-reduce per phase (the way of StyleGAN), for the wrappers of
``DistributedDataParallel`` know nothing of second derivatives and of two networks in turn.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as collectives
from torch import Tensor, nn

from training.errors import LostProcessError, TrainingError
from training.parallel.ending import ends_with_others

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""The others wait while the first process decodes a data set or trains its judge: longer than a backend's default."""


@dataclass(frozen=True)
class Processes:
    """One of the processes that train together: the one this is."""

    rank: int
    count: int
    device: torch.device
    first_here: bool = True
    """Whether this is the first process of its machine."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """How many images of a batch are this process's. Raises ``TrainingError`` unless it divides evenly."""
        if batch_size % self.count:
            raise TrainingError(
                f"batch_size is {batch_size}, which {self.count} processes cannot share evenly; "
                f"the nearest that they can is {max(1, round(batch_size / self.count)) * self.count}"
            )
        return batch_size // self.count

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over all processes, in one message."""
        found = list(tensors)
        if self.count == 1 or not found:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in found])
        with _lost_process_reported():
            collectives.all_reduce(flat)
        flat /= self.count
        for tensor, values in zip(found, torch.split(flat, [tensor.numel() for tensor in found]), strict=True):
            tensor.detach().copy_(values.view_as(tensor))

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, in place."""
        if self.count > 1:
            with _lost_process_reported():
                collectives.all_reduce(tensor)
        return tensor

    def average_gradients(self, network: nn.Module) -> None:
        """Averages what a backward pass has left; every process must have gradients for the same weights."""
        self.average(weight.grad for weight in network.parameters() if weight.grad is not None)

    def average_buffers(self, network: nn.Module) -> None:
        """Averages running statistics, which each process has taken from its own share of the batch."""
        self.average(buffer for buffer in network.buffers() if buffer.is_floating_point())

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.count == 1:
            return flag
        raised = torch.tensor(float(flag), device=self.device)
        with _lost_process_reported():
            collectives.all_reduce(raised, collectives.ReduceOp.MAX)
        return bool(raised.item())

    def from_first(self, action: Callable[[], T]) -> T:
        """What ``action`` returns in the first process, in all; its ``TrainingError`` is raised in all, too."""
        if self.count == 1:
            return action()
        outcome: list[T | TrainingError | None] = [None]
        if self.first:
            try:
                outcome[0] = action()
            except TrainingError as error:
                outcome[0] = error
        with _lost_process_reported():
            collectives.broadcast_object_list(outcome, src=0, device=self.device)
        if isinstance(outcome[0], TrainingError):
            raise outcome[0]
        return outcome[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.count > 1:
            with _lost_process_reported():
                collectives.barrier()


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """The processes that torchrun has started, joined; alone where it has not."""
    count, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    collectives.init_process_group("nccl" if cuda else "gloo", timeout=PATIENCE)
    with ends_with_others():
        yield Processes(collectives.get_rank(), count, device, first_here=local == 0)
    # Only here: to leave a group in order takes all of its members, and after an error the process just ends.
    collectives.destroy_process_group()


@contextmanager
def _lost_process_reported() -> Iterator[None]:
    """Turns a backend's error, which it raises where another process has gone, into a sentence."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise LostProcessError(
            f"another of the processes that train together has ended or cannot be reached ({reason})"
        ) from error
