"""The classes a file may name: those whose state is plain, and that run nothing by it."""

from collections.abc import Iterable
from importlib import import_module

_HOMES = {
    "skadm.augmentation": ("Augmentation",),
    "skadm.conformal": ("Calibration",),
    "skadm.detectors": (
        "ADMDetector",
        "DAEDetector",
        "DAGDetector",
        "DAGcDetector",
        "DSVDDDetector",
        "EraserDetector",
        "FAnoGANDetector",
        "GMVAEDetector",
        "GaussianMixtureDetector",
        "IntensityDetector",
        "PCADetector",
    ),
    "skadm.pooling": ("LargestComponent", "Quantile", "TopKMean"),
    "skadm.postprocessing": (
        "BorderEroder",
        "GaussianSmoother",
        "MedianFilter",
        "SmallComponentRemover",
    ),
    "skadm.preprocessing": ("BrainCropper", "IntensityNormalizer", "SliceResizer"),
    "skadm.preprocessing._crop": ("Box",),
    "skadm.reference": ("TrainingReference",),
    "skadm.wrappers": (
        "ConformalDetector",
        "EnsembleDetector",
        "FlipAveragedDetector",
        "PostprocessedDetector",
        "SliceDetector",
        "VolumeDetector",
    ),
    "sklearn.decomposition": ("PCA",),
    "sklearn.frozen": ("FrozenEstimator",),
    "sklearn.mixture": ("GaussianMixture",),
    "sklearn.pipeline": ("Pipeline",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


class Classes:
    """Names of the classes that are allowed, and the classes of the names.

    Parameters
    ----------
    more : iterable of type
        Classes of the user's own, in addition.
    """

    def __init__(self, more: Iterable[type] = ()) -> None:
        self._more = {f"{each.__module__}.{each.__qualname__}": each for each in more}

    def name_of(self, found: type) -> str | None:
        """Name under which a class goes into a file; None if it may not."""
        own = f"{found.__module__}.{found.__qualname__}"
        if self._more.get(own) is found:
            return own
        home = _HOME_OF.get(found.__name__)
        # A class of the same name from elsewhere is another class.
        if home is None or getattr(import_module(home), found.__name__) is not found:
            return None
        return f"{home}.{found.__name__}"

    def named(self, name: object) -> type:
        """Class of a name in a file; nothing is imported for a name that is not known."""
        if isinstance(name, str):
            if name in self._more:
                return self._more[name]
            home, _, short = name.rpartition(".")
            if home and _HOME_OF.get(short) == home:
                return getattr(import_module(home), short)
        raise ValueError(
            f"it names {str(name)[:100]!r}, which is not among the classes that are loaded."
        )
