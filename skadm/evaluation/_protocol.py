"""Split the patients, train, set the threshold and test."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skadm._brain import ignore_background
from skadm._pipelines import last_step, looks_at_abnormal, looks_through_slices
from skadm._supervision import supervision
from skadm._validation import check_labels, check_shape
from skadm.data._slices import as_slices, in_chunks
from skadm.evaluation._tables import METRICS, Row
from skadm.metrics import (
    best_dice_score,
    pixel_average_precision_score,
    pixel_roc_auc_score,
    pixel_scores_at_threshold,
)
from skadm.model_selection import set_offset_by_f1


@dataclass(frozen=True)
class Evaluation:
    """Results of an evaluation.

    Attributes
    ----------
    rows : list of dict
        One for each method and split: method, supervision (knowledge of lesions used, as
        `skadm.detectors.supervision` names it), split ("validation" or "test"), seed,
        auc, ap, precision, recall, f1, dice, threshold, n_patients, n_slices. Precision,
        recall and F1 are those at the threshold; dice is the best over all thresholds on
        the same split, an upper bound. Undefined values are NaN.
    patient_rows : list of dict
        The same for each method and test patient, with the keys "patient",
        "flagged_share" (fraction of the brain below the threshold) and "expected_share"
        (the same for normal training brains; NaN if the detector does not know it).
    maps : dict of str to ndarray of shape (n_slices, H, W)
        For each method the normality maps of all test slices, including those without
        brain.
    validation_maps : dict of str to ndarray of shape (n_slices, H, W)
        The same for the validation slices; empty without validation.
    detectors : dict of str to detector
        The fitted detectors, with their thresholds.
    seconds : dict of str to float
        For each method the time for fitting, setting the threshold, scoring and metrics.
    """

    rows: list[Row]
    patient_rows: list[Row]
    maps: dict[str, NDArray]
    validation_maps: dict[str, NDArray]
    detectors: dict[str, Any]
    seconds: dict[str, float]


def patient_split(
    groups: ArrayLike, *, test_fraction: float = 1 / 3, random_state: Any
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Split slices into training and test by patient.

    Parameters
    ----------
    groups : array-like of shape (n_slices,)
        Patient of each slice.
    test_fraction : float, default=1/3
        Fraction of patients to test on, rounded to whole patients.
    random_state : int, RandomState instance or None
        Draws the test patients.

    Returns
    -------
    train, test : ndarray of bool, shape (n_slices,)
        Slices of each side; each slice is on exactly one.

    Raises
    ------
    ValueError
        If there are fewer than two patients, or a side would have none.
    """
    patients = np.asarray(groups)
    if patients.ndim != 1:
        raise ValueError(
            f"groups have shape {patients.shape}; expected one patient for each slice."
        )
    names = np.unique(patients)
    if len(names) < 2:
        raise ValueError(
            f"a split by patient needs at least 2 patients; found {len(names)}: "
            f"{names.tolist()}."
        )
    n_test = round(len(names) * test_fraction) if 0 < test_fraction < 1 else 0
    if not 0 < n_test < len(names):
        raise ValueError(
            f"test_fraction={test_fraction:g} of {len(names)} patients leaves the "
            f"{'test' if test_fraction < 0.5 else 'training'} side without patients; "
            "expected a number in (0, 1) that gives each side at least one."
        )
    chosen = check_random_state(random_state).permutation(names)[:n_test]
    test = np.isin(patients, chosen)
    return ~test, test


def evaluate(
    detectors: Mapping[str, Any],
    X: Any,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    split: str = "test",
    seed: int | None = None,
) -> Evaluation:
    """Evaluate fitted detectors at their current thresholds.

    Parameters
    ----------
    detectors : mapping of str to detector
        Name of each method and its fitted detector.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Slices.
    y : array-like of shape (n_slices, H, W), default=None
        Masks: 0 normal, 1 anomaly, -1 outside the brain. None: taken from the stack.
    groups : array-like of shape (n_slices,), default=None
        Patient of each slice. None: taken from the stack.
    split : str, default="test"
        Name of the split in the rows.
    seed : int, default=None
        Seed in the rows.

    Returns
    -------
    evaluation : Evaluation
        Rows of this split, with all slices as test slices.

    Raises
    ------
    ValueError
        If there are no detectors or no labels, or shapes do not match.
    """
    labels, patients = _labels_and_patients(detectors, X, y, groups)
    results = _Results(split, seed)
    for name, detector in detectors.items():
        started = time.perf_counter()
        results.add(name, detector, detector.score_samples(X), labels, patients)
        results.seconds[name] = time.perf_counter() - started
    return results.evaluation()


def evaluate_split(
    detectors: Mapping[str, Any],
    X: Any,
    y: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    *,
    train: ArrayLike,
    test: ArrayLike,
    seed: int | None = None,
) -> Evaluation:
    """Train, set the threshold and test several methods.

    Parameters
    ----------
    detectors : mapping of str to detector
        Name of each method and its detector, which is cloned. It is trained on normal
        slices. Detectors that use slice-level labels (`EraserDetector` with
        prior="learned") get abnormal slices with their whole brain labelled 1.
    X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
        Slices, preprocessed.
    y : array-like of shape (n_slices, H, W), default=None
        Masks: 0 normal, 1 anomaly, -1 outside the brain. None: taken from the stack.
    groups : array-like of shape (n_slices,), default=None
        Patient of each slice. None: taken from the stack.
    train, test : array-like of bool, shape (n_slices,)
        Slices of the training and the test patients, as from `patient_split`.
    seed : int, default=None
        Seed in the rows; it does not change the detectors' `random_state`.

    Returns
    -------
    evaluation : Evaluation
        Rows of validation and test; other attributes for the test slices.

    Raises
    ------
    ValueError
        If a patient is on both sides, the training patients lack normal or abnormal
        slices, the test patients lack anomalies, there are no labels, or shapes do not
        match.
    """
    X = as_slices(X)
    labels, patients = _labels_and_patients(detectors, X, y, groups)
    train, test = _check_sides(train, test, patients)
    abnormal = (labels == 1).any(axis=(1, 2))
    normal = (labels == 0).any(axis=(1, 2)) & ~abnormal
    # Check for missing slices before training.
    _require(train & normal, "normal slice", "training", "to train on", patients[train])
    _require(
        train & abnormal, "slice with an anomaly", "training",
        "to set the threshold on", patients[train],
    )  # fmt: skip
    _require(test & abnormal, "slice with an anomaly", "test", "to test on", patients[test])
    learn_from, set_on = np.flatnonzero(train & normal), np.flatnonzero(train & abnormal)
    shown, test_on = np.flatnonzero(train & (normal | abnormal)), np.flatnonzero(test)
    validated, tested = (_Results(split, seed) for split in ("validation", "test"))
    for name, detector in detectors.items():
        started = time.perf_counter()
        if looks_at_abnormal(detector):
            seen, known = shown, _without_places(labels[shown])
        else:
            seen, known = learn_from, labels[learn_from]
        detector = clone(detector).fit(X[seen], known)
        set_offset_by_f1(detector, X[shown], labels[shown], abnormal_only=True)
        # Detectors that use neighbouring slices also get the slices that are not
        # evaluated.
        around = shown if looks_through_slices(detector) else set_on
        scores = detector.score_samples(X[around])[np.isin(around, set_on)]
        validated.add(name, detector, scores, labels[set_on], patients[set_on])
        scores = detector.score_samples(X[test_on])
        tested.add(name, detector, scores, labels[test_on], patients[test_on])
        tested.seconds[name] = time.perf_counter() - started
    return tested.evaluation(validated)


def _without_places(labels: NDArray) -> NDArray:
    """Return slice-level labels: the whole brain of abnormal slices is 1."""
    abnormal = (labels == 1).any(axis=(1, 2), keepdims=True)
    return np.where(abnormal & (labels == 0), 1, labels)


def _labels_and_patients(
    detectors: Mapping[str, Any], X: Any, y: ArrayLike | None, groups: ArrayLike | None
) -> tuple[NDArray, NDArray]:
    """Return checked labels, -1 outside the brain, and patients."""
    if not detectors:
        raise ValueError("detectors is empty: expected a mapping of name to detector.")
    y = getattr(X, "y", None) if y is None else y
    groups = getattr(X, "groups", None) if groups is None else groups
    for name, given, what in (("y", y, "masks"), ("groups", groups, "patients")):
        if given is None:
            raise ValueError(f"no {what}; pass {name}, or a SliceStack that has them.")
    labels, patients = _labels_in_brain(X, y), np.asarray(groups)
    if patients.shape != (len(labels),):
        raise ValueError(
            f"groups have shape {patients.shape}; expected ({len(labels)},), one patient "
            "for each slice."
        )
    return labels, patients


def _labels_in_brain(X: Any, y: Any) -> NDArray:
    """Return checked masks, -1 outside the brain except for anomalies."""
    X = as_slices(X)
    labels = check_labels(y, check_shape(X))
    for part in in_chunks(X):
        labels[part.places] = ignore_background(labels[part.places], part.brain)
    return labels


def _check_sides(
    train: ArrayLike, test: ArrayLike, patients: NDArray
) -> tuple[NDArray, NDArray]:
    sides = []
    for name, side in (("train", train), ("test", test)):
        side = np.asarray(side)
        if side.shape != patients.shape or side.dtype != bool:
            raise ValueError(
                f"{name} is {side.dtype} of shape {side.shape}; expected bool of shape "
                f"{patients.shape}, as patient_split returns it."
            )
        sides.append(side)
    shared = np.intersect1d(patients[sides[0]], patients[sides[1]])
    if shared.size:
        raise ValueError(
            f"patients {shared.tolist()[:5]} are on both sides of the split; expected "
            "each patient on one side."
        )
    return sides[0], sides[1]


def _require(
    slices: NDArray, what: str, side: str, purpose: str, patients: NDArray
) -> None:
    if not slices.any():
        names = ", ".join(np.unique(patients).tolist()[:8]) or "none"
        raise ValueError(
            f"no {what} {purpose} among the {side} patients ({names}); split with "
            "another seed, or use more patients."
        )


class _Results:
    """Collects the results of all methods on one side of a split."""

    def __init__(self, split: str, seed: int | None) -> None:
        self.split, self.seed = split, seed
        self.rows: list[Row] = []
        self.patient_rows: list[Row] = []
        self.maps: dict[str, NDArray] = {}
        self.detectors: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}

    def add(
        self, name: str, detector: Any, scores: NDArray, labels: NDArray, patients: NDArray
    ) -> None:
        """Add the results of a fitted detector."""
        threshold = float(detector.offset_)
        training = getattr(last_step(detector), "training_scores_", None)
        expected = training.expected(threshold) if training else np.nan
        head = {
            "method": name,
            "supervision": supervision(detector),
            "split": self.split,
            "seed": self.seed,
        }
        self.rows.append(head | _metrics(labels, scores, threshold, patients))
        for patient in dict.fromkeys(patients.tolist()):
            chosen = patients == patient
            with warnings.catch_warnings():
                # Single patients without lesion are expected: no warning.
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                metrics = _metrics(
                    labels[chosen], scores[chosen], threshold, patients[chosen]
                )
            in_brain = scores[chosen][labels[chosen] >= 0]
            shares = {
                "flagged_share": np.mean(in_brain < threshold) if in_brain.size else np.nan,
                "expected_share": expected,
            }
            self.patient_rows.append(head | {"patient": patient} | metrics | shares)
        self.maps[name], self.detectors[name] = scores, detector

    def evaluation(self, validated: "_Results | None" = None) -> Evaluation:
        """Return the results, combined with those of the validation."""
        return Evaluation(
            [*(validated.rows if validated else ()), *self.rows],
            self.patient_rows,
            self.maps,
            validated.maps if validated else {},
            self.detectors,
            self.seconds,
        )


def _metrics(labels: NDArray, scores: NDArray, threshold: float, patients: NDArray) -> Row:
    shown = (labels >= 0).any(axis=(1, 2))
    counts = {
        "threshold": threshold,
        "n_patients": len(np.unique(patients[shown])),
        "n_slices": int(shown.sum()),
    }
    if not shown.any():
        return dict.fromkeys(METRICS, np.nan) | counts
    at_threshold = pixel_scores_at_threshold(
        labels, scores, threshold, zero_division=np.nan
    )
    return {
        "auc": pixel_roc_auc_score(labels, scores),
        "ap": pixel_average_precision_score(labels, scores),
        "precision": at_threshold["precision"],
        "recall": at_threshold["recall"],
        "f1": at_threshold["f1"],
        "dice": best_dice_score(labels, scores),
    } | counts
