"""Training of the plain networks: Adam, one-cycle, batches in random order."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

_LEARNING_RATE = 1e-3  # at the peak


def train(
    module: nn.Module,
    loss: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    n_epochs: int,
    batch_size: int = 16,
) -> Iterator[float]:
    """Train, one epoch for each item that is asked for; yield its seconds.

    `loss` is of a batch of images, which have shape (n, channels, H, W). `n_epochs` is the
    length of the learning rate's schedule. A loss that is not finite is a RuntimeError.
    """
    generator = torch.Generator().manual_seed(0)
    n_steps = n_epochs * -(-len(images) // batch_size)
    adam = torch.optim.Adam(module.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adam, _LEARNING_RATE, total_steps=n_steps + 1
    )
    module.train()
    for _ in range(n_epochs):
        started = time.perf_counter()
        for rows in torch.randperm(len(images), generator=generator).split(batch_size):
            value = loss(images[rows])
            if not torch.isfinite(value):
                raise RuntimeError(f"the loss of the plain version became {value.item()}")
            adam.zero_grad()
            value.backward()
            adam.step()
            schedule.step()
        yield time.perf_counter() - started
    module.eval()
