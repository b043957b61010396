"""Training: a step of each stage against the same step of the plain version."""

import math
import time

import numpy as np
import torch

from benchmarks.lib.speed.memory import peak_mib
from benchmarks.lib.speed.plain_adm import PlainADM
from benchmarks.lib.speed.plain_training import train
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import BATCH, Setting
from benchmarks.lib.speed.timing import interleave
from skadm import ADMDetector

EPOCHS = 3  # of a measurement; the first warms up
PAPER_EPOCHS = 50  # which the one pass of all translations serves
ENERGY_WEIGHT = 5e-4


def epoch_seconds(detector: ADMDetector, stage: str) -> float:
    """Median seconds of a stage's epochs without the first."""
    seconds = [
        record["seconds"] for record in detector.history_ if record["stage"] == stage
    ]
    return float(np.median(seconds[1:]))


def measure(setting: Setting) -> list[Row]:
    """A row for each stage."""
    slices = setting.some()
    images = torch.from_numpy(slices)
    n_steps = math.ceil(len(images) / BATCH)
    plain = PlainADM(images.shape[1], images.shape[1] - 1, width=setting.width)
    detector = setting.detector(max_epochs=EPOCHS)

    def ours() -> dict[str, float]:
        detector.fit(slices)
        started = time.perf_counter()
        detector.pixel_features(slices)
        translated = time.perf_counter() - started
        one, two = (epoch_seconds(detector, name) for name in ("translation", "density"))
        return {
            "one": one / n_steps,
            "two": (two + translated / PAPER_EPOCHS) / n_steps,
            "two, given": two / n_steps,
        }

    errors = plain.eval().translation_errors(images)
    both = torch.cat([images, errors], dim=1)
    density = torch.nn.ModuleList([plain.reduction, plain.estimation])
    n_contrasts = images.shape[1]

    def stage_one() -> float:
        (seconds,) = train(plain.translation, plain.translation_loss, images, 1, BATCH)
        return seconds / n_steps

    def stage_two() -> float:
        plain.eval()

        def loss(batch: torch.Tensor) -> torch.Tensor:
            return plain.density_loss(batch, plain.translation_errors(batch), ENERGY_WEIGHT)

        (seconds,) = train(density, loss, images, 1, BATCH)
        return seconds / n_steps

    def stage_two_given() -> float:
        def loss(batch: torch.Tensor) -> torch.Tensor:
            given, errors = batch[:, :n_contrasts], batch[:, n_contrasts:]
            return plain.density_loss(given, errors, ENERGY_WEIGHT)

        (seconds,) = train(density, loss, both, 1, BATCH)
        return seconds / n_steps

    def reference() -> dict[str, float]:
        return {
            "plain one": stage_one(),
            "plain two": stage_two(),
            "plain two, given": stage_two_given(),
        }

    medians = interleave([ours, reference], setting.repeats)
    fit = peak_mib(lambda: detector.fit(slices))
    return [
        Row(
            "training step, stage one",
            medians["one"],
            medians["plain one"],
            6,
            f"one target in a step, not all {n_contrasts}: equal loss is another row; "
            "memory: a whole fit",
            fit,
            peak_mib(stage_one),
        ),
        Row(
            "training step, stage two",
            medians["two"],
            medians["plain two"],
            4,
            f"ours with its share of the one pass of translations, over {PAPER_EPOCHS} "
            "epochs",
            fit,
            peak_mib(stage_two),
        ),
        Row(
            "training step, stage two, Z_ct given to both",
            medians["two, given"],
            medians["plain two, given"],
            note="reduction and density alone",
            ours_mib=fit,
            reference_mib=peak_mib(stage_two_given),
        ),
    ]
