"""Which contrasts lesions change, learned from slices that hold some, without masks."""

import warnings
from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray


class ResidualMoments:
    """Second and third moments of residuals, about 0, collected batch by batch.

    Parameters
    ----------
    pixels : iterable of torch.Tensor of shape (n_pixels, K)
        Residuals of the brain pixels of some slices.

    Attributes
    ----------
    second : ndarray of shape (K, K)
    third : ndarray of shape (K, K, K)
    """

    def __init__(self, pixels: Iterable[torch.Tensor]) -> None:
        sums = []
        for each in pixels:
            values = each.double().cpu()
            products = values.unsqueeze(2) * values.unsqueeze(1)
            third = torch.einsum("nij,nk->ijk", products, values)
            sums.append((len(values), products.sum(dim=0).numpy(), third.numpy()))
        numbers, seconds, thirds = zip(*sums)
        self.second: NDArray[np.float64] = np.sum(seconds, axis=0) / sum(numbers)
        self.third: NDArray[np.float64] = np.sum(thirds, axis=0) / sum(numbers)


def lesion_axis(abnormal: ResidualMoments, normal: ResidualMoments) -> NDArray[np.float64]:
    """Combination of contrasts in which abnormal slices differ most from normal ones.

    The first component of contrastive PCA with α = 1: the leading eigenvector of the
    difference of the second moments. It points to where abnormal slices have the heavier
    tail, by their third moment. Most of an abnormal slice is normal as well, and cancels.

    Parameters
    ----------
    abnormal, normal : ResidualMoments

    Returns
    -------
    axis : ndarray of shape (K,)
        The largest weight is 1 or -1.

    References
    ----------
    A. Abid, M. J. Zhang, V. K. Bagaria, J. Zou. Exploring patterns enriched in a dataset
    with contrastive principal component analysis. Nature Communications 9:2134, 2018.
    """
    variances, axes = np.linalg.eigh(abnormal.second - normal.second)
    if variances[-1] <= 0:
        warnings.warn(
            "residuals of the slices with an anomaly vary no more than those of normal "
            "slices: what was learned from them of anomalies means nothing.",
            UserWarning,
            stacklevel=2,
        )
    axis = axes[:, -1]
    skewness = np.einsum("ijk,i,j,k", abnormal.third - normal.third, axis, axis, axis)
    return np.copysign(1 / np.abs(axis).max(), skewness) * axis
