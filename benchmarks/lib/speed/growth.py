"""How times grow with the number of slices, contrasts, components and pixels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.lib.speed.rows import Row, seconds
from benchmarks.lib.speed.setting import Setting
from benchmarks.lib.speed.timing import exponent, interleave, timed
from benchmarks.lib.speed.training import EPOCHS, epoch_seconds

SIZES = {
    "slices": (4, 8, 16, 32),
    "contrasts": (2, 4, 8),
    "components": (3, 6, 12, 24),
}
SIDES = (0.25, 0.5, 0.75, 1.0)  # shares of the side of a slice
QUANTITIES = {
    "translation": "an epoch of stage one",
    "density": "an epoch of stage two",
    "scoring": "scoring",
}


class Case(NamedTuple):
    """Images, and parameters of the detector."""

    images: NDArray[np.float32]
    parameters: Mapping[str, Any]


def case(setting: Setting, what: str, size: int) -> Case:
    """The slices with another number of something; all else stays."""
    if what == "number of slices":
        images = setting.some(size)  # there may be fewer than that
        return Case(images[np.arange(size) % len(images)], {})
    images = setting.some(8)
    if what == "number of components":
        return Case(images, {"n_components": size})
    if what == "number of contrasts":
        return Case(_mixed(images, size), {})
    zoom = size / images.shape[-1]
    return Case(ndimage.zoom(images, (1, 1, zoom, zoom), order=0), {})


def _mixed(images: NDArray[np.float32], n_contrasts: int) -> NDArray[np.float32]:
    """Make contrasts as linear mixtures of the given ones. Background stays 0."""
    random = np.random.default_rng(0)
    mixing = random.standard_normal((n_contrasts, images.shape[1])).astype(np.float32)
    return np.einsum("lk,nkhw->nlhw", mixing, images)


def tasks_of(setting: Setting, chosen: Case) -> Callable[[], dict[str, float]]:
    """Seconds of every quantity, in one task."""
    detector = setting.detector(max_epochs=EPOCHS, **chosen.parameters)
    scoring = timed("scoring", lambda: detector.score_samples(chosen.images))

    def task() -> dict[str, float]:
        detector.fit(chosen.images)
        stages = {
            name: epoch_seconds(detector, name) for name in ("translation", "density")
        }
        return {**stages, **scoring()}

    return task


def measure(setting: Setting) -> list[Row]:
    """A row for each quantity and what it may grow with."""
    sides = [round(share * setting.images.shape[-1]) for share in SIDES]
    sizes = {f"number of {name}": numbers for name, numbers in SIZES.items()}
    return [
        row
        for what, numbers in {**sizes, "side of a slice": sides}.items()
        for row in _rows(setting, what, numbers)
    ]


def _rows(setting: Setting, what: str, sizes: Sequence[int]) -> list[Row]:
    named = []
    for size in sizes:
        task = tasks_of(setting, case(setting, what, size))
        named.append(lambda task=task, n=size: {f"{k} {n}": s for k, s in task().items()})
    medians = interleave(named, setting.repeats)
    rows = []
    for quantity, title in QUANTITIES.items():
        times = [medians[f"{quantity} {size}"] for size in sizes]
        power = exponent(sizes, times)
        listed = ", ".join(f"{n}: {seconds(s)}" for n, s in zip(sizes, times))
        rows.append(
            Row(
                f"growth of {title} with the {what}",
                times[-1],
                note=f"time ∝ n^{power:.2f} ({listed})",
                more={"exponent": power, "sizes": list(sizes), "seconds": times},
            )
        )
    return rows
