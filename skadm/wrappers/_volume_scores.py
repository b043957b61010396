"""One score for each volume."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm._validation import check_labels, check_shape
from skadm.data import SliceStack
from skadm.data._slices import as_slices, training_slices
from skadm.image_level import volume_labels
from skadm.image_level._volumes_of import merged
from skadm.wrappers._image_scores import ImageDetector
from skadm.wrappers._reading import Places, read_if_it_fits, take


class VolumeDetector(ImageDetector):
    """One score for each volume, from the maps of a pixel detector.

    X is a list with one entry for each volume, an array of shape (n_slices, n_contrasts,
    H, W) or a `SliceStack`, with slices in order; `volumes_of` makes such a list from a
    stack. Volumes may differ in the number of slices, and also in H and W if the detector
    is a Pipeline that resizes stacks, or in scoring. y are labels of shape (n_volumes,),
    +1 for normal and -1 for an anomaly, or a list of masks of shape (n_slices, H, W).

    Parameters
    ----------
    detector : detector or Pipeline
        A detector of this package, or a Pipeline that ends in one. It is cloned, and
        trained on the slices of the normal volumes.
    pooling : Pooling, default=None
        How the map of a volume becomes one number, see `skadm.pooling`. None:
        ``Quantile(0.01)``. Set it explicitly to search its parameters (``pooling__q``).
    contamination : float, default=0.01
        Fraction of the training volumes that `predict` calls anomalous, in (0, 0.5]; sets
        `offset_`. The contamination of pixels is a parameter of the detector.

    Attributes
    ----------
    %(detector_)s
    %(pooling_)s
    %(offset_)s
    background_score_ : float
        Score of volumes without brain, the highest of the training.
    %(n_features_in_)s

    See Also
    --------
    volumes_of : Splits a stack into volumes.
    volume_labels : Makes labels of masks.
    SliceDetector : One score for each slice.

    Notes
    -----
    Transformers of stacks do not accept lists: apply them before `volumes_of`, or use a
    Pipeline as `detector`. In it, `IntensityNormalizer` uses statistics of whole volumes
    for entries that are stacks, and of single slices for arrays.

    Volumes of one patient are correlated: split by patient, with
    ``groups=[volume.groups[0] for volume in volumes]``.

    scikit-learn's metrics take +1, the normal volumes, as the positive class. ROC AUC is
    the same for both; for the average precision of anomalies, pass
    `anomaly_average_precision` as `scoring`.

    Examples
    --------
    >>> from skadm import IntensityDetector, VolumeDetector
    >>> from skadm.data import make_phantom
    >>> from skadm.image_level import volume_labels, volumes_of
    >>> from skadm.pooling import TopKMean
    >>> stack = make_phantom(
    ...     n_patients=4, n_slices=12, size=32, lesion_fraction=0.5, random_state=1
    ... )
    >>> volumes = volumes_of(stack)
    >>> labels = volume_labels([volume.y for volume in volumes])
    >>> detector = VolumeDetector(IntensityDetector(), TopKMean(k=50))
    >>> detector.fit(volumes, labels).score_samples(volumes).shape
    (4,)
    """

    _scored_unit = "volume"

    @property
    def _needs_neighbours(self) -> bool:
        return False  # not across volumes

    def _input(self, X: Any) -> Any:
        return _checked(X)

    def _for_training(self, X: Any, y: Any) -> Any:
        return [training_slices(volume, y) for volume in _checked(X)]

    def _images(self, X: Any) -> Any:
        return read_if_it_fits(X)

    def _masks_to_labels(self, X: Any, y: Any) -> NDArray[np.int64] | None:
        y = list(y)
        if not any(np.ndim(entry) == 3 for entry in y):
            return None
        if len(y) != len(X):
            raise ValueError(f"y holds {len(y)} masks; expected {len(X)}, one per volume.")
        masks = []
        for index, (volume, mask) in enumerate(zip(X, y)):
            with _naming_volume(index):
                masks.append(check_labels(mask, check_shape(volume)))
        return volume_labels(masks)

    def _slices(self, X: Any, images: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp]]:
        X = take(X, images)
        image = np.repeat(images, [len(volume) for volume in X])
        if all(isinstance(volume, SliceStack) for volume in X):
            return merged(X), image
        for index, volume in enumerate(X):
            if volume.shape[1:] != X[0].shape[1:]:
                raise ValueError(
                    f"volume {index} of the training has (n_contrasts, H, W) = "
                    f"{volume.shape[1:]}; expected {X[0].shape[1:]}, as volume 0. Resize "
                    "volumes with skadm.preprocessing.SliceResizer."
                )
        return np.concatenate([np.asarray(volume) for volume in X]), image

    def _scored(self, X: Any) -> Iterator[tuple[Places, NDArray, NDArray[np.bool_]]]:
        for index, volume in enumerate(X):
            with _naming_volume(index):
                decision, brain = self._decisions(volume)
            score = np.array([self._pool(decision, brain)])
            yield slice(index, index + 1), score, np.array([brain.any()])


def _checked(X: Any) -> list[Any]:
    """Return volumes as a list of arrays and stacks."""
    if isinstance(X, SliceStack) or getattr(X, "ndim", None) == 4:
        raise ValueError(
            "X is one stack of slices; expected a list with one entry per volume. Pass "
            "volumes_of(stack) for a SliceStack, or [X] for a single volume."
        )
    volumes = []
    for index, entry in enumerate(X):
        with _naming_volume(index):
            volumes.append(as_slices(entry))
            if not check_shape(volumes[-1])[0]:
                raise ValueError("it has no slice; expected at least 1.")
    if not volumes:
        raise ValueError("X holds no volume; expected at least 1.")
    return volumes


@contextmanager
def _naming_volume(index: int) -> Iterator[None]:
    """Add the volume to the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"volume {index}: {error}") from error
