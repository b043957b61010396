"""Effect of a fault in one contrast: cut, coarse, saturated, ghosts, motion, bias field.

Detectors are trained on intact scans. Each contrast of the test patients in turn gets each
fault, mild and strong. Then the scans are prepared as by 'skadm fit' and 'skadm score'. Cut
contrasts are also tested without `CoverageImputer` ("not filled in"). The table shows the
average precision, mean over test patients, minus that of the same patients without a fault.
All methods have the prior that lesions are bright on FLAIR and half as much on T2, except
PCA, the mixture and ADM, which have none. The pretrained eraser was trained on synthetic
brains only, in slices of 128 pixels.

--alarms trains nothing. It counts the scans in which `CoverageImputer` finds a contrast
that does not cover the brain.

    python -m benchmarks robustness --data brats --size 64 --preset quick --every 4
    python -m benchmarks robustness --alarms brats lgg wmh
    python -m benchmarks robustness --quick

Writes per_patient.csv, robustness.csv and run.json.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.lib.options import (
    add_experiment_arguments,
    add_methods,
    positive,
    read_options,
    say,
)
from benchmarks.lib.priors import BRIGHT

if TYPE_CHECKING:
    from benchmarks.lib.data import Split
    from skadm.base import Detector

QUICK = {"size": 32, "patients": 4, "slices": 8, "preset": "quick", "every": 2}
LEAD = ("FLAIR",)  # lesions that only it shows are lost with it
CLEAN = ("none", "none", "none", "none")
OTHERS = ("PCA", "GaussianMixture", "ADM", "ADM+")
KEYS = ("contrast", "fault", "severity", "cut")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_experiment_arguments(parser)
    add_methods(parser)
    parser.add_argument(
        "--every", type=positive, default=1, help="score every n-th test slice"
    )
    parser.add_argument("--alarms", nargs="+", metavar="PATH", help="folders of scans")
    parser.add_argument(
        "--contrasts", nargs="+", help="contrasts of --alarms; default: all"
    )
    parser.set_defaults(seeds=1)


def methods(contrasts: Sequence[str], preset: str) -> dict[str, Detector]:
    """Return the unfitted methods to compare, by name."""
    from benchmarks.lib.methods import SIGNED, make_method
    from skadm import EraserDetector, IntensityDetector
    from skadm.presets import make_detector

    prior = {name: weight for name, weight in BRIGHT.items() if name in contrasts}
    pretrained = EraserDetector(
        init="synthetic", evidence="presence", max_epochs=0, prior=prior
    )
    return {
        "FLAIR + T2/2, smoothed": IntensityDetector(prior=prior, sigma=2.0),
        SIGNED: make_method(SIGNED, preset, contrasts),
        "Eraser, directed": make_detector("EraserDetector", preset, prior=prior),
        "Eraser, pretrained": pretrained,
        **{name: make_method(name, preset, contrasts) for name in OTHERS},
    }


def load_faulty(options: argparse.Namespace) -> tuple[Split, dict[str, tuple[str, ...]]]:
    """Split patients into training and test, and add faults to the test patients.

    Returns
    -------
    split : Split
        Prepared slices.
    kinds : dict of str to tuple of str
        Contrast, fault, severity, and whether it is filled in, by name of the volume.
    """
    from benchmarks.lib.data import Split, crop
    from skadm.data import SliceStack, make_phantom, read_any
    from skadm.evaluation import patient_split
    from skadm.preprocessing import SliceResizer

    if options.data == "phantom":
        raw = make_phantom(options.patients, options.slices, options.size, random_state=0)
    else:
        raw = SliceResizer(options.size).fit_transform(read_any(options.data))
    raw = raw.in_memory()
    train, test = patient_split(raw.groups, random_state=0)
    kinds: dict[str, tuple[str, ...]] = {}
    volumes = [_prepared(volume) for volume in raw[train].volumes]
    for volume in raw[test].volumes:
        for kind, images in _with_faults(volume):
            name = ", ".join((volume.name, *kind))
            filled = kind[-1] != "not filled in"
            volumes.append(_prepared(volume, images, name, options.every, filled=filled))
            kinds[name] = kind
        say(f"{volume.name}: {len(kinds)} test volumes")
    stack = SliceStack.from_volumes(volumes)
    stack = crop(stack[np.array([image.any() for image in stack])])
    tested = np.isin(stack.volume_ids, list(kinds))
    return Split(options.data, stack, stack.y, ~tested, tested), kinds


def _prepared(
    volume: Any, images: Any = None, name: str = "", every: int = 1, *, filled: bool = True
) -> Any:
    """Prepare every n-th slice of a volume, or of the same volume with other images."""
    from skadm.data import ArrayVolume, SliceStack
    from skadm.preprocessing import CoverageImputer, IntensityNormalizer

    labels = volume.decode().labels
    known: dict[str, Any] = {"patient": volume.patient, "contrasts": volume.contrasts}
    if images is not None:
        volume = ArrayVolume(images, labels, name=name, **known)
    stack = SliceStack.from_volumes([volume])
    if filled:
        stack = CoverageImputer().fit_transform(stack)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the cuts are intended
        images = IntensityNormalizer().fit_transform(stack).X
    return ArrayVolume(images[::every], labels[::every], name=volume.name, **known)


def _with_faults(volume: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the images of a volume without and with each fault, and its description."""
    from benchmarks.lib.faults import faulty

    read = volume.decode()
    yield CLEAN, read.images
    for index, contrast in enumerate(volume.contrasts):
        for fault, severity, images in faulty(read.images, read.brain, index):
            is_cut = fault.startswith("cut")
            for cut in ("filled in", "not filled in") if is_cut else ("none",):
                yield (contrast, fault, severity, cut), images


def patient_rows(
    method: str, maps: Any, split: Split, kinds: dict[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    """Compute the AP of each test patient with each fault."""
    from skadm.metrics import pixel_average_precision_score

    stack, labels = split.stack[split.test], split.labels[split.test]
    rows = []
    for name, kind in kinds.items():
        own = stack.volume_ids == name
        if (labels[own] == 1).any():
            row = {"method": method, "patient": stack.groups[own][0]}
            row |= dict(zip(KEYS, kind))
            rows.append(row | {"ap": pixel_average_precision_score(labels[own], maps[own])})
    return rows


def costs(rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[Any]]:
    """Subtract the mean AP without a fault from that with it; also return the table.

    The table has a row for FLAIR, and one for the worst of the other contrasts, which the
    remaining contrasts can replace.
    """
    import pandas as pd

    means = pd.DataFrame(rows).groupby(["method", *KEYS], sort=False)["ap"].mean()
    means = means.reset_index()
    clean = means[means["fault"] == "none"].set_index("method")["ap"]
    means["change"] = means["ap"] - means["method"].map(clean)
    shown = [{"fault": "none (AP)", "contrast": "", **clean.round(3)}]
    spoilt = means[means["fault"] != "none"]
    for (fault, severity, cut), part in spoilt.groupby(list(KEYS[1:]), sort=False):
        title = f"{fault}, {severity}" + ("" if cut == "none" else f", {cut}")
        lead = part["contrast"].isin(LEAD)
        for which, some in (("worst other", part[~lead]), ("FLAIR", part[lead])):
            worst = some.groupby("method", sort=False)["change"].min()
            shown.append({"fault": title, "contrast": which, **worst.round(3)})
    return means.to_dict("records"), shown


def count_alarms(folders: Sequence[str], contrasts: Any) -> list[dict[str, Any]]:
    """Count the scans of each folder that have an incomplete contrast."""
    from skadm.data import SliceStack, read_any
    from skadm.preprocessing import CoverageImputer

    rows = []
    for folder in folders:
        alarms = []
        stack = read_any(folder, contrasts=contrasts, labels=False)
        for volume in CoverageImputer().fit_transform(stack).volumes:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                SliceStack.from_volumes([volume]).in_memory()
            alarms += [str(each.message) for each in caught]
        for alarm in alarms:
            say(alarm)
        rows.append({"data": folder, "scans": len(stack.volumes), "alarms": len(alarms)})
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the experiment."""
    options = read_options(__name__, argv)

    from benchmarks.lib.methods import choose
    from benchmarks.lib.page import Page
    from benchmarks.lib.runs import run_variants

    if options.alarms is not None:
        page = Page(options, "Scans that are taken for cut", ", ".join(options.alarms))
        rows = count_alarms(options.alarms, options.contrasts)
        page.table("alarms", rows, "Contrasts that do not cover the brain")
        page.close()
        return
    split, kinds = load_faulty(options)
    detectors = methods(split.stack.contrasts, options.preset)
    chosen = choose(options.methods, detectors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about brains unlike the training
        outcomes = run_variants({name: detectors[name] for name in chosen}, split, options)
    rows = []
    for outcome in outcomes:
        assert outcome.load_maps is not None
        maps = outcome.load_maps().test
        rows += patient_rows(outcome.run.method, maps, split, kinds)
    means, shown = costs(rows)
    page = Page(
        options,
        "Faults of one contrast",
        f"{options.data}: {len(split.patients['training'])} patients to train on, tested: "
        f"{', '.join(split.patients['test'])}; preset {options.preset}.",
    )
    page.rows("per_patient", rows)
    page.table("robustness", means, "Change of the average precision", shown)
    page.close(split.describe())
