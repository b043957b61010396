"""Distributed training: each process computes its share of every batch."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import torch
from numpy.typing import NDArray
from torch import distributed

_GROUPS = count()


class Processes:
    """The torch.distributed process group.

    Without a group (`torch.distributed.init_process_group` was not called) there is one
    process and no overhead. `rank` is the number of this process among `size`; rank 0
    writes files.
    """

    def __init__(self) -> None:
        grouped = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if grouped else 0
        self.size = distributed.get_world_size() if grouped else 1

    def share(self, rows: NDArray) -> NDArray:
        """Return the part of a batch for this process."""
        return rows[self.rank :: self.size]

    def sum(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Sum tensors of one type and device over the processes."""
        if self.size == 1:
            return list(tensors)
        # One message is much faster than many.
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors)]

    def average_buffers(self, module: torch.nn.Module) -> None:
        """Replace running statistics by their mean over processes."""
        if self.size == 1:
            return
        for buffer in module.buffers():
            (total,) = self.sum([buffer.double()])
            buffer.copy_(total / self.size)  # counts are rounded down

    def gather(self, value: Any) -> list[Any]:
        """Gather the values of all processes in every process."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def same(self, value: Any) -> Any:
        """Broadcast the value of process 0."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]


@contextmanager
def launched() -> Iterator[Processes]:
    """Join the process group started by torchrun; do nothing for a single process.

    Within a group that is joined already, keep to it. A process may join one group after
    another.

    Yields
    ------
    processes : Processes
        `rank` is the number of this process (0 writes files), `size` the number of
        processes.
    """
    if (
        not distributed.is_available()
        or not distributed.is_torchelastic_launched()
        or distributed.is_initialized()
    ):
        yield Processes()
        return
    from torch.distributed.rendezvous import rendezvous

    # PyTorch keeps the addresses of a group in the store after the group is destroyed, and
    # a second group of the same name may wait for them for ever.
    store, rank, size = next(rendezvous("env://"))
    group = distributed.PrefixStore(f"skadm-{next(_GROUPS)}", store)
    distributed.init_process_group(store=group, rank=rank, world_size=size)
    try:
        yield Processes()
    finally:
        distributed.destroy_process_group()
