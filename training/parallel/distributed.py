"""Data-parallel training: torchrun starts the processes, and they communicate by collectives.

A single process is a group of one, and its collectives cost nothing. Each process computes its share of every batch.
Gradients are averaged in one flat all-reduce per phase, as in StyleGAN: ``DistributedDataParallel`` supports neither
second derivatives nor two networks in turn.
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
from training.parallel.barrier import StoreBarrier
from training.parallel.ending import ends_with_others, open_store

T = TypeVar("T")

COLLECTIVE_TIMEOUT = timedelta(minutes=10)
"""Longest time that a collective waits for a process. Drawing and saving between two steps take seconds. For anything
slower, the others wait at the barrier, which has no timeout."""


@dataclass(frozen=True)
class Processes:
    """The group of processes that train together: the place of this process in it, and its collectives."""

    rank: int
    count: int
    device: torch.device
    first_here: bool = True
    """Whether this is the first process on its machine."""
    barrier: StoreBarrier | None = None
    """Where several processes wait for each other; None for a group of one."""
    control: collectives.ProcessGroup | None = None
    """The group, connected by gloo, for what is no arithmetic: it needs no GPU, and waits for none."""

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """Returns this process's number of images of a batch. Raises ``TrainingError`` unless it divides evenly."""
        if batch_size % self.count:
            raise TrainingError(
                f"batch_size is {batch_size}, which {self.count} processes cannot share evenly; "
                f"the nearest that they can is {max(1, round(batch_size / self.count)) * self.count}"
            )
        return batch_size // self.count

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by its mean over all processes, in one message."""
        members = list(tensors)
        if self.count == 1 or not members:
            return
        flat = torch.cat([tensor.detach().reshape(-1).float() for tensor in members])
        with _lost_process_as_error():
            collectives.all_reduce(flat)
        flat /= self.count
        for tensor, values in zip(members, torch.split(flat, [tensor.numel() for tensor in members]), strict=True):
            tensor.detach().copy_(values.view_as(tensor))

    def sum(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over all processes, in place, and returns it."""
        if self.count > 1:
            with _lost_process_as_error():
                collectives.all_reduce(tensor)
        return tensor

    def average_gradients(self, network: nn.Module) -> None:
        """Averages gradients over all processes. Every process must have gradients for the same weights."""
        self.average(weight.grad for weight in network.parameters() if weight.grad is not None)

    def average_buffers(self, network: nn.Module) -> None:
        """Averages running statistics, which each process computes from its own share of the batch."""
        self.average(buffer for buffer in network.buffers() if buffer.is_floating_point())

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is True in any process."""
        return self.begin_any(flag)()

    def begin_any(self, flag: bool) -> Callable[[], bool]:
        """Sends the flag to all processes in the background.

        Returns a function that waits for theirs, and returns whether the flag is True in any process.
        """
        if self.count == 1:
            return lambda: flag
        maximum = torch.tensor(float(flag))
        with _lost_process_as_error():
            work = collectives.all_reduce(maximum, collectives.ReduceOp.MAX, group=self.control, async_op=True)

        def finish() -> bool:
            with _lost_process_as_error():
                work.wait()
            return bool(maximum.item())

        return finish

    def from_first(self, action: Callable[[], T]) -> T:
        """Runs ``action`` in the first process, however long it takes.

        All return its result, or raise its ``TrainingError``.
        """
        if self.count == 1:
            return action()
        outcome: list[T | TrainingError | None] = [None]
        if self.first:
            try:
                outcome[0] = action()
            except TrainingError as error:
                outcome[0] = error
        self.wait()
        with _lost_process_as_error():
            collectives.broadcast_object_list(outcome, src=0, group=self.control)
        if isinstance(outcome[0], TrainingError):
            raise outcome[0]
        return outcome[0]  # type: ignore[return-value]

    def wait(self) -> None:
        """Blocks until every process has called it, for hours if need be."""
        if self.barrier:
            with _lost_process_as_error():
                self.barrier.wait()


@contextmanager
def joined_processes() -> Iterator[Processes]:
    """Joins the process group that torchrun has started. Without torchrun the group is this process."""
    count, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count == 1:
        yield Processes(0, 1, device)
        return
    collectives.init_process_group("nccl" if cuda else "gloo", timeout=COLLECTIVE_TIMEOUT)
    control = collectives.new_group(backend="gloo", timeout=COLLECTIVE_TIMEOUT)
    store, rank = open_store(), collectives.get_rank()
    if store is None:
        raise LostProcessError("the launcher of the processes cannot be reached any more")
    with ends_with_others():
        yield Processes(rank, count, device, local == 0, StoreBarrier(store, rank, count), control)
    # Not in a finally: leaving a group takes all of its members, so after an error the process just exits.
    collectives.destroy_process_group()


@contextmanager
def _lost_process_as_error() -> Iterator[None]:
    """Raises ``LostProcessError`` for the error of a backend that has lost another process."""
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        raise LostProcessError(f"another training process has ended or cannot be reached ({reason})") from error
