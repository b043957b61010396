"""Models that are ready to score: trained on synthetic brains, shipped with the package."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from skadm.data import make_random_brains
from skadm.detectors import EraserDetector
from skadm.detectors._prior import Prior
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import CoverageImputer, IntensityNormalizer, SliceResizer
from skadm.training._pretrained import pretrained_network
from skadm.wrappers import PostprocessedDetector

__all__ = ["load_pretrained"]

_SIZE = 128  # of slices, as in the pretraining
_PATIENTS, _SLICES = 8, 4  # synthetic, of which the threshold is


def load_pretrained(
    name: str = "synthetic",
    *,
    contrasts: Sequence[str],
    prior: Prior = None,
    prior_sign: str = "known",
    smooth_through: float = 0.0,
    contamination: float = 0.01,
    device: str | torch.device = "auto",
    random_state: int | None = 0,
) -> Pipeline:
    """Make a model that scores scans without any training on real ones.

    An eraser (`EraserDetector`) whose network was trained on synthetic brains, for any set
    of the contrasts that it knows. Its score is where the network sees lesions
    (``evidence="presence"``), and the threshold is learned from 32 slices of synthetic
    normal brains with the same contrasts, which takes seconds. Give whole scans, since
    intensities are relative to those of the rest of the scan.

    Parameters
    ----------
    name : {"synthetic"}, default="synthetic"
        Which one.
    contrasts : sequence of str
        Those of the scans, in their order: any of T1, T1ce, T2, PD, FLAIR, DWI and ADC.
    prior : None, mapping or sequence, default=None
        Which contrasts lesions change, as `EraserDetector` takes it, such as
        ``{"FLAIR": 1, "T2": 0.5}``. With it, lesions are found far better than without.
    prior_sign : {"known", "unknown"}, default="known"
        Whether they are known to be bright (with a negative weight: dark).
    smooth_through : float, default=0.0
        Standard deviation of a Gaussian that smooths maps through the slices of a scan, in
        slices: 5 for slices of 1 mm. 0: none.
    contamination : float, default=0.01
        Share of the pixels of synthetic normal brains that is called anomalous; that of a
        real normal brain differs (see the documentation, "Pretrained").
    device : str or torch.device, default="auto"
        Where the network runs.
    random_state : int or None, default=0
        Draws the synthetic brains.

    Returns
    -------
    model : sklearn.pipeline.Pipeline
        `CoverageImputer`, normaliser, resizer and a fitted detector, as 'skadm fit' makes
        them. It scores a `SliceStack` with these contrasts.

    Raises
    ------
    ValueError
        If there is no such model, or it does not take one of the contrasts.

    Examples
    --------
    >>> import skadm
    >>> model = skadm.load_pretrained("synthetic", contrasts=["T1", "FLAIR"],
    ...                               prior=["FLAIR"])  # doctest: +SKIP
    >>> maps = model.score_samples(stack)  # doctest: +SKIP
    """
    contrasts = tuple(contrasts)
    pretrained_network(name, contrasts)  # refuses what it does not take
    if isinstance(prior, str):
        raise ValueError(
            f"prior={prior!r} is learned from slices with an anomaly, and nothing is "
            "trained here: name the contrasts, as in prior={'FLAIR': 1}, or fit "
            f"EraserDetector(init={name!r})."
        )
    eraser = EraserDetector(
        init=name,
        evidence="presence",
        max_epochs=0,
        prior=prior,
        prior_sign=prior_sign,
        contamination=contamination,
        device=device,
        random_state=random_state,
    )
    brains = make_random_brains(
        _PATIENTS, _SLICES, _SIZE, contrasts=contrasts, random_state=random_state
    )
    steps = [("normalise", IntensityNormalizer()), ("resize", SliceResizer(_SIZE))]
    model = Pipeline([*steps, ("detector", eraser)])
    with warnings.catch_warnings():
        # Synthetic brains are odd, and may fill their slices.
        warnings.simplefilter("ignore", UserWarning)
        model.fit(brains)
    # Synthetic brains are cut in training: nothing is to be filled in there.
    model.steps.insert(0, ("coverage", CoverageImputer().fit(brains)))
    _forget_correlations(eraser)
    if smooth_through:
        model.steps[-1] = ("detector", _smoothed(eraser, smooth_through))
    model.training_ = describe_pretrained(name, contrasts, prior, contamination)
    return model


def _smoothed(eraser: EraserDetector, smooth_through: float) -> PostprocessedDetector:
    """The fitted eraser with smoothed maps; the threshold is that of the eraser.

    Synthetic slices are far apart. Smoothing draws the scores of normal pixels together, so
    that fewer of them are flagged.
    """
    smoother = GaussianSmoother(0.0, sigma_through=smooth_through)
    detector = PostprocessedDetector(eraser, smoother, contamination=eraser.contamination)
    detector.detector_ = eraser
    empty = np.zeros((1, _SIZE, _SIZE))
    detector.filters_ = [smoother.fit(empty, groups=[0])]
    detector.offset_ = float(eraser.offset_)
    detector.background_score_ = float(eraser.background_score_)
    # Shares at the threshold still bound those of smoothed maps; how patients differ
    # elsewhere does not carry over, so it counts as unknown.
    detector.training_scores_ = replace(eraser.training_scores_, n_patients=1)
    return detector


def _forget_correlations(eraser: EraserDetector) -> None:
    """Let no exchanged contrasts be suspected: in synthetic brains, any may correlate."""
    reference = eraser.training_reference_
    eraser.training_reference_ = replace(
        reference, correlations=np.eye(len(reference.correlations))
    )


def describe_pretrained(
    name: str, contrasts: Sequence[str], prior: Prior, contamination: float
) -> dict[str, Any]:
    """Say what a model was trained on, as 'skadm fit' does."""
    return {
        "patients": [],
        "detector": f"EraserDetector, pretrained ({name})",
        "threshold": (
            f"flags {contamination:.1%} of the pixels of synthetic normal brains; no real "
            "scan was trained on"
        ),
        "prior": dict(prior) if isinstance(prior, Mapping) else list(prior or ()),
    }
