"""Device, precision and batching of computations."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from skadm._disk import scratch_array
from skadm.training._windows import Windows

# On the CPU, small windows are batched (padded with copies), since overhead dominates
# their time. Larger windows gain little.
_SMALL, _TOGETHER = 256, 32


@dataclass(frozen=True)
class Engine:
    """Device, precision and batching of computations."""

    device: torch.device
    # autocast type of the convolutions; None: all in float32
    half: torch.dtype | None
    batch_size: int  # slices

    def autocast(self) -> torch.autocast:
        """Context in which networks run."""
        return torch.autocast(
            self.device.type, dtype=self.half, enabled=self.half is not None
        )

    def place(self, batch: NDArray | torch.Tensor) -> torch.Tensor:
        """Copy a batch to the device, in channels-last format, which is fastest.

        Copies to a GPU use pinned memory and overlap with computation.
        """
        images = torch.as_tensor(batch).contiguous(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            images = images.pin_memory()
        return images.to(self.device, non_blocking=True)

    def batches(self, *parts: NDArray) -> Iterator[torch.Tensor]:
        """Yield batches of windows around the brain of all slices, on the device.

        The order is arbitrary: use it for sums over pixels.
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
        """Apply `function` to every slice; 0 outside the windows around the brain.

        On the CPU, the result for a slice is bitwise independent of other slices and of
        the batch size. A GPU needs batches to be fast: there results agree up to
        rounding.

        The function takes a batch (n, channels, h, w) on the device and returns (n, ..., h,
        w). Images and result may be on disk.
        """
        windows, result = Windows(images), None
        on_cpu = self.device.type == "cpu"
        for rows in windows.of_one_size(_TOGETHER if on_cpu else self.batch_size):
            batch = windows.cut((images,), rows)
            with torch.inference_mode(), self.autocast():
                if on_cpu:
                    output = self._apply_on_cpu(function, batch)
                else:
                    output = function(self.place(batch)).float().cpu()
            values = output.numpy()
            if result is None:
                shape = (len(images), *values.shape[1:-2], *images.shape[2:])
                result = scratch_array(shape, dtype)
            windows.paste(result, rows, values)
        assert result is not None  # there is at least one slice
        return result

    def _apply_on_cpu(
        self, function: Callable[[torch.Tensor], torch.Tensor], batch: NDArray
    ) -> torch.Tensor:
        """Apply `function` in calls whose shape depends only on the window.

        Libraries choose kernels of convolutions and matrix products by the number of
        rows, and kernels differ in rounding.
        """
        n_slices = len(batch)
        if batch[0, 0].size > _SMALL:
            parts = [function(self.place(batch[n : n + 1])) for n in range(n_slices)]
            return torch.cat(parts).float()
        filled = np.resize(batch, (_TOGETHER, *batch.shape[1:]))
        return function(self.place(filled))[:n_slices].float()
