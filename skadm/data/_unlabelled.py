"""A volume without its labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skadm.data._interfaces import Grid, Volume


class UnlabelledVolume:
    """A volume without its labels, which may still be looked at when it is read.

    Parameters
    ----------
    source : volume
        The volume.
    name : str, default=None
        Another name. None: that of the volume.
    normal : ndarray of int, default=None
        Slices of the volume that must not hold an anomaly by the labels left out.
    """

    has_labels = False

    def __init__(
        self,
        source: Volume,
        *,
        name: str | None = None,
        normal: NDArray[np.intp] | None = None,
    ) -> None:
        self.source = source
        self.name = source.name if name is None else name
        self.normal = normal

    @property
    def patient(self) -> str:
        """Patient the volume belongs to."""
        return self.source.patient

    @property
    def session(self) -> str:
        """Session of the patient."""
        return self.source.session

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Names of the contrasts."""
        return self.source.contrasts

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.source.n_slices

    @property
    def grid(self) -> Grid:
        """Slice size and affine."""
        return self.source.grid

    @property
    def origin(self) -> Any:
        """The volume on the grid it was first given on."""
        return self.source.origin

    def read(self) -> tuple[NDArray[np.float32], None]:
        """Return the images, and None for the labels.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : None
            There are none.

        Raises
        ------
        ValueError
            If a slice that must be normal holds an anomaly.
        """
        images, labels = self.source.read()
        self._check(labels)
        return images, None

    def read_with_origin_brain(
        self,
    ) -> tuple[NDArray[np.float32], None, NDArray[np.bool_]]:
        """Return what `read` does, and the brain on the grid of `origin`.

        Returns
        -------
        images : ndarray of float32, shape (n_slices, n_contrasts, H, W)
            Images.
        labels : None
            There are none.
        origin_brain : ndarray of bool, shape (n_slices, H', W')
            The brain on the grid of `origin`.
        """
        images, labels, brain = self.source.read_with_origin_brain()
        self._check(labels)
        return images, None, brain

    def invert(self, maps: NDArray) -> NDArray:
        """Take maps to the grid of `origin`.

        Parameters
        ----------
        maps : ndarray of shape (n, H, W)
            Maps on the grid of this volume.

        Returns
        -------
        ndarray of shape (n, H', W')
            Maps on the grid of `origin`.
        """
        return self.source.invert(maps)

    def _check(self, labels: NDArray[np.int8] | None) -> None:
        if self.normal is None or labels is None:
            return
        z = self.normal
        abnormal = [bool((labels[index] == 1).any()) for index in z]
        if any(abnormal):
            raise ValueError(
                f"{sum(abnormal)} of the {len(z)} slices of volume {self.source.name!r} "
                f"(the first is z = {z[abnormal.index(True)]}) hold pixels of an anomaly, "
                "and y is None; expected normal slices to train on. Pass y=stack.y, which "
                "leaves these slices out, or give stack.normal(). To train on all slices "
                "in spite of their labels, give stack.without_labels(), or read the stack "
                "with labels=False."
            )
