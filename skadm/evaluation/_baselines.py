"""Baselines shown beside all other methods."""

from collections.abc import Sequence
from typing import Any


def intensity_baselines(
    contrasts: Sequence[str], sigma: float = 2.0
) -> tuple[dict[str, Any], dict[str, str]]:
    """Make the intensity baselines: bright FLAIR and T2, plain and smoothed.

    Parameters
    ----------
    contrasts : sequence of str
        Names of the available contrasts.
    sigma : float, default=2.0
        Standard deviation of the Gaussian, in pixels.

    Returns
    -------
    detectors : dict of str to IntensityDetector
        Unfitted, by name.
    left_out : dict of str to str
        Baselines not available, with the reason, e.g. "no T2".
    """
    from skadm.detectors import IntensityDetector

    by_name = {name.upper(): name for name in contrasts}
    detectors, left_out = {}, {}
    for wanted in (("FLAIR",), ("FLAIR", "T2")):
        title = " + ".join(wanted)
        missing = [name for name in wanted if name not in by_name]
        for name, width in ((title, 0.0), (f"{title}, smoothed", sigma)):
            if missing:
                left_out[name] = f"no {' and no '.join(missing)}"
            else:
                bright = [by_name[contrast] for contrast in wanted]
                detectors[name] = IntensityDetector(prior=bright, sigma=width)
    return detectors, left_out
