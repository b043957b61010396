"""Time until the same final loss: whole trainings of several lengths, ours and plain.

A step that does less is worth nothing if it takes more steps, so trainings are compared by
where they end. Each is a whole one-cycle schedule, of which only the end counts: a curve is
made of trainings of several lengths. Losses are evaluated after the training, in eval mode,
on all training slices, all targets and brain pixels, by the same formula for both.

In the second stage both have the same translation errors, those of our longest training.
The plain version makes them in every step: that they are the same every time is used here,
to spare the wait, and the time of making them, measured once, is added to each epoch's.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.lib.options import say
from benchmarks.lib.speed.plain_adm import PlainADM, brain_of, plain_of
from benchmarks.lib.speed.plain_training import train
from benchmarks.lib.speed.rows import Row
from benchmarks.lib.speed.setting import BATCH, Setting
from benchmarks.lib.speed.training import ENERGY_WEIGHT
from skadm import ADMDetector
from skadm.nn.density import fit_mixture, mixture_energy

GOALS = {"one": 6.0, "two": 4.0}


class Point(NamedTuple):
    """A whole training: how long it took, where it ended."""

    epochs: int
    seconds: float
    loss: float


class Reached(NamedTuple):
    """Seconds until a loss, and whether they lie between two measured trainings."""

    seconds: float
    interpolated: bool


Curves = Mapping[str, Sequence[Point]]


def translation_loss(errors: torch.Tensor, images: torch.Tensor) -> float:
    """Mean squared translation error over brain pixels and targets (Eq. 13)."""
    return errors.permute(0, 2, 3, 1)[brain_of(images)].square().mean().item()


def density_loss(plain: PlainADM, images: torch.Tensor, errors: torch.Tensor) -> float:
    """Eq. 14 over all slices, with the mixture of all their pixels."""
    features, squared = [], []
    with torch.inference_mode():
        for batch, batch_errors in zip(images.split(BATCH), errors.split(BATCH)):
            pixels, restored, brain = plain.features(batch, batch_errors)
            features.append(pixels)
            squared.append((batch - restored).square().sum(dim=1)[brain])
        mixture = fit_mixture(features, plain.estimation)
        energies = [mixture_energy(pixels.double(), mixture, 1e-6) for pixels in features]
    reconstruction = torch.cat(squared).double().mean()
    return (reconstruction + ENERGY_WEIGHT * torch.cat(energies).mean()).item()


def seconds_to(curve: Sequence[Point], loss: float) -> Reached:
    """Seconds until a loss, between the first training that reaches it and the one before.

    Interpolated linearly in the logarithm of the seconds. Where even the shortest training
    reaches it, its seconds, which are then too many. That none reaches it is a ValueError.
    """
    before = None
    for point in sorted(curve, key=lambda point: point.epochs):
        if point.loss <= loss:
            if before is None or before.loss == point.loss:
                return Reached(point.seconds, False)
            share = (before.loss - loss) / (before.loss - point.loss)
            low, high = math.log(before.seconds), math.log(point.seconds)
            return Reached(math.exp(low + share * (high - low)), True)
        before = point
    raise ValueError(f"no training reaches a loss of {loss:.4g}")


def compare(stage: str, curves: Curves) -> Row:
    """Times to the lowest loss that both reach."""
    best = {name: min(point.loss for point in curve) for name, curve in curves.items()}
    loss = max(best.values())
    ours, plain = (seconds_to(curves[name], loss) for name in ("ours", "plain"))
    note = f"loss {loss:.4g}; epochs " + ", ".join(
        f"{name} {'/'.join(str(point.epochs) for point in curve)}"
        for name, curve in curves.items()
    )
    if not plain.interpolated and best["plain"] < loss:
        note += "; at most: the shortest plain training is beyond that loss"
    if not ours.interpolated and best["ours"] < loss:
        note += "; at least: our shortest training is beyond that loss"
    return Row(
        f"training to equal loss, stage {stage}",
        ours.seconds,
        plain.seconds,
        GOALS[stage],
        note,
        more={
            "loss": loss,
            "curves": {k: [p._asdict() for p in c] for k, c in curves.items()},
        },
    )


def measure(
    setting: Setting, epochs: Sequence[int], plain_epochs: Sequence[int]
) -> list[Row]:
    """A row for each stage, trained on all slices for each of the numbers of epochs."""
    images = torch.from_numpy(setting.images)
    setting.detector(max_epochs=1).fit(setting.some(BATCH))  # warms up
    ours = [_our_training(setting, n) for n in sorted(epochs)]
    one = {
        "ours": [point for _, point in ours],
        "plain": [_plain_stage_one(setting, images, n) for n in sorted(plain_epochs)],
    }
    detector = ours[-1][0]
    started = time.perf_counter()
    features = detector.pixel_features(setting.images)
    seconds_of_errors = time.perf_counter() - started
    errors = torch.from_numpy(features[:, : images.shape[1]].copy())
    two = {
        "ours": [_our_stage_two(detector, images, errors, seconds_of_errors)],
        "plain": _plain_stage_two(
            # As long as ours too: the same number of the same steps should end alike.
            setting,
            detector,
            images,
            errors,
            sorted({*plain_epochs, max(epochs)}),
        ),
    }
    return [compare("one", one), compare("two", two)]


def _our_training(setting: Setting, n_epochs: int) -> tuple[ADMDetector, Point]:
    detector = setting.detector(max_epochs=n_epochs).fit(setting.images)
    errors = detector.pixel_features(setting.images)[:, : setting.images.shape[1]]
    loss = translation_loss(torch.from_numpy(errors), torch.from_numpy(setting.images))
    point = Point(n_epochs, _stage_seconds(detector, "translation"), loss)
    _say("ours, stage one", point)
    return detector, point


def _stage_seconds(detector: ADMDetector, stage: str) -> float:
    return sum(
        record["seconds"] for record in detector.history_ if record["stage"] == stage
    )


def _plain_stage_one(setting: Setting, images: torch.Tensor, n_epochs: int) -> Point:
    torch.manual_seed(0)
    plain = PlainADM(images.shape[1], images.shape[1] - 1, width=setting.width)
    network = plain.translation
    seconds = sum(train(network, plain.translation_loss, images, n_epochs, BATCH))
    errors = torch.cat([plain.translation_errors(batch) for batch in images.split(BATCH)])
    point = Point(n_epochs, seconds, translation_loss(errors, images))
    _say("plain, stage one", point)
    return point


def _our_stage_two(
    detector: ADMDetector, images: torch.Tensor, errors: torch.Tensor, seconds: float
) -> Point:
    loss = density_loss(plain_of(detector), images, errors)
    seconds += _stage_seconds(detector, "density")
    point = Point(detector.max_epochs, seconds, loss)
    _say("ours, stage two, all translations included", point)
    return point


def _plain_stage_two(
    setting: Setting,
    detector: ADMDetector,
    images: torch.Tensor,
    errors: torch.Tensor,
    lengths: Sequence[int],
) -> list[Point]:
    translator = plain_of(detector)
    batches = images.split(BATCH)
    translator.translation_errors(batches[0])
    times = []
    for batch in batches[: setting.repeats]:
        started = time.perf_counter()
        translator.translation_errors(batch)
        times.append((time.perf_counter() - started) / len(batch))
    translating = float(np.median(times)) * len(images)
    both, n_contrasts = torch.cat([images, errors], dim=1), images.shape[1]
    points = []
    for n_epochs in lengths:
        torch.manual_seed(0)
        plain = PlainADM(n_contrasts, n_contrasts - 1, width=1, n_blocks=0)

        def loss(batch: torch.Tensor, plain: PlainADM = plain) -> torch.Tensor:
            given, errors = batch[:, :n_contrasts], batch[:, n_contrasts:]
            return plain.density_loss(given, errors, ENERGY_WEIGHT)

        trained = torch.nn.ModuleList([plain.reduction, plain.estimation])
        seconds = sum(train(trained, loss, both, n_epochs, BATCH)) + n_epochs * translating
        points.append(Point(n_epochs, seconds, density_loss(plain, images, errors)))
        _say("plain, stage two, all translations included", points[-1])
    return points


def _say(title: str, point: Point) -> None:
    say(f"{title}: {point.epochs} epochs, {point.seconds:.1f} s, loss {point.loss:.4g}")
