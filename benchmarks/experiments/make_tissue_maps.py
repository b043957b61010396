"""Derive the tissue maps of the built-in phantom from the MNI152 template.

The phantom (``skadm.data.make_phantom``) deforms one small file,
``skadm/data/tissue_maps/mni152_tissue_maps.npz``. This script makes that file from the
grey- and white-matter probability maps and the skull-stripped T1 template (ICBM 2009a
nonlinear symmetric) that nilearn ships. Install nilearn first; skadm does not need it: ::

    pip install nilearn
    python -m benchmarks make_tissue_maps

The file is identical byte for byte with the same template and the same versions of NumPy,
SciPy and zlib.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.lib.options import read_options

SPACING = 1.5  # mm
N_LEVELS = 24  # probabilities are rounded to steps of 1 / (N_LEVELS - 1)
TARGET = Path(__file__).parents[2] / "skadm" / "data" / "tissue_maps"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no options; --out is always there."""
    parser.set_defaults(out=TARGET)


def read_template():
    """Return grey matter, white matter (in [0, 1]), brain mask and the affine, at 1 mm."""
    from nilearn.datasets import (
        load_mni152_gm_template,
        load_mni152_template,
        load_mni152_wm_template,
    )
    from scipy import ndimage

    grey = load_mni152_gm_template(resolution=1)
    white = load_mni152_wm_template(resolution=1)
    brain = ndimage.binary_closing(
        load_mni152_template(resolution=1).get_fdata() > 0, iterations=3
    )
    # The fluid spaces at the base of the brain are empty in the stripped template.
    brain = np.stack(
        [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(brain, 2, 0)], axis=2
    )
    return _as_probability(grey), _as_probability(white), brain, grey.affine


def _as_probability(image):
    data = image.get_fdata()
    return data / data.max()


def downsample(volume, affine, spacing):
    """Resample ``volume`` (1 mm) to ``spacing`` mm on a grid that holds the plane x = 0."""
    from scipy import ndimage

    smoothed = ndimage.gaussian_filter(volume.astype(np.float32), 0.35 * spacing)
    lower = affine[:3, 3]
    upper = lower + np.array(volume.shape) - 1
    first, last = np.ceil(lower / spacing), np.floor(upper / spacing)
    axes = [spacing * np.arange(a, b + 1) - c for a, b, c in zip(first, last, lower)]
    resampled = ndimage.map_coordinates(
        smoothed, np.meshgrid(*axes, indexing="ij"), order=1
    )
    return resampled, first * spacing


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tissue maps into the folder --out."""
    target = read_options(__name__, argv).out

    from scipy import ndimage

    grey, white, brain, affine = read_template()
    grey, origin = downsample(grey, affine, SPACING)
    white, _ = downsample(white, affine, SPACING)
    brain = downsample(brain, affine, SPACING)[0] > 0.5

    box = ndimage.find_objects(brain.astype(int))[0]
    box = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
    origin = origin + SPACING * np.array([s.start for s in box])
    grey, white, brain = grey[box], white[box], brain[box]

    def quantise(map_):
        levels = np.round(map_ * (N_LEVELS - 1)) * brain
        return levels.astype(np.uint8)

    target.mkdir(parents=True, exist_ok=True)
    path = target / "mni152_tissue_maps.npz"
    np.savez_compressed(
        path,
        grey=quantise(grey),
        white=quantise(white),
        brain=np.packbits(brain),
        n_levels=np.int64(N_LEVELS),
        spacing=np.float64(SPACING),
        origin=origin,
    )
    print(
        f"{path}: {path.stat().st_size / 1e3:.0f} kB, shape {grey.shape}, origin {origin}"
    )
