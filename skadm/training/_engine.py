"""Where and how batches are computed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from skadm._disk import scratch_array
from skadm.training._windows import Windows

# On the CPU, windows of few pixels are computed together, in calls that copies of them fill
# up: most of their time is spent between the kernels. All others gain little by that.
_SMALL, _TOGETHER = 256, 32


@dataclass(frozen=True)
class Engine:
    """Where and how batches are computed."""

    device: torch.device
    # type of the convolutions under autocast; None computes all in float32
    half: torch.dtype | None
    batch_size: int  # slices

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

        On the CPU, the result for a slice depends on no other slice and not on the batch
        size, to the last bit. A GPU needs batches to be fast: there results agree to
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
        assert result is not None  # there is no stack without slices
        return result

    def _apply_on_cpu(
        self, function: Callable[[torch.Tensor], torch.Tensor], batch: NDArray
    ) -> torch.Tensor:
        """Result of `function` in calls whose shape follows from the window alone.

        Libraries choose the kernels of convolutions and matrix products by the number of
        rows, and kernels round differently.
        """
        n_slices = len(batch)
        if batch[0, 0].size > _SMALL:
            parts = [function(self.place(batch[n : n + 1])) for n in range(n_slices)]
            return torch.cat(parts).float()
        filled = np.resize(batch, (_TOGETHER, *batch.shape[1:]))
        return function(self.place(filled))[:n_slices].float()
