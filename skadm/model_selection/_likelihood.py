"""How likely held-out normal slices are."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadm._pipelines import as_seen
from skadm.data._slices import as_slices, brain_of
from skadm.model_selection._normal import normal_part


class HeldOutLikelihoodScorer:
    """Mean score of the brain pixels of normal slices; needs no lesion.

    For ``scoring`` of `GridSearchCV` and the like, with folds of patients
    (``GroupKFold``). Slices with an anomaly by y are left out.

    For detectors of density (ADM, DAG, Gaussian mixtures) it is the mean log-likelihood of
    a pixel; for detectors of reconstruction the negative mean error.

    Notes
    -----
    It compares what is on one scale. The likelihood of features that a network makes is
    not: one that makes its latent space smaller raises the density, whatever it detects,
    and other features have another density altogether. Nor does a small error of
    reconstruction mean that lesions are not reconstructed, too. See `SyntheticLesionScorer`
    for a criterion without that flaw.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __call__(self, estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
        """Score a fitted detector or Pipeline on the normal slices of a fold."""
        X = normal_part("the likelihood", X, y)
        if X is None:
            return float("nan")
        detector, X = as_seen(estimator, X)
        maps = detector.score_samples(X)
        return float(np.mean(maps[brain_of(as_slices(X))], dtype=np.float64))
