"""Average precision scorer with the anomaly as positive class."""

from typing import Any

from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score

from skadm.image_level._labels import check_signed
from skadm.metrics import anomaly_map


def anomaly_average_precision(estimator: Any, X: Any, y: ArrayLike) -> float:
    """Average precision with the anomaly as the positive class.

    Pass it as `scoring` to `cross_val_score`, `GridSearchCV` and similar functions.
    scikit-learn's "average_precision" takes the normal class (+1) as positive, so it is
    close to 1 if most images are normal.

    Parameters
    ----------
    estimator : fitted SliceDetector, VolumeDetector or Pipeline
        Provides `score_samples`.
    X : slices or volumes
        Input of the estimator.
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
