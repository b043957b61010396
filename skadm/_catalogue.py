"""What the detectors are: idea, paper, what to tune, what each is good at."""

from dataclasses import dataclass

from skadm._supervision import TIERS, supervision
from skadm.detectors import all_detectors


@dataclass(frozen=True)
class Method:
    """One method, in a few words."""

    idea: str  # one sentence: the first one of the detector's docstring
    paper: str  # where it is from
    tune: tuple[str, ...]  # the parameters that matter most
    good_at: str  # when to take it, and when not
    # tiers of knowledge of lesions, as `skadm.detectors.supervision` names them
    supervision: tuple[str, ...]


def _tiers(detector: type) -> tuple[str, ...]:
    """The tiers of all priors that a detector takes, from nothing to most."""
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
