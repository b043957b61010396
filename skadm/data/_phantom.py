"""A multi-contrast brain MR phantom, so that everything runs without a download."""

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from skadm._fields import smooth_field
from skadm.data._lesions import LESION_KINDS, N_PARTS, draw_lesions
from skadm.data._signal import CONTRASTS, GAINS, TEXTURE, draw_signals, render
from skadm.data._stack import SliceStack
from skadm.data._tissue import FLUID, WHITE, build_anatomy, load_template
from skadm.data._volume import ArrayVolume

NUMBER = (int, float, np.integer, np.floating)
SMALLEST_LESION, LARGEST_LESION = 2.0, 35.0  # mm


def make_phantom(
    n_patients: int = 20,
    n_slices: int = 40,
    size: int = 128,
    *,
    contrasts: str | Sequence[str] = CONTRASTS,
    lesions: str | Sequence[str] | None = ("tumour", "stroke"),
    lesion_fraction: float = 0.9,
    lesion_radius: tuple[float, float] = (12.0, 30.0),
    noise: float = 0.03,
    random_state: int | np.random.RandomState | np.random.Generator | None = None,
) -> SliceStack:
    """Make brain scans of imaginary patients, with lesions and their outlines.

    Each patient is a random deformation of the MNI152 template: head size and shape,
    cortical folding, ventricle size and the extent of age-related white matter
    hyperintensities vary. Scanner gain, contrast, bias field and noise vary between
    patients and contrasts. In any single contrast, lesion intensities overlap with those
    of healthy tissue; lesions differ by the combination of contrasts and by texture.
    About a third of all slices contain a lesion, and every patient has slices without.

    Parameters
    ----------
    n_patients : int, default=20
        Number of patients, each with one volume. Patient i does not depend on this
        number.
    n_slices : int, default=40
        Number of axial slices per patient, at least 4, from the lowest to the highest part
        of the brain.
    size : int, default=128
        Height and width of a slice in pixels, at least 16. The field of view is always
        214 mm.
    contrasts : str or sequence of str, default=("T1", "T1ce", "T2", "FLAIR")
        Contrasts to make, in this order.
    lesions : str, sequence of str or None, default=("tumour", "stroke")
        Kinds of lesion to draw from, or None for healthy patients. A tumour has oedema
        and, usually, an enhancing rim around a necrotic core; a stroke is a wedge.
    lesion_fraction : float, default=0.9
        Probability that a patient has a lesion.
    lesion_radius : tuple of float, default=(12.0, 30.0)
        Smallest and largest lesion radius in mm, between 2 and 35: that of a ball of
        about the same volume, before voxels in fluid or outside the brain are removed.
    noise : float, default=0.03
        Standard deviation of the Rician noise, as a fraction of the white matter signal
        on T1.
    random_state : int, RandomState, Generator or None, default=None
        Seed or random number generator. None gives different patients on every call.

    Returns
    -------
    SliceStack
        ``n_patients * n_slices`` slices of patients ``"phantom-000"``, ``"phantom-001"``,
        …: intensities in arbitrary units (normalise before use), exactly 0 outside the
        brain and above 0 inside; labels 1 in lesions, 0 elsewhere in the brain, -1
        outside.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    SliceStack : The returned object and its indexing.

    Examples
    --------
    >>> from skadm.data import make_phantom
    >>> stack = make_phantom(n_patients=2, n_slices=10, size=32, random_state=0)
    >>> stack.shape
    (20, 4, 32, 32)
    """
    check_sizes(n_patients, n_slices, size)
    contrasts = check_names("contrasts", contrasts, CONTRASTS)
    kinds = () if lesions is None else check_names("lesions", lesions, tuple(LESION_KINDS))
    _check_numbers(lesion_fraction, lesion_radius, noise)
    probability = lesion_fraction if kinds else 0.0

    def draw(seed):
        return _make_patient(
            seed, n_slices, size, contrasts, kinds, probability, lesion_radius, noise
        )

    return stack_of_patients("phantom", draw, n_patients, contrasts, random_state)


def stack_of_patients(prefix, draw, n_patients, contrasts, random_state):
    """Make a stack with one volume per patient from ``draw(seed)``."""
    volumes = []
    for number, seed in enumerate(_root_seed(random_state).spawn(n_patients)):
        images, labels, affine = draw(seed)
        volumes.append(
            ArrayVolume(
                images,
                labels,
                patient=f"{prefix}-{number:03d}",
                name=f"{prefix}-{number:03d}",
                contrasts=contrasts,
                affine=affine,
            )
        )
    return SliceStack.from_volumes(volumes)


def _make_patient(seed, n_slices, size, contrasts, kinds, probability, radius, noise):
    """Return images (n_slices, K, size, size), labels (n_slices, size, size), affine."""
    # Separate seeds, so that a contrast does not depend on which others are made.
    plan, body, disease, scanner, *channels = (
        np.random.default_rng(child) for child in seed.spawn(4 + len(CONTRASTS))
    )
    lesions = []
    if plan.random() < probability:
        lesions = draw_lesions(plan, kinds, radius, load_template().lesion_sites)
    anatomy = build_anatomy(body, n_slices, size, lesions)
    brain, spacing = anatomy.brain, anatomy.spacing

    def texture(length):
        return smooth_field(disease, brain.shape, spacing, length)[brain]

    fluid, white = anatomy.fractions[:, FLUID], anatomy.fractions[:, WHITE]
    diseased = np.zeros((len(fluid), N_PARTS), dtype=np.float32)
    extent = np.zeros(len(fluid), dtype=np.float32)
    for lesion in lesions:
        parts, inside = lesion.parts(disease, anatomy.points, white, texture)
        diseased = np.where((inside > extent)[:, np.newaxis], parts, diseased)
        extent = np.maximum(extent, inside)
    # Fluid is not replaced by lesion, nor labelled as lesion.
    diseased *= 1 - fluid[:, np.newaxis]
    healthy = anatomy.fractions * (1 - diseased.sum(axis=1, keepdims=True))
    labels = np.full(brain.shape, -1, dtype=np.int8)
    labels[brain] = (extent > 0.5) & (fluid < 0.5)

    base = np.hstack([healthy, diseased]) @ draw_signals(scanner)
    fine = smooth_field(scanner, brain.shape, spacing, 3.5)[brain]
    images = np.zeros((n_slices, len(contrasts), size, size), dtype=np.float32)
    for channel, contrast in enumerate(contrasts):
        k = CONTRASTS.index(contrast)
        signal = base[:, k] * (1 + TEXTURE[k] * fine)
        images[:, channel] = render(channels[k], signal, brain, spacing, GAINS[k], noise)
    return images, labels, anatomy.affine


def _root_seed(random_state):
    """Return a seed sequence for a scikit-learn random_state or a NumPy Generator."""
    if random_state is None:
        return np.random.SeedSequence()
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(2**32, size=4).tolist())
    numbers = check_random_state(random_state).randint(2**31, size=4, dtype=np.int64)
    return np.random.SeedSequence(numbers.tolist())


def check_sizes(n_patients, n_slices, size):
    """Check the numbers of patients, slices and pixels."""
    for name, value, least in (
        ("n_patients", n_patients, 1),
        ("n_slices", n_slices, 4),
        ("size", size, 16),
    ):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(
                f"{name} is {value!r}; expected a whole number, {least} or more"
            )


def check_names(name, values, known):
    """Return one or several names as a tuple; check that they are known and unique."""
    values = (values,) if isinstance(values, str) else tuple(values)
    if not values or len(set(values)) < len(values) or not set(values) <= set(known):
        raise ValueError(f"{name} is {values!r}; expected distinct names out of {known}")
    return values


def _check_numbers(lesion_fraction, lesion_radius, noise):
    if not isinstance(lesion_fraction, NUMBER) or not 0 <= lesion_fraction <= 1:
        raise ValueError(
            f"lesion_fraction is {lesion_fraction!r}; expected a number in [0, 1]"
        )
    try:
        low, high = lesion_radius
        ordered = SMALLEST_LESION <= low <= high <= LARGEST_LESION
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise ValueError(
            f"lesion_radius is {lesion_radius!r}; expected (smallest, largest) in mm, "
            f"between {SMALLEST_LESION} and {LARGEST_LESION}"
        )
    if not isinstance(noise, NUMBER) or not 0 <= noise < np.inf:
        raise ValueError(f"noise is {noise!r}; expected a number, 0 or more")
