"""What the detectors are: idea, paper, what to tune, what each is good at."""

from dataclasses import dataclass

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
    """

    idea: str
    paper: str
    tune: tuple[str, ...]
    good_at: str


METHODS: dict[str, Method] = {
    name: Method(
        # First paragraph of the docstring, in one line.
        " ".join((detector.__doc__ or "").strip().split("\n\n")[0].split()),
        detector._paper,
        detector._tune,
        detector._good_at,
    )
    for name, detector in all_detectors()
}
"""All detectors by class name."""
