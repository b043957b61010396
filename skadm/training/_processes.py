"""Processes that train one detector together, each on its share of every batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import distributed


class Processes:
    """The group of processes that this one belongs to, as torch.distributed has it.

    Without a group (`torch.distributed.init_process_group` was not called) there is one
    process, and nothing here costs anything. `rank` is the number of this process of
    `size`; 0 writes files.
    """

    def __init__(self) -> None:
        grouped = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if grouped else 0
        self.size = distributed.get_world_size() if grouped else 1

    def share(self, rows: NDArray) -> NDArray:
        """What this process does of a batch."""
        return rows[self.rank :: self.size]

    def sum(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Sums over the processes, of tensors of one type and device."""
        if self.size == 1:
            return list(tensors)
        # One message is far faster than many.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors)]

    def average_buffers(self, module: torch.nn.Module) -> None:
        """Give the running statistics of all processes one value, their mean."""
        if self.size == 1:
            return
        for buffer in module.buffers():
            (total,) = self.sum([buffer.double()])
            buffer.copy_(total / self.size)  # of counts, the whole part

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in all of them."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def same(self, value: Any) -> Any:
        """What process 0 has, in all of them."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def launched() -> Iterator[Processes]:
    """Join the group of processes that torchrun has started; alone, do nothing.

    Yields
    ------
    processes : Processes
        Its `rank` is the number of this process, 0 for the one that writes files; its
        `size` is how many there are.
    """
    if not distributed.is_available() or not distributed.is_torchelastic_launched():
        yield Processes()
        return
    distributed.init_process_group()
    try:
        yield Processes()
    finally:
        distributed.destroy_process_group()
