"""Detection of artificial lesions in held-out normal slices."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skadm._pipelines import unwrap_with_input
from skadm.metrics import pixel_average_precision_score, pixel_roc_auc_score
from skadm.model_selection._normal import normal_part
from skadm.synthetic import paste_lesions
from skadm.synthetic._kinds import KINDS, LesionKind

_METRICS = {
    "roc_auc": pixel_roc_auc_score,
    "average_precision": pixel_average_precision_score,
}


class SyntheticLesionScorer:
    """Score by the detection of artificial lesions, without real ones.

    For ``scoring`` of `GridSearchCV` and the like, with folds of patients
    (``GroupKFold``). Slices with an anomaly by y are left out; each remaining slice gets
    a lesion of each kind in turn. The score is the mean over kinds, so that easy kinds do
    not dominate.

    Lesions depend on the seed and the slices of the fold: all candidates of a search get
    the same lesions, and each fold has different ones.

    Parameters
    ----------
    kinds : mapping of str to kind of lesion, default=None
        Kinds of lesion, e.g. ``{"intensity": IntensityShift()}``. None: all kinds of
        `skadm.synthetic` for which X has enough contrasts.
    metric : {"roc_auc", "average_precision"}, default="roc_auc"
        Metric over the brain pixels of all slices.
    n_draws : int, default=1
        Number of lesions of each kind per slice, one at a time; the score is the mean.
    random_state : int, default=0
        Seed.

    Raises
    ------
    ValueError
        If the metric is unknown.

    Examples
    --------
    >>> from sklearn.model_selection import GridSearchCV, GroupKFold
    >>> from skadm import PCADetector
    >>> from skadm.data import make_phantom
    >>> from skadm.model_selection import SyntheticLesionScorer
    >>> stack = make_phantom(n_patients=4, n_slices=8, size=32, random_state=0)
    >>> search = GridSearchCV(
    ...     PCADetector(random_state=0),
    ...     {"n_components": [1, 2]},
    ...     scoring=SyntheticLesionScorer(),
    ...     cv=GroupKFold(2),
    ... ).fit(stack, stack.y, groups=stack.groups)
    >>> sorted(search.best_params_)
    ['n_components']
    """

    def __init__(
        self,
        kinds: Mapping[str, LesionKind] | None = None,
        *,
        metric: str = "roc_auc",
        n_draws: int = 1,
        random_state: int = 0,
    ) -> None:
        if metric not in _METRICS:
            raise ValueError(f"metric is {metric!r}; expected one of {sorted(_METRICS)}.")
        self.kinds = kinds
        self.metric = metric
        self.n_draws = n_draws
        self.random_state = random_state

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({given})"

    def __call__(self, estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
        """Score a fitted detector or Pipeline on the normal slices of a fold."""
        by_kind = self.by_kind(estimator, X, y)
        return float(np.mean(list(by_kind.values()))) if by_kind else float("nan")

    def by_kind(
        self, estimator: Any, X: Any, y: ArrayLike | None = None
    ) -> dict[str, float]:
        """Compute the score of each kind of lesion.

        Parameters
        ----------
        estimator : detector or Pipeline
            Fitted.
        X : array-like or SliceStack of shape (n_slices, n_contrasts, H, W)
            Slices.
        y : array-like of shape (n_slices, H, W), default=None
            Masks: 0 normal, 1 anomaly, -1 outside the brain. None: all slices are normal.

        Returns
        -------
        scores : dict of str to float
            Empty, with a warning, if no slice is normal.
        """
        X = normal_part("detection of synthetic lesions", X, y)
        if X is None:
            return {}
        detector, X = unwrap_with_input(estimator, X)
        images = np.asarray(X, dtype=np.float32)
        seeds = self._seeds(images)
        kinds = KINDS if self.kinds is None else self.kinds
        fitting = {
            name: kind
            for name, kind in kinds.items()
            if images.shape[1] >= kind.min_contrasts
        }
        scores = {}
        for name, kind in fitting.items():
            values = []
            for seed in seeds:
                pasted, labels = paste_lesions(images, kind, random_state=seed)
                values.append(_METRICS[self.metric](labels, detector.score_samples(pasted)))
            scores[name] = float(np.mean(values))
        return scores

    def _seeds(self, images: NDArray[np.float32]) -> list[int]:
        digest = hashlib.blake2b(images.tobytes(), digest_size=8).digest()
        entropy = (self.random_state, int.from_bytes(digest))
        states = np.random.SeedSequence(entropy).generate_state(self.n_draws)
        return [int(state) for state in states]
