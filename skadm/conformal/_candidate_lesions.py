"""Flagged components as candidate lesions, each with a p-value."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import (
    find_objects,
    generate_binary_structure,
    label,
    sum_labels,
)
from scipy.stats import false_discovery_control

from skadm._arrays import as_numbers
from skadm.conformal._calibration import Calibration

_WITHIN_SLICE = generate_binary_structure(3, 2)
_WITHIN_SLICE[[0, 2]] = False  # nothing connects slices


class CandidateLesion(NamedTuple):
    """A component of flagged pixels of one slice, or what of a region is in it.

    Parameters
    ----------
    slice : int
        Index of its slice.
    mask : ndarray of bool, shape (H, W)
        Its pixels.
    strength : float
        Sum over its pixels of how far their scores are below the threshold.
    p_value : float
        Chance of so strong a candidate, or a stronger one, in a normal slice.
    rejected : bool
        Whether the Benjamini-Hochberg procedure rejects it; see `CandidateLesions.find`.
    """

    slice: int
    mask: NDArray[np.bool_]
    strength: float
    p_value: float
    rejected: bool


class CandidateLesions:
    """P-values of flagged components, from the false alarms of normal slices.

    The strength of a component is the sum over its pixels of how far they are below the
    threshold, so that it grows with size and contrast. Its p-value compares it with the
    *strongest* component of each normal slice (0 in a slice without any): the chance that
    a normal slice of a new patient has any candidate so strong. It errs on the safe side
    for all but the strongest of a slice.

    Parameters
    ----------
    decision : array-like of shape (n_slices, H, W)
        Decision function of normal slices, negative where a pixel is flagged. Their
        patients must be others than those that trained the detector or set its threshold.
    groups : array-like of shape (n_slices,), default=None
        Patient of each slice. None: each slice is a unit of its own.

    Attributes
    ----------
    n_groups : int
        Patients that were compared with; no p-value is below 1 / (n_groups + 1).

    Raises
    ------
    ValueError
        If the decision function is not one of pixels.
    """

    def __init__(self, decision: ArrayLike, groups: ArrayLike | None = None) -> None:
        maps = _check(decision)
        regions, strengths = _components(maps)
        strongest = np.zeros(len(maps))
        for number, numbers in enumerate(regions):
            present = np.unique(numbers[numbers > 0])
            if present.size:
                strongest[number] = strengths[present - 1].max()
        # A calibration is on normality: the stronger, the less normal.
        self._calibration = Calibration(-strongest, groups)
        self.n_groups = self._calibration.n_groups

    def find(
        self,
        decision: ArrayLike,
        *,
        fdr: float = 0.1,
        regions: ArrayLike | None = None,
    ) -> list[CandidateLesion]:
        """Find candidates in slices.

        Parameters
        ----------
        decision : array-like of shape (n_slices, H, W)
            Decision function of the slices, of the same detector.
        fdr : float, default=0.1
            Level of the Benjamini-Hochberg procedure over all candidates found.
        regions : array-like of int, shape (n_slices, H, W), default=None
            Numbers from 1 of the flagged regions of a volume, 0 elsewhere. Candidates are
            then the components of each region in each slice. They are parts of components
            of flagged pixels, no stronger than these: their p-values err on the safe side.
            None: components of flagged pixels, whatever the region.

        Returns
        -------
        candidates : list of CandidateLesion
            The strongest first. Named tuples of the index of the slice, the mask (H, W),
            the strength (sum over the pixels of how far their scores are below the
            threshold), the p_value, and whether the procedure has rejected it.

        Notes
        -----
        The procedure ranks candidates; it guarantees no false discovery rate. That of
        Bates et al. (2023) is for units that are exchangeable one by one. The candidates
        of a slice, and the slices of a patient, depend on each other, and which pixels
        become candidates is found in the same maps.
        """
        maps = _check(decision)
        if regions is None:
            components, strengths = _components(maps)
        else:
            components, strengths = _parts(maps, as_numbers(regions, "regions"))
        if not strengths.size:
            return []
        p_values = self._calibration.p_values(-strengths)
        rejected = false_discovery_control(p_values) <= fdr
        places = [box[0].start for box in find_objects(components)]
        return [
            CandidateLesion(
                places[i],
                components[places[i]] == i + 1,
                float(strengths[i]),
                float(p_values[i]),
                bool(rejected[i]),
            )
            for i in np.argsort(-strengths, kind="stable")
        ]


def _check(decision: ArrayLike) -> NDArray:
    maps = as_numbers(decision, "decision").astype(np.float64, copy=False)
    if maps.ndim != 3:
        raise ValueError(
            f"the decision function has shape {maps.shape}; expected maps of shape "
            "(n_slices, H, W): use a detector of pixels."
        )
    return maps


def _components(maps: NDArray) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Numbers of the flagged components of all slices from 1, and their strengths."""
    regions, n_regions = label(maps < 0, _WITHIN_SLICE)
    return regions, _strengths(maps, regions, n_regions)


def _parts(
    maps: NDArray, regions: NDArray
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """The same of the components of each region in each slice."""
    if regions.shape != maps.shape:
        raise ValueError(
            f"regions have shape {regions.shape}; expected {maps.shape}, as the decision "
            "function."
        )
    if (unflagged := (regions > 0) & (maps >= 0)).any():
        raise ValueError(
            f"regions hold {np.count_nonzero(unflagged)} pixels that are not flagged; "
            "expected regions of this decision function."
        )
    parts: NDArray[np.integer] = np.zeros(maps.shape, np.int64)
    n_parts = 0
    for number, box in enumerate(find_objects(regions.astype(np.int64)), start=1):
        if box is not None:
            labelled, n_labelled = label(regions[box] == number, _WITHIN_SLICE)
            parts[box][labelled > 0] = labelled[labelled > 0] + n_parts
            n_parts += n_labelled
    return parts, _strengths(maps, parts, n_parts)


def _strengths(
    maps: NDArray, components: NDArray, n_components: int
) -> NDArray[np.float64]:
    numbers = np.arange(1, n_components + 1)
    return np.atleast_1d(sum_labels(-maps, components, numbers))
