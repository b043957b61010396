"""What each part buys: training step and scoring, beside the same without the part."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import Setting
from benchmarks.lib.speed.timing import interleave, timed
from benchmarks.lib.speed.training import epoch_seconds
from skadm import ADMDetector
from skadm.nn import blocks
from skadm.training import _windows
from skadm.training._engine import Engine

EPOCHS = 2  # of a measurement; the first warms up


def _whole(windows: _windows.Windows, images: NDArray) -> None:
    windows.limits = np.array(images.shape[2:])
    shape = (len(images), 2)
    windows.starts = np.zeros(shape, int)
    windows.sizes = np.broadcast_to(windows.limits, shape)


def _channels_first(engine: Engine, batch: NDArray | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(batch).contiguous().to(engine.device)


def _upsampled(convolution: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
    enlarged = nn.functional.interpolate(images, scale_factor=2.0, mode="nearest")
    return nn.Conv2d.forward(convolution, enlarged)


def _patched(owner: type, name: str, other: Callable) -> Callable[[], Any]:
    return lambda: mock.patch.object(owner, name, other)


ALL_TARGETS = {"targets_per_step": 9}  # of which scoring knows nothing

# What takes a part away: other parameters, or something in its place.
WITHOUT: dict[str, dict[str, Any] | Callable[[], AbstractContextManager]] = {
    "bfloat16": {"precision": "float32"},
    "windows around the brain": _patched(_windows.Windows, "__init__", _whole),
    "channels last": _patched(Engine, "place", _channels_first),
    "convolutions before the upsampling": _patched(
        blocks.UpsampledConvolution, "forward", _upsampled
    ),
    "16 pixels at a time in the last convolution": _patched(
        blocks.SingleChannelConvolution, "forward", nn.Conv2d.forward
    ),
    "one target in a step, not all": ALL_TARGETS,
}


def measure(setting: Setting) -> list[Row]:
    """Two rows for each part: a step of stage one, and scoring."""
    slices = setting.some()
    tasks = [_task("all", slices, setting, {})]
    for part, change in WITHOUT.items():
        tasks.append(_task(part, slices, setting, change))
    medians = interleave(tasks, setting.repeats)
    rows = [
        Row(
            f"stage one, against without {part}",
            medians["all, training"],
            medians[f"{part}, training"],
        )
        for part in WITHOUT
    ]
    rows += [
        Row(
            f"scoring, against without {part}",
            medians["all, scoring"],
            medians[f"{part}, scoring"],
        )
        for part, change in WITHOUT.items()
        if change != ALL_TARGETS
    ]
    return rows


def _task(
    name: str,
    slices: NDArray,
    setting: Setting,
    change: dict[str, Any] | Callable[[], AbstractContextManager],
) -> Callable[[], dict[str, float]]:
    """Train one stage for a few epochs and score, with something changed."""
    parameters = change if isinstance(change, dict) else {}
    detector: ADMDetector = setting.detector(
        max_epochs=EPOCHS, features="translation", **parameters
    )

    def task() -> dict[str, float]:
        with ExitStack() as stack:
            if not isinstance(change, dict):
                stack.enter_context(change())
            detector.fit(slices)
            trained = epoch_seconds(detector, "translation")
            scored = timed(f"{name}, scoring", lambda: detector.score_samples(slices))()
        return {f"{name}, training": trained, **scored}

    return task
