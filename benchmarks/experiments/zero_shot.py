"""The pretrained model on real scans, without training on any of them.

The network was trained on synthetic brains only (`pretrain`). Each folder of scans is
scored with three priors: known direction (lesions are bright on FLAIR and half as much on
T2, or bright on DWI and dark on ADC), known contrasts without direction, and none. "3-D"
methods are also smoothed through the slices of scans with thin slices. For comparison,
plain intensities with the same priors are scored, smoothed and not. Thresholds of the
network are those of synthetic normal brains. The best Dice uses the best threshold of each
patient.

--fine-tune N fine-tunes erasers on the normal slices of N patients instead, also for
several N, and tests them on the patients left by the largest N. "Pretrained" is without
fine-tuning. --from-scratch also trains erasers from random weights. --corrupt damages one
contrast after the other: cut (a fifth of the brain's columns on one side), coarse (pixels
three times as high) or saturated (at its 90 % quantile).

    python -m benchmarks zero_shot --data brats open_ms/mni mslesseg wmh
    python -m benchmarks zero_shot --data isles2022 --contrasts DWI ADC
    python -m benchmarks zero_shot --data brats --fine-tune 1 2 4 --folds 3
    python -m benchmarks zero_shot --data brats --corrupt --every 4

Writes per_patient.csv, pooled.csv, tables of patients, and run.json.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import positive, read_options, say
from benchmarks.lib.priors import known_direction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from skadm.data import SliceStack

THIN = 2.0  # mm: largest distance of slices for smoothing through them
THROUGH = 5.0  # mm: standard deviation of that Gaussian
SIGMA = 2.0

PRETRAINED = "pretrained"  # without fine-tuning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--data", nargs="+", required=True, help="folders of scans")
    parser.add_argument("--contrasts", nargs="+", help="default: all of them")
    parser.add_argument("--patients", nargs="+", help="default: all of them")
    parser.add_argument("--every", type=positive, default=1, help="score every n-th slice")
    parser.add_argument(
        "--fine-tune",
        type=positive,
        nargs="+",
        metavar="N",
        help="numbers of patients to fine-tune on",
    )
    parser.add_argument(
        "--corrupt", action="store_true", help="also test faults of one contrast"
    )
    parser.add_argument("--folds", type=positive, default=1, help="folds of --fine-tune")
    parser.add_argument(
        "--from-scratch", action="store_true", help="also train from random weights"
    )


def measure(
    labels: NDArray[np.int8], maps: NDArray, threshold: float | None
) -> dict[str, float]:
    """Compute AUC, AP and best Dice; and Dice and flagged share at a threshold."""
    from skadm.metrics import (
        best_dice_score,
        pixel_average_precision_score,
        pixel_roc_auc_score,
        pixel_scores_at_threshold,
    )

    flagged = np.nan if threshold is None else np.mean(maps[labels == 0] < threshold)
    row = {"flagged": float(flagged)}
    if (labels == 1).any():
        row |= {
            "auc": pixel_roc_auc_score(labels, maps),
            "ap": pixel_average_precision_score(labels, maps),
            "best_dice": best_dice_score(labels, maps),
        }
        if threshold is not None:
            row["dice"] = pixel_scores_at_threshold(labels, maps, threshold)["f1"]
    return row


class ZeroShot:
    """Score scans with the pretrained network in all ways, in one pass."""

    def __init__(self, contrasts: Sequence[str]) -> None:
        from skadm import load_pretrained

        weights = known_direction(contrasts)
        told: dict[str, dict[str, Any]] = {"zero-shot, nothing known": {}}
        if weights:
            told["zero-shot, contrasts known"] = {
                "prior": weights,
                "prior_sign": "unknown",
            }
            told["zero-shot, direction known"] = {"prior": weights}
        self.weights = weights
        self.models = {
            name: load_pretrained("synthetic", contrasts=contrasts, **known)
            for name, known in told.items()
        }
        self.contrasts = tuple(contrasts)

    def prepare(self, stack: SliceStack) -> tuple[NDArray, NDArray]:
        """Return prepared slices of a scan, and their labels."""
        prepared = next(iter(self.models.values()))[:-1].transform(stack)
        X, y = prepared.load()
        return X, np.where((X != 0).any(axis=1), 0, -1) if y is None else y

    def score(self, X: NDArray, thickness: float) -> dict[str, tuple[NDArray, float]]:
        """Compute maps of a whole scan and their threshold, by method."""
        from skadm.postprocessing import GaussianSmoother

        brain = (X != 0).any(axis=1)
        one_scan = {"brain": brain, "groups": np.zeros(len(X), int)}
        found = {}
        plain, smoothed = self.intensities(X, brain)
        if self.weights:
            lead = max(self.weights, key=lambda name: abs(self.weights[name]))
            found[f"{lead}, as it is"] = plain, None
            name = " + ".join(f"{weight:g} {each}" for each, weight in self.weights.items())
            found[f"{name}, smoothed"] = smoothed, None
        first = next(iter(self.models.values()))[-1]
        outputs = first._apply(first._outputs, X)
        maps = {name: self._map(model, X, outputs) for name, model in
                self.models.items()}  # fmt: skip
        if self.weights:
            maps[f"{name}, smoothed"] = smoothed
        for method, own in maps.items():
            model = self.models.get(method)
            threshold = None if model is None else float(model[-1].offset_)
            steps = {"": own}
            if thickness <= THIN:
                smoother = GaussianSmoother(0.0, sigma_through=THROUGH / thickness)
                fitted = smoother.fit(own, **one_scan)
                steps[", 3-D"] = fitted.transform(own, **one_scan)
            for how, values in steps.items():
                found[method + how] = values, threshold
        return found

    def intensities(self, X: NDArray, brain: NDArray) -> tuple[NDArray, NDArray]:
        """Score by the contrast of the largest weight, and by the sum, smoothed."""
        from skadm._filters import smooth_in_brain

        axis = np.array([self.weights.get(name, 0.0) for name in self.contrasts])
        lead = -X[:, np.abs(axis).argmax()] * np.sign(axis[np.abs(axis).argmax()] or 1)
        summed = np.einsum("nkhw,k->nhw", X, axis)
        return lead, -smooth_in_brain(summed, brain, SIGMA)

    def _map(self, model: Any, X: NDArray, outputs: NDArray) -> NDArray:
        import torch

        eraser = model[-1]
        parts = []
        with torch.inference_mode():
            for image, output in zip(X, outputs):
                score = eraser._anomaly_of(
                    eraser._networks,
                    torch.from_numpy(image)[None],
                    torch.from_numpy(output)[None],
                )
                parts.append(-score[0].numpy())
        return np.stack(parts)


def corrupted(X: NDArray, contrast: int, fault: str) -> NDArray:
    """Add a fault to one contrast of a scan and prepare it again."""
    from skadm.data._corruptions import coarsen
    from skadm.preprocessing._normalize import zscore

    X, brain = X.copy(), (X != 0).any(axis=1)
    own = X[:, contrast]
    if fault == "coarse":
        X[:, contrast] = coarsen(own, brain, 3.0, 1.0)
    elif fault == "saturated":
        X[:, contrast] = np.where(brain, np.minimum(own, np.quantile(own[brain], 0.9)), 0)
    else:
        shown = np.flatnonzero(brain.any(axis=(0, 1)))
        lost = shown[: len(shown) // 5]
        # Outside the field of view a scan is 0, less than any tissue.
        own[..., lost] = np.where(brain[..., lost], own[brain].min(), 0)
    return zscore(X, brain)


def score_corrupted(folder: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return rows of scans with a fault in one contrast, with known direction."""
    from skadm.data import read_any

    stack = read_any(folder, contrasts=options.contrasts, patients=options.patients)
    zero_shot = ZeroShot(stack.contrasts)
    method = "zero-shot, direction known"
    cases = [("none", "none")]
    cases += [(c, f) for c in stack.contrasts for f in ("cut", "coarse", "saturated")]
    rows, pixels = [], {}
    for volume, places in stack.volume_places():
        X, y = zero_shot.prepare(stack[places])
        kept = np.flatnonzero((X != 0).any(axis=(1, 2, 3)))[:: options.every]
        X, y = X[kept], y[kept]
        for contrast, fault in cases:
            images = X
            if fault != "none":
                images = corrupted(X, stack.contrasts.index(contrast), fault)
            maps, threshold = zero_shot.score(images, np.inf)[method]
            row = {"data": Path(folder).name, "contrast": contrast, "fault": fault}
            rows.append(row | {"patient": volume.name} | measure(y, maps, threshold))
            both = pixels.setdefault((contrast, fault), ([], [], threshold))
            both[0].append(y[y >= 0])
            both[1].append(maps[y >= 0])
        say(f"{folder}: {volume.name}")
    for (contrast, fault), (labels, scores, threshold) in pixels.items():
        row = {"data": Path(folder).name, "contrast": contrast, "fault": fault}
        together = np.concatenate(labels), np.concatenate(scores)
        rows.append(row | {"patient": "all"} | measure(*together, threshold))
    return rows


def score_folder(folder: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return rows of all patients of a folder, by method, then of all pixels pooled."""
    from skadm.data import read_any

    stack = read_any(
        folder,
        contrasts=options.contrasts,
        patients=options.patients,
        allow_empty_masks=True,
    )
    started = time.perf_counter()
    zero_shot = ZeroShot(stack.contrasts)
    ready = time.perf_counter() - started
    rows, pixels = [], {}
    for volume, places in stack.volume_places():
        started = time.perf_counter()
        X, y = zero_shot.prepare(stack[places])
        kept = (X != 0).any(axis=(1, 2, 3))
        X, y = X[kept][:: options.every], y[kept][:: options.every]
        thickness = float(volume.grid.voxel_size[2]) * options.every
        found = zero_shot.score(X, thickness)
        seconds = time.perf_counter() - started
        for method, (maps, threshold) in found.items():
            row = {"data": Path(folder).name, "patient": volume.name, "method": method}
            rows.append(row | measure(y, maps, threshold) | {"seconds": seconds})
            kept_pixels = pixels.setdefault(method, ([], [], threshold))
            inside = y >= 0
            kept_pixels[0].append(y[inside])
            kept_pixels[1].append(maps[inside].astype(np.float32))
        say(f"{folder}: {volume.name} in {seconds:.0f} s (model: {ready:.0f} s)")
    for method, (labels, scores, threshold) in pixels.items():
        row = {"data": Path(folder).name, "patient": "all", "method": method}
        together = np.concatenate(labels), np.concatenate(scores)
        rows.append(row | measure(*together, threshold))
    return rows


def fine_tune(folder: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return rows of patients that erasers were not fine-tuned on."""
    from skadm import EraserDetector
    from skadm.data import read_any
    from skadm.preprocessing import IntensityNormalizer, SliceResizer
    from skadm.presets import make_detector

    stack = read_any(folder, contrasts=options.contrasts, patients=options.patients)
    stack = SliceResizer(128).fit_transform(IntensityNormalizer().fit_transform(stack))
    stack = stack.in_memory()
    X, y = stack.load()
    shown = (X != 0).any(axis=(1, 2, 3))
    prior = known_direction(stack.contrasts)
    kinds: dict[str, EraserDetector] = {
        PRETRAINED: make_detector(
            "EraserDetector", "fine-tune", prior=prior, max_epochs=0, random_state=0
        ),
        "fine-tuned": make_detector(
            "EraserDetector", "fine-tune", prior=prior, random_state=0
        ),
    }
    if options.from_scratch:
        kinds["from scratch"] = make_detector(
            "EraserDetector", "cpu", prior=prior, n_networks=1, random_state=0
        )
    patients = list(dict.fromkeys(stack.groups.tolist()))
    n_tested = len(patients) - max(options.fine_tune)
    if n_tested < 1:
        raise ValueError(
            f"{folder} has {len(patients)} patients; expected more than the "
            f"{max(options.fine_tune)} of --fine-tune"
        )
    rows = []
    for fold, n_training in product(range(options.folds), options.fine_tune):
        # Others are tested in each fold, and the same whatever the number.
        order = np.roll(patients, -fold * n_tested).tolist()
        chosen, tested = order[:n_training], order[-n_tested:]
        training = np.isin(stack.groups, chosen)
        for name, detector in kinds.items():
            if name == PRETRAINED and n_training > min(options.fine_tune):
                continue  # the same again
            started = time.process_time()
            detector.fit(stack[training & shown], y[training & shown])
            seconds = time.process_time() - started
            say(f"{name} on {', '.join(chosen)}: {seconds:.0f} s")
            # With a known direction, nothing is learned beside the networks.
            for evidence in ("residual", "presence"):
                detector.set_params(evidence=evidence)
                row = {"data": Path(folder).name, "training": ", ".join(chosen)}
                row |= {"patients": 0 if name == PRETRAINED else n_training}
                row |= {"method": f"{name}, {evidence}", "seconds": seconds}
                pixels: tuple[list[NDArray], list[NDArray]] = ([], [])
                for patient in tested:
                    own = np.flatnonzero((stack.groups == patient) & shown)
                    own = own[:: options.every]
                    maps, labels = detector.score_samples(stack[own]), y[own]
                    rows.append(row | {"patient": patient} | measure(labels, maps, None))
                    pixels[0].append(labels[labels >= 0])
                    pixels[1].append(maps[labels >= 0])
                together = (np.concatenate(each) for each in pixels)
                rows.append(row | {"patient": "all"} | measure(*together, None))
            detector.set_params(evidence="residual")
    return rows


def means_of_folds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over folds of each number of training patients and method."""
    import pandas as pd

    table = pd.DataFrame(rows).groupby(["data", "patients", "method"], sort=True)
    metrics = ["seconds", "auc", "ap", "best_dice"]
    return table[metrics].mean().reset_index().to_dict("records")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    import pandas as pd
    import torch

    from benchmarks.lib.page import Page

    torch.set_num_threads(1)
    run = score_folder if options.fine_tune is None else fine_tune
    run = score_corrupted if options.corrupt else run
    rows = [row for folder in options.data for row in run(folder, options)]
    page = Page(options, "The pretrained model", "Metrics of patients, and of all pixels.")
    page.rows("per_patient", rows)
    pooled = [
        {key: value for key, value in row.items() if key != "patient"}
        for row in rows
        if row["patient"] == "all"
    ]
    page.table("pooled", pooled, "All pixels of a folder")
    if options.fine_tune is not None:
        caption = "All pixels of the tested patients, mean over folds"
        page.table("fine_tuned", means_of_folds(pooled), caption)
    if run is score_folder:
        table = pd.DataFrame(rows)
        for metric in [name for name in ("ap", "best_dice", "flagged") if name in table]:
            shown = table.pivot_table(metric, ["data", "patient"], "method", sort=False)
            page.table(
                metric, shown.reset_index().to_dict("records"), f"{metric}, patients"
            )
    page.close()
