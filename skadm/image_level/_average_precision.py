"""A scorer whose positive class is the anomaly."""

from typing import Any

from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score

from skadm.image_level._labels import check_signed
from skadm.metrics import anomaly_map


def anomaly_average_precision(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Average precision with the anomaly as the positive class.

    To be passed as `scoring` to `cross_val_score`, `GridSearchCV` and their kin.
    Scikit-learn's own "average_precision" tells how well normal images are found, since +1
    is the normal one: close to 1 where most images are normal.

    Parameters
    ----------
    estimator : fitted SliceDetector, VolumeDetector or Pipeline
        Offers `score_samples`.
    X : slices or volumes
        As the estimator takes them.
    y : array-like of shape (n_images,)
        Labels: +1 normal, -1 anomaly.

    Returns
    -------
    float
        Average precision.

    Raises
    ------
    ValueError
        If y holds other labels.
    """
    scores = estimator.score_samples(X)
    labels = check_signed(y, len(scores), "image")
    return float(average_precision_score(labels == -1, anomaly_map(scores)))
