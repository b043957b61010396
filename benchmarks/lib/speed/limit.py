"""Convolutions against what the machine can do: counted operations, measured rate.

The reference is the time in which the machine, at its rate of matrix products in the same
precision, would do what the plain network's layers ask for the box around each brain. So
the ratio is the fraction of the limit that is reached.
"""

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.lib.speed.machine import (
    matrix_rate,
    needed_pixels,
    translation_flops,
)
from benchmarks.lib.speed.profile import convolution_seconds, profile_stage
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import Setting
from benchmarks.lib.speed.timing import interleave, timed
from benchmarks.lib.speed.training import EPOCHS, epoch_seconds
from skadm.training._device import computes_bfloat16

GOAL = 0.5


def measure(setting: Setting) -> list[Row]:
    """Scoring and training, all of it and the convolutions alone, in each precision."""
    precisions = ["float32"] + ["bfloat16"] * computes_bfloat16(torch.device("cpu"))
    return [row for name in precisions for row in _in_precision(setting, name)]


def _in_precision(setting: Setting, precision: str) -> list[Row]:
    images = setting.some()
    n_contrasts = images.shape[1]
    ct = {"precision": precision, "features": "translation"}
    fitted = setting.detector(max_epochs=1, **ct).fit(images)
    trained = setting.detector(max_epochs=EPOCHS, **ct)
    rates: list[float] = []

    def rate() -> dict[str, float]:
        rates.append(matrix_rate(getattr(torch, precision)))
        return {}

    def training() -> dict[str, float]:
        return {"training": epoch_seconds(trained.fit(images), "translation")}

    def convolutions() -> dict[str, float]:
        with profile(activities=[ProfilerActivity.CPU]) as scoring:
            fitted.pixel_features(images)
        step = profile_stage(setting, "translation", **ct)
        return {
            "scoring, convolutions": convolution_seconds([scoring]),
            "training, convolutions": convolution_seconds([step]),
        }

    scoring = timed("scoring", lambda: fitted.pixel_features(images))
    medians = interleave([rate, scoring, training, convolutions], setting.repeats)
    best = float(np.max(rates))
    pixels = needed_pixels(images)
    flops = {
        "scoring": pixels
        * n_contrasts
        * translation_flops(n_contrasts, setting.width, False),
        "training": pixels * translation_flops(n_contrasts, setting.width, True),
    }
    share = pixels / (len(images) * images.shape[2] * images.shape[3])
    rows = []
    for name in ("scoring", "training"):
        counted = {"gflop": flops[name] / 1e9, "limit_gflops": best / 1e9}
        remark = (
            f"{flops[name] / 1e9:.3g} GFLOP at {best / 1e9:.3g} GFLOP/s; the boxes around "
            f"the brain are {share:.0%} of the slices"
        )
        rows += [
            Row(
                f"{name}, translations, {precision}, against the limit",
                medians[name],
                flops[name] / best,
                note=remark,
                more=counted,
            ),
            Row(
                f"{name}, convolutions alone, {precision}, against the limit",
                medians[f"{name}, convolutions"],
                flops[name] / best,
                GOAL,
                "their operators' own time, by the profiler",
                more=counted,
            ),
        ]
    return rows
