"""Where and how batches are computed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from skadm._disk import scratch_array
from skadm.training._windows import Windows


@dataclass(frozen=True)
class Engine:
    """Where and how batches are computed.

    Attributes
    ----------
    device : torch.device
    half : torch.dtype or None
        Type of the convolutions under autocast; None computes all in float32.
    batch_size : int
        Slices.
    """

    device: torch.device
    half: torch.dtype | None
    batch_size: int

    def autocast(self) -> torch.autocast:
        """Context in which networks run."""
        return torch.autocast(
            self.device.type, dtype=self.half, enabled=self.half is not None
        )

    def place(self, batch: NDArray | torch.Tensor) -> torch.Tensor:
        """The batch on the device, channels last, which convolutions like best.

        To a GPU it is copied from pinned memory while the GPU computes.
        """
        images = torch.as_tensor(batch).contiguous(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)

    def batches(self, *parts: NDArray) -> Iterator[torch.Tensor]:
        """Windows around the brain of all slices, a batch at a time, on the device.

        In an order of their own: for what is summed over pixels.
        """
        windows = Windows(parts[0])
        for rows in windows.of_one_size(self.batch_size):
            yield self.place(windows.cut(parts, rows))

    def apply(
        self,
        function: Callable[[torch.Tensor], torch.Tensor],
        images: NDArray,
        dtype: DTypeLike = np.float32,
    ) -> NDArray:
        """Result of `function` on every slice, 0 outside of the windows around the brain.

        The result for a slice depends neither on the batch size nor on other slices. A
        lone slice is computed twice over: for one small image torch takes another
        convolution kernel than for two or more, and it rounds differently.

        Parameters
        ----------
        function : callable
            Takes a batch (n, channels, h, w) on the device, returns (n, ..., h, w).
        images : ndarray of shape (n, channels, H, W)
            In memory or on disk.
        dtype : dtype, default=float32
            Type of the result.

        Returns
        -------
        result : ndarray of shape (n, ..., H, W)
            On disk if it is larger than memory.
        """
        windows, result = Windows(images), None
        for rows in windows.of_one_size(self.batch_size):
            batch = self.place(windows.cut((images,), rows))
            pair = batch.expand(max(2, len(batch)), *batch.shape[1:])
            with torch.inference_mode(), self.autocast():
                values = function(pair)[: len(batch)].float().cpu().numpy()
            if result is None:
                shape = (len(images), *values.shape[1:-2], *images.shape[2:])
                result = scratch_array(shape, dtype)
            windows.paste(result, rows, values)
        assert result is not None  # there is no stack without slices
        return result
