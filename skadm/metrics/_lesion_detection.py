"""Lesion-level detection: detected lesions and false positives."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import find_objects, generate_binary_structure, label
from sklearn.utils.validation import check_consistent_length

from skadm.metrics._pixels import as_pair, count_labels, described, raise_not_finite


class LesionCounts(NamedTuple):
    """Lesion counts at one threshold.

    Parameters
    ----------
    n_lesions : int
        Number of lesions.
    n_found : int
        Number of detected lesions, touched by a hit.
    n_false : int
        Number of false positives: flagged components that are not hits.
    n_volumes : int
        Number of patients.
    """

    n_lesions: int
    n_found: int
    n_false: int
    n_volumes: int

    @property
    def sensitivity(self) -> float:
        """Fraction of lesions detected."""
        return self.n_found / self.n_lesions if self.n_lesions else float("nan")

    @property
    def false_positives_per_volume(self) -> float:
        """Mean number of false positives per patient."""
        return self.n_false / self.n_volumes


@described
def lesions_at_threshold(
    y: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    threshold: float,
    *,
    min_size: int = 1,
    min_overlap: float = 0.2,
) -> LesionCounts:
    """Count detected lesions and false positives at one threshold.

    A lesion is a component of anomalous pixels in the volume of a patient, connected over
    faces, edges or corners. A component of flagged pixels is a hit if at least the
    fraction `min_overlap` of it lies on lesions; it then detects all lesions it touches.
    Otherwise it is a false positive. Without `min_overlap`, flagging the whole brain
    would detect all lesions without a false positive.

    Parameters
    ----------
    %(y_of_slices)s
    %(scores)s
    %(groups)s
    threshold : float
        A pixel is flagged when its score is below.
    %(min_size)s
    %(min_overlap)s

    Returns
    -------
    counts : LesionCounts
        A named tuple of n_lesions, n_found, n_false (false positives) and n_volumes
        (patients), with `sensitivity` and `false_positives_per_volume`.

    Raises
    ------
    ValueError
        If shapes do not match, `y` holds other labels or only -1, or an evaluated score
        is not finite.
    """
    volumes = _volumes(y, scores, groups)
    return _count(volumes, threshold, min_size, min_overlap)


@described
def lesion_froc_curve(
    y: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    max_points: int = 50,
    min_size: int = 1,
    min_overlap: float = 0.2,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Compute the free-response ROC curve of lesion detection.

    Parameters
    ----------
    %(y_of_slices)s
    %(scores)s
    %(groups)s
    max_points : int, default=50
        Number of thresholds, which flag between one pixel and half of all pixels, evenly
        spaced on a logarithmic scale.
    %(min_size)s
    %(min_overlap)s

    Returns
    -------
    false_positives_per_volume, sensitivity, thresholds : ndarrays of shape (n_points,)
        In ascending order of threshold. False positives need not increase, since
        components merge as the threshold rises.

    Raises
    ------
    ValueError
        If shapes do not match, there is no lesion, `y` holds other labels, or an
        evaluated score is not finite.

    See Also
    --------
    lesions_at_threshold : Definition of detected lesions and false positives.
    """
    volumes = _volumes(y, scores, groups)
    if not any(volume.n_lesions for volume in volumes):
        raise ValueError("y holds no lesion; expected pixels with y == 1.")
    values = np.concatenate([volume.scores[volume.evaluated] for volume in volumes])
    shares = np.geomspace(1 / values.size, 0.5, max_points)
    thresholds = np.unique(np.quantile(values, shares, method="higher"))
    counts = [_count(volumes, threshold, min_size, min_overlap) for threshold in thresholds]
    return (
        np.array([count.false_positives_per_volume for count in counts]),
        np.array([count.sensitivity for count in counts]),
        thresholds,
    )


_TOUCHING = generate_binary_structure(3, 3)


class _Volume(NamedTuple):
    """The volume of a patient, cropped to the evaluated pixels."""

    scores: NDArray
    evaluated: NDArray[np.bool_]
    lesions: NDArray[np.integer]  # label of the lesion at each pixel, 0 elsewhere
    n_lesions: int


def _volumes(y: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> list[_Volume]:
    labels, values = as_pair(y, scores)
    count_labels(labels)
    if labels.ndim != 3:
        raise ValueError(f"y has shape {labels.shape}; expected (n_slices, H, W).")
    patients = np.asarray(groups)
    check_consistent_length(labels, patients)
    volumes = []
    for patient in dict.fromkeys(patients.tolist()):
        chosen = patients == patient
        evaluated = labels[chosen] >= 0
        bounds = find_objects(evaluated.astype(np.int8))
        if not bounds:
            continue  # a volume without brain
        box = bounds[0]
        inside = values[chosen][box]
        bad = int(np.count_nonzero(~np.isfinite(inside[evaluated[box]])))
        if bad:
            raise_not_finite(bad, int(evaluated.sum()))
        lesions, n_lesions = label(labels[chosen][box] == 1, _TOUCHING)
        volumes.append(_Volume(inside, evaluated[box], lesions, n_lesions))
    return volumes


def _count(
    volumes: list[_Volume], threshold: float, min_size: int, min_overlap: float
) -> LesionCounts:
    counts = LesionCounts(0, 0, 0, 0)
    for volume in volumes:
        flagged = (volume.scores < threshold) & volume.evaluated
        regions, _ = label(flagged, _TOUCHING)
        hits = _hits(regions, volume.lesions, volume.n_lesions, min_size, min_overlap)
        counts = LesionCounts(*(a + b for a, b in zip(counts, hits)))
    return counts


def count_hits(
    regions: NDArray[np.integer], anomalous: NDArray[np.bool_], min_overlap: float = 0.2
) -> LesionCounts:
    """Count the lesions of a volume that regions find, and regions that are no hits.

    Both arrays are (n_slices, H, W); `regions` has the number of the region at each pixel,
    from 1, and 0 elsewhere. `lesions_at_threshold` defines a hit.
    """
    lesions, n_lesions = label(anomalous, _TOUCHING)
    return _hits(regions, lesions, n_lesions, 1, min_overlap)


def _hits(
    regions: NDArray[np.integer],
    lesions: NDArray[np.integer],
    n_lesions: int,
    min_size: int,
    min_overlap: float,
) -> LesionCounts:
    flagged = regions > 0
    inside, touched = regions[flagged], lesions[flagged]
    sizes = np.bincount(inside, minlength=1)
    on_lesions = np.bincount(inside, touched > 0, minlength=1)
    counted = (sizes >= max(min_size, 1)) & (np.arange(len(sizes)) > 0)
    hits = counted & (on_lesions > 0) & (on_lesions >= min_overlap * sizes)
    n_found = len(np.unique(touched[(touched > 0) & hits[inside]]))
    return LesionCounts(n_lesions, n_found, int((counted & ~hits).sum()), 1)
