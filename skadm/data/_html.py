"""A stack as a notebook shows it."""

import base64
import io
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

_WINDOW = (0.5, 99.5)  # percentiles over the brain: black and white
_HEIGHT = 160  # pixels of the picture


def stack_html(stack: Any) -> str:
    """Write a table of what is known of a `SliceStack`, and a picture of one slice.

    Only the first volume is read, for the picture. If that fails, the error is
    shown instead. Without matplotlib there is no picture. Masks in files are not read.
    """
    patients = len({volume.patient for volume in stack.volumes})
    rows = {
        "Patients": str(patients),
        "Volumes": str(len(stack.volumes)),
        "Slices": str(len(stack)),
        "Contrasts": ", ".join(stack.contrasts),
        "Grid": _grids(stack.volumes),
        "Labels": _labels(stack),
    }
    lines = "".join(
        f'<tr><th style="text-align: left">{name}</th>'
        f'<td style="text-align: left">{escape(value)}</td></tr>'
        for name, value in rows.items()
    )
    return f"<table><caption>SliceStack</caption>{lines}</table>{_picture(stack)}"


def _grids(volumes: Any) -> str:
    """Size of slices and voxels, from the smallest to the largest."""
    grids = [volume.grid for volume in volumes]
    height, width = (_span([grid.shape[i] for grid in grids], 0) for i in (0, 1))
    across, down, through = (
        _span([grid.voxel_size[i] for grid in grids], 2) for i in range(3)
    )
    return f"{height} × {width} pixels of {down} × {across} mm, slices {through} mm apart"


def _span(values: Any, digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if low == high else f"{low}–{high}"


def _labels(stack: Any) -> str:
    if not stack.has_labels:
        return "none"
    if not all(volume.is_decoded for volume in stack.volumes):
        return "masks in files, not read yet"
    abnormal = 0
    for volume, places in stack.volume_places():
        labels = volume.decode().labels[stack.z[places]]
        abnormal += int(np.count_nonzero((labels == 1).any(axis=(1, 2))))
    return f"{len(stack) - abnormal} slices are normal, {abnormal} hold an anomaly"


def _picture(stack: Any) -> str:
    """All contrasts of the slice with the most brain, of the first volume."""
    try:
        from matplotlib.image import imsave
    except ImportError:
        return ""
    volume, places = next(stack.volume_places())
    try:
        scan = volume.decode(labels=False)
    except (ValueError, OSError) as error:
        return f"<p>{escape(f'{volume.name} cannot be read: {error}')}</p>"
    z = stack.z[places]
    areas = np.count_nonzero(scan.brain[z], axis=(1, 2))
    if not areas.any():
        return ""
    chosen = z[areas.argmax()]
    box = find_objects(scan.brain[chosen].astype(np.int8))[0]
    brain = scan.brain[chosen][box]
    # The front on top and the patient's right on the left, as the affine says.
    turned = tuple(slice(None, None, -1 if volume.affine[i, i] > 0 else 1) for i in (1, 0))
    panels = [_grey(contrast[box], brain)[turned] for contrast in scan.images[chosen]]
    picture = np.concatenate(panels, axis=1)
    buffer = io.BytesIO()
    imsave(buffer, picture, cmap="gray", vmin=0, vmax=1, format="png")
    source = base64.b64encode(buffer.getvalue()).decode("ascii")
    text = escape(f"{volume.name}, slice {chosen}: {', '.join(stack.contrasts)}")
    return (
        f'<img src="data:image/png;base64,{source}" alt="{text}" '
        f'style="height: {_HEIGHT}px"><p>{text}</p>'
    )


def _grey(image: NDArray, brain: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intensities (H, W) from 0 to 1, 0 outside the brain; all 0 of a missing contrast."""
    inside = image[brain]
    if not np.isfinite(inside).all():
        return np.zeros(image.shape)
    low, high = np.percentile(inside, _WINDOW)
    return np.where(brain, np.clip((image - low) / max(high - low, 1e-12), 0, 1), 0.0)
