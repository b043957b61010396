"""P-values from the scores of normal items of several patients."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._arrays import as_numbers
from skadm._validation import check_arrays


class Calibration:
    """Hierarchical conformal p-values.

    Each of K patients has normal items (pixels, slices, ...) with scores. The p-value of a
    score s is

        p(s) = (1 + Σ_k share of patient k's items with a score <= s) / (K + 1)

    For an item drawn at random from a new patient, exchangeable with the K, the chance of
    p <= α is at most α, in finite samples and whatever the scores mean (Dunn et al. 2023;
    Lee et al. 2023). It is as well the expected share of that patient's normal items with
    p <= α (conformal risk control, Angelopoulos et al. 2024).

    No p-value is below 1 / (K + 1): K patients cannot hold a smaller rate.

    Parameters
    ----------
    scores : array-like of shape (n_items,)
        Normality, higher = more normal.
    groups : array-like of shape (n_items,), default=None
        Patient of each item. None: each item is a unit of its own. The guarantee then is
        for exchangeable items, which items of the same patient are not.

    Attributes
    ----------
    n_groups : int
        K.

    Raises
    ------
    ValueError
        If there is no score, one is not finite, or groups do not fit.

    References
    ----------
    R. Dunn, L. Wasserman, A. Ramdas. Distribution-free prediction sets for two-layer
    hierarchical models. JASA 118 (2023) 2491-2502.

    Y. Lee, R. F. Barber, R. Willett. Distribution-free inference with hierarchical data.
    arXiv:2306.06342 (2023).

    A. Angelopoulos, S. Bates, A. Fisch, L. Lei, T. Schuster. Conformal risk control.
    ICLR (2024).
    """

    def __init__(self, scores: ArrayLike, groups: ArrayLike | None = None) -> None:
        values = as_numbers(scores, "scores")
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ValueError(
                f"scores have shape {values.shape}; expected one or more finite numbers."
            )
        items = np.arange(len(values)) if groups is None else np.asarray(groups)
        if items.shape != values.shape:
            raise ValueError(
                f"groups have shape {items.shape}; expected {values.shape}, as the scores."
            )
        _, group, sizes = np.unique(items, return_inverse=True, return_counts=True)
        self.n_groups = len(sizes)
        order = np.argsort(values)
        self._scores = values[order]
        # Weight of an item: one over the number of its patient's items.
        self._below = np.append(0.0, np.cumsum(1 / sizes[group[order]]))

    def _check_loaded(self) -> None:
        """Refuse attributes, read from a file, that no calibration has."""
        n_items = len(self._scores)
        check_arrays(self, {"_scores": (n_items,), "_below": (n_items + 1,)})
        shares = self._below[[0, -1]]
        if (np.diff(self._scores) < 0).any() or not np.allclose(shares, [0, self.n_groups]):
            raise ValueError("a Calibration has scores that are not in order.")

    def p_values(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Compute the p-value of each score; small ones speak against normality.

        Parameters
        ----------
        scores : array-like
            Normality, of any shape.

        Returns
        -------
        p_values : ndarray of the same shape
            Between 1 / (K + 1) and 1.
        """
        places = np.searchsorted(self._scores, as_numbers(scores, "scores"), side="right")
        # Rounding of the cumulated shares must not lead above 1.
        return np.minimum((1 + self._below[places]) / (self.n_groups + 1), 1.0)

    def threshold(self, alpha: float) -> float:
        """Find the highest threshold that holds a false positive rate.

        Parameters
        ----------
        alpha : float
            The rate.

        Returns
        -------
        threshold : float
            A score below it has a p-value of at most `alpha`, as a score of no other has.

        Raises
        ------
        ValueError
            If `alpha` is below 1 / (K + 1), or not below 1.
        """
        if not alpha < 1:
            raise ValueError(f"alpha is {alpha}; expected a rate below 1.")
        least = 1 / (self.n_groups + 1)
        if alpha < least * (1 - 1e-9):
            raise ValueError(
                f"a rate of {alpha:g} cannot be held with {self.n_groups} units to "
                f"calibrate on: {least:.3g} is the least; expected "
                f"{int(np.ceil(1 / alpha - 1e-9)) - 1} units (patients, as a rule) or more."
            )
        # Rounding of the cumulated shares must not cost a score that just fits.
        allowed = (1 + self._below[1:]) / (self.n_groups + 1) <= alpha * (1 + 1e-9)
        # A score at a tie counts with all that tie.
        distinct = np.append(self._scores[1:] != self._scores[:-1], True)
        fitting = np.flatnonzero(allowed & distinct)
        if not fitting.size:
            return float(self._scores[0])
        return float(self._scores[fitting[-1] + 1])
