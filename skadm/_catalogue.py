"""Catalogue of the detectors: idea, paper, parameters to tune, strengths."""

from dataclasses import dataclass

from skadm._supervision import TIERS, supervision
from skadm.detectors import all_detectors


@dataclass(frozen=True)
class Method:
    """Short description of a method."""

    idea: str  # first paragraph of the detector's docstring
    paper: str  # source
    tune: tuple[str, ...]  # most important parameters
    good_at: str  # strengths and weaknesses
    # supervision tiers of `skadm.detectors.supervision`
    supervision: tuple[str, ...]


def _tiers(detector: type) -> tuple[str, ...]:
    """Return the supervision tiers that a detector supports, from none to most."""
    made = [detector()]
    if "prior" in made[0].get_params():
        made += [
            detector(prior=prior, prior_sign=sign)
            for prior in (None, "learned", [0])
            for sign in ("known", "unknown")
        ]
    tiers = {supervision(variant) for variant in made}
    return tuple(tier for tier in TIERS if tier in tiers)


METHODS: dict[str, Method] = {
    name: Method(
        # First paragraph of the docstring, in one line.
        " ".join((detector.__doc__ or "").strip().split("\n\n")[0].split()),
        detector._paper,
        detector._tune,
        detector._good_at,
        _tiers(detector),
    )
    for name, detector in all_detectors()
}
"""All detectors by class name."""
