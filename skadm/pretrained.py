"""Pretrained models, trained on synthetic brains and shipped with the package."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from skadm.data import SliceStack, make_random_brains
from skadm.detectors import EraserDetector
from skadm.detectors._prior import Prior
from skadm.postprocessing import GaussianSmoother
from skadm.preprocessing import CoverageImputer, IntensityNormalizer, SliceResizer
from skadm.training._pretrained_networks import pretrained_network
from skadm.wrappers import PostprocessedDetector

__all__ = ["load_pretrained"]

_WEIGHTS = "synthetic"  # of all models
_PATIENTS, _SLICES = 8, 4  # synthetic brains for the threshold


@dataclass(frozen=True)
class _Model:
    """A way of using the pretrained network."""

    size: int  # of slices
    parameters: Mapping[str, Any]
    contamination: float  # our choice
    needs_direction: bool = False


_MODELS = {
    # The size of the pretraining: pixels of about 2 mm.
    "synthetic": _Model(128, {"evidence": "presence"}, contamination=0.01),
    # Pixels of about 1 mm. Parameters as in the preset "small-lesions". Synthetic normal
    # brains have bright spots, so real ones are flagged less than the contamination says:
    # 0.03 had the highest F1 score on lower-grade gliomas.
    "synthetic-small-lesions": _Model(
        240,
        {"evidence": "residual+intensity", "sigma": 1.0},
        contamination=0.03,
        needs_direction=True,
    ),
}


def load_pretrained(
    name: str = "synthetic",
    *,
    contrasts: Sequence[str],
    prior: Prior = None,
    prior_sign: str = "known",
    prior_rule: str = "sum",
    smooth_through: float = 0.0,
    contamination: float | None = None,
    device: str | torch.device = "auto",
    random_state: int | None = 0,
) -> Pipeline:
    """Load a pretrained model that needs no training on real scans.

    The model is an `EraserDetector` whose network was trained on synthetic brains, for
    any subset of its known contrasts. The threshold is computed in seconds from 32 slices
    of synthetic normal brains with the same contrasts. Pass whole scans, since
    intensities are normalised per scan.

    "synthetic" scores slices of 128 x 128 pixels by the predicted presence of lesions
    (``evidence="presence"``). "synthetic-small-lesions" scores slices of 240 x 240 pixels,
    hardly smoothed, by residual and intensity (``evidence="residual+intensity"``,
    ``sigma=1``). It is for lesions of a few millimetres, as in multiple sclerosis.

    Parameters
    ----------
    name : {"synthetic", "synthetic-small-lesions"}, default="synthetic"
        Name of the model.
    contrasts : sequence of str
        Contrasts of the scans, in order: any of T1, T1ce, T2, PD, FLAIR, DWI and ADC.
    prior : None, mapping or sequence, default=None
        Contrasts that lesions change, as in `EraserDetector`, such as ``{"FLAIR": 1,
        "T2": 0.5}``. A prior improves detection considerably. "synthetic-small-lesions"
        needs one with a known sign.
    prior_sign : {"known", "unknown"}, default="known"
        Whether lesions are known to be bright (with a negative weight: dark).
    prior_rule : {"sum", "all"}, default="sum"
        Whether the sum of the contrasts of the prior is high, or every one of them, as in
        `EraserDetector`.
    smooth_through : float, default=0.0
        Standard deviation of a Gaussian that smooths maps through the slices of a scan, in
        slices. For slices of 1 mm: 5, for small lesions 1. 0: none.
    contamination : float, default=None
        Fraction of the pixels of synthetic normal brains predicted as anomalous; for real
        normal brains it differs (see the documentation, "Results"). None: 0.01, or 0.03 for
        "synthetic-small-lesions".
    device : str or torch.device, default="auto"
        Device of the network.
    random_state : int or None, default=0
        Controls the synthetic brains.

    Returns
    -------
    model : sklearn.pipeline.Pipeline
        `CoverageImputer`, normaliser, resizer and a fitted detector, as from 'skadm fit'.
        It scores a `SliceStack` with these contrasts.

    Raises
    ------
    ValueError
        If the model is unknown, does not support one of the contrasts, or needs a prior.

    Examples
    --------
    >>> import skadm
    >>> model = skadm.load_pretrained("synthetic", contrasts=["T1", "FLAIR"],
    ...                               prior=["FLAIR"])  # doctest: +SKIP
    >>> maps = model.score_samples(stack)  # doctest: +SKIP
    """
    contrasts = tuple(contrasts)
    if name not in _MODELS:
        raise ValueError(
            f"there is no pretrained model {name!r}; expected one of {', '.join(_MODELS)}."
        )
    chosen = _MODELS[name]
    if contamination is None:
        contamination = chosen.contamination
    pretrained_network(_WEIGHTS, contrasts)  # raises for unsupported contrasts
    if isinstance(prior, str):
        raise ValueError(
            f"prior={prior!r} needs training slices with an anomaly, but a pretrained "
            "model is not trained. Name the contrasts, as in prior={'FLAIR': 1}, or fit "
            f"EraserDetector(init={_WEIGHTS!r})."
        )
    if chosen.needs_direction and (prior is None or prior_sign != "known"):
        raise ValueError(
            f"the pretrained model {name!r} needs a prior with a known sign: on which "
            "contrasts lesions are bright or dark, as in prior={'FLAIR': 1} (on the "
            "command line: --prior FLAIR)."
        )
    eraser = EraserDetector(
        **chosen.parameters,
        init=_WEIGHTS,
        max_epochs=0,
        prior=prior,
        prior_sign=prior_sign,
        prior_rule=prior_rule,
        contamination=contamination,
        device=device,
        random_state=random_state,
    )
    make_brains = _seeded_brains if isinstance(random_state, Integral) else _make_brains
    brains = make_brains(_PATIENTS, chosen.size, contrasts, random_state)
    steps = [("normalise", IntensityNormalizer()), ("resize", SliceResizer(chosen.size))]
    model = Pipeline([*steps, ("detector", eraser)])
    with warnings.catch_warnings():
        # Synthetic brains are unusual and may fill their slices.
        warnings.simplefilter("ignore", UserWarning)
        model.fit(brains)
    # Synthetic brains have random cuts: do not impute there.
    model.steps.insert(0, ("coverage", CoverageImputer().fit(brains)))
    _forget_correlations(eraser)
    if smooth_through:
        model.steps[-1] = ("detector", _smoothed(eraser, chosen.size, smooth_through))
    model.training_ = describe_pretrained(name, contrasts, prior, contamination)
    return model


def _make_brains(
    n_patients: int, size: int, contrasts: tuple[str, ...], random_state: Any
) -> SliceStack:
    """Make the normal brains for the threshold."""
    return make_random_brains(
        n_patients, _SLICES, size, contrasts=contrasts, random_state=random_state
    )


# They take as long as scoring a patient, and models with different priors share them.
_seeded_brains = lru_cache(maxsize=2)(_make_brains)


def _smoothed(
    eraser: EraserDetector, size: int, smooth_through: float
) -> PostprocessedDetector:
    """Wrap the fitted eraser to smooth its maps; the threshold is unchanged.

    Synthetic slices are far apart, so the threshold cannot be set on smoothed maps.
    Smoothing reduces the spread of normal scores, so fewer normal pixels are flagged.
    """
    smoother = GaussianSmoother(0.0, sigma_through=smooth_through)
    detector = PostprocessedDetector(eraser, smoother, contamination=eraser.contamination)
    detector.detector_ = eraser
    empty = np.zeros((1, size, size))
    detector.filters_ = [smoother.fit(empty, groups=[0])]
    detector.offset_ = float(eraser.offset_)
    detector.background_score_ = float(eraser.background_score_)
    # Fractions at the threshold are upper bounds for smoothed maps; the variation between
    # patients at other thresholds does not apply and is set to unknown.
    detector.training_scores_ = replace(eraser.training_scores_, n_patients=1)
    return detector


def _forget_correlations(eraser: EraserDetector) -> None:
    """Disable the check for swapped contrasts: synthetic correlations are random."""
    reference = eraser.training_reference_
    eraser.training_reference_ = replace(
        reference, correlations=np.eye(len(reference.correlations))
    )


def describe_pretrained(
    name: str, contrasts: Sequence[str], prior: Prior, contamination: float
) -> dict[str, Any]:
    """Describe the training of a model, as 'skadm fit' does."""
    return {
        "patients": [],
        "detector": f"EraserDetector, pretrained ({name})",
        "threshold": (
            f"flags {contamination:.1%} of the pixels of synthetic normal brains; no "
            "training on real scans"
        ),
        "prior": dict(prior) if isinstance(prior, Mapping) else list(prior or ()),
    }
