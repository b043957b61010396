"""The mixture of a network's features, by expectation maximisation."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from skadm.nn.density import Mixture
from skadm.nn.pixels import brain_of
from skadm.training import Trainer


def mixture_by_em(
    batches: Iterable[NDArray],
    images: NDArray,
    trainer: Trainer,
    *,
    n_components: int,
    floor: float,
    max_samples: int,
) -> Mixture:
    """Fit a mixture to features, about `max_samples` of which are drawn at random.

    Batches, each (n_pixels, d), hold the features of all brain pixels of the images,
    (n, K, H, W). `floor` is added to the diagonal of the covariances. The likeliest of
    three mixtures from different starts is taken.
    """
    # Imported here: scoring does not need it.
    from sklearn.mixture import GaussianMixture

    # The generator of the slice order: identical in all processes.
    generator = trainer.order
    brain_pixels = sum(
        int(brain_of(batch).sum()) for batch in trainer.engine.batches(images)
    )
    share = min(1.0, max_samples / brain_pixels)
    drawn = []
    for pixels in batches:
        chosen = torch.rand(len(pixels), generator=generator) < share
        drawn.append(pixels[chosen.numpy()])
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    fitted = GaussianMixture(
        n_components, reg_covar=floor, n_init=3, random_state=seed
    ).fit(np.concatenate(drawn, dtype=np.float64))
    parameters = (fitted.weights_, fitted.means_, fitted.covariances_)
    return Mixture(*(torch.from_numpy(part) for part in parameters))
