"""Likelihood of held-out normal slices."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skadm._pipelines import unwrap_with_input
from skadm.data._slices import as_slices, brain_of
from skadm.model_selection._normal import normal_part


class HeldOutLikelihoodScorer:
    """Score by the mean normality of held-out normal slices, without lesions.

    Pass it as ``scoring`` to `GridSearchCV` and similar functions, with folds of patients
    (``GroupKFold``). Slices with an anomaly in y are left out.

    The score is the mean over brain pixels: the log-likelihood for density detectors
    (ADM, DAG, Gaussian mixtures), the negative error for reconstruction detectors.

    Notes
    -----
    Use it only to compare scores on the same scale. Likelihoods of learned features are
    not: a network that shrinks its latent space increases the density without better
    detection. A small reconstruction error does not imply that lesions are not
    reconstructed too. `SyntheticLesionScorer` does not have this problem.
    """

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __call__(self, estimator: Any, X: Any, y: ArrayLike | None = None) -> float:
        """Score a fitted detector or Pipeline on the normal slices of a fold."""
        X = normal_part("the likelihood", X, y)
        if X is None:
            return float("nan")
        detector, X = unwrap_with_input(estimator, X)
        maps = detector.score_samples(X)
        return float(np.mean(maps[brain_of(as_slices(X))], dtype=np.float64))
