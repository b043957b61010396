"""What the detectors are: idea, paper, what to tune, what each is good at."""

from dataclasses import dataclass

from skadm._supervision import TIERS, supervision
from skadm.detectors import all_detectors

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """One method, in a few words.

    Attributes
    ----------
    idea : str
        One sentence: the first one of the detector's docstring.
    paper : str
        Where it is from.
    tune : tuple of str
        The parameters that matter most.
    good_at : str
        When to take it, and when not.
    supervision : tuple of str
        The tiers of knowledge of lesions with which it can be fitted, as
        `skadm.detectors.supervision` names them.
    """

    idea: str
    paper: str
    tune: tuple[str, ...]
    good_at: str
    supervision: tuple[str, ...]


_FACTS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "ADMDetector": (
        "Kim et al. 2021",
        ("energy_weight", "n_components", "width", "features"),
        "Contrasts that contradict each other, bright or not. Two contrasts or more; slow.",
    ),
    "DAEDetector": (
        "Kascenas et al. 2022",
        ("noise_std", "noise_scale", "prior", "median_size"),
        "The strongest of the cheap networks; with a prior, lesions that are too bright.",
    ),
    "DAGDetector": (
        "Zong et al. 2018",
        ("latent_dim", "n_components", "energy_weight", "penalty_weight"),
        "Unusual combinations of intensities in one pixel; cheap. Blind to surroundings.",
    ),
    "DAGcDetector": (
        "Zong et al. 2018, Kim et al. 2021",
        ("latent_dim", "n_components", "energy_weight", "penalty_weight"),
        "As DAG, with texture and edges; edges of the brain are unusual too.",
    ),
    "DSVDDDetector": (
        "Ruff et al. 2018",
        ("objective", "nu", "latent_dim", "n_levels"),
        "Large regions of unusual texture; coarse, and takes the rim of the brain for one.",
    ),
    "EraserDetector": (
        "Kascenas et al. 2022, changed",
        ("prior", "prior_sign", "sigma", "lesion_scales", "max_epochs"),
        "Lesions in nearly symmetric organs; best where it may look at abnormal slices.",
    ),
    "FAnoGANDetector": (
        "Schlegl et al. 2019",
        ("latent_dim", "width", "feature_weight", "max_epochs"),
        "Lesions that differ much from what they replace; wants many slices and a GPU.",
    ),
    "GMVAEDetector": (
        "You et al. 2019, Chen et al. 2020",
        ("tv_weight", "latent_dim", "restoration_steps", "n_components"),
        "Compact lesions that a smooth change undoes; scoring is slow.",
    ),
    "GaussianMixtureDetector": (
        "none",
        ("n_components", "neighbourhood"),
        "Unusual combinations of intensities in one pixel, in seconds.",
    ),
    "IntensityDetector": (
        "none",
        ("prior", "sigma"),
        "Lesions that are bright (or dark) on known contrasts. Nothing to train.",
    ),
    "PCADetector": (
        "none",
        ("n_components", "neighbourhood"),
        "Contrasts that break their linear relation, in seconds.",
    ),
}


def _idea(detector: type) -> str:
    """First paragraph of the docstring, in one line."""
    summary = (detector.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(summary.split())


def _tiers(detector: type) -> tuple[str, ...]:
    """The tiers of all priors that a detector takes, from nothing to most."""
    made = [detector()]
    if "prior" in made[0].get_params():
        made += [
            detector(prior=prior, prior_sign=sign)
            for prior in (None, "learned", [0])
            for sign in ("known", "unknown")
        ]
    found = {supervision(each) for each in made}
    return tuple(tier for tier in TIERS if tier in found)


METHODS: dict[str, Method] = {
    name: Method(_idea(detector), *_FACTS[name], _tiers(detector))
    for name, detector in all_detectors()
}
"""All detectors by class name."""
