"""Random normal brains for training (domain randomisation)."""

from collections.abc import Sequence

import numpy as np

from skadm._fields import smooth_field
from skadm.data._corruptions import corrupt
from skadm.data._phantom import check_names, check_sizes, stack_of_patients
from skadm.data._sequences import N_TISSUES, SEQUENCES, Tissues, draw_sequence
from skadm.data._signal import render
from skadm.data._stack import SliceStack
from skadm.data._tissue import Anatomy, Variation, build_anatomy, load_template


def make_random_brains(
    n_patients: int = 20,
    n_slices: int = 8,
    size: int = 128,
    *,
    contrasts: str | Sequence[str] = SEQUENCES,
    random_state: int | np.random.RandomState | np.random.Generator | None = None,
) -> SliceStack:
    """Make normal brain scans for training that vary more than real ones.

    The anatomy is that of the phantom with larger deformations: ventricles, sulci, head
    size, field of view and slice thickness vary more, and brain masks are too tight or
    include surrounding tissue. Tissue signals follow from random repetition, echo and
    inversion times of the named sequence and random relaxation times of the patient, so
    the order of tissues is mostly kept; a few contrasts get uniformly random signals
    instead. Bias, noise, low resolution, ghosts, saturation and cut fields of view are
    added (domain randomisation).

    They contain no anomaly and are not realistic enough for evaluation: train on them,
    but test on real scans.

    Parameters
    ----------
    n_patients : int, default=20
        Number of patients, each with one volume. Patient i does not depend on this
        number.
    n_slices : int, default=8
        Axial slices per patient, at least 4, evenly spread from the lowest to the highest
        part of the brain.
    size : int, default=128
        Height and width of a slice in pixels, at least 16.
    contrasts : str or sequence of str, default=("T1", "T1ce", "T2", "PD", "FLAIR", "DWI", \
"ADC")
        Contrasts to make, in this order.
    random_state : int, RandomState, Generator or None, default=None
        Seed or random number generator. None gives different patients on every call.

    Returns
    -------
    SliceStack
        ``n_patients * n_slices`` unlabelled slices of patients ``"random-000"``,
        ``"random-001"``, …: intensities in arbitrary units, exactly 0 outside the brain.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    See Also
    --------
    make_phantom : Less variable brains, with lesions.

    References
    ----------
    B. Billot et al. SynthSeg: segmentation of brain MRI scans of any contrast and
    resolution without retraining. Medical Image Analysis 86:102789, 2023.

    P. Liu, A. L. Aguila, J. E. Iglesias. Unraveling normal anatomy via fluid-driven anomaly
    randomization. CVPR 2025.

    Examples
    --------
    >>> from skadm.data import make_random_brains
    >>> stack = make_random_brains(2, 4, 32, contrasts=["T1", "FLAIR"], random_state=0)
    >>> stack.shape
    (8, 2, 32, 32)
    """
    check_sizes(n_patients, n_slices, size)
    contrasts = check_names("contrasts", contrasts, SEQUENCES)

    def draw(seed):
        images, affine = draw_random_brain(seed, n_slices, size, contrasts)
        return images, None, affine

    return stack_of_patients("random", draw, n_patients, contrasts, random_state)


def draw_random_brain(
    seed: np.random.SeedSequence, n_slices: int, size: int, contrasts: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n_slices, n_contrasts, size, size) of a patient and the affine."""
    # Separate seeds, so that a contrast does not depend on which others are made.
    plan, body, patient, *channels = (
        np.random.default_rng(child) for child in seed.spawn(3 + len(SEQUENCES))
    )
    variation = draw_variation(plan)
    anatomy = build_anatomy(body, n_slices, size, [], variation)
    brain, spacing = anatomy.brain, anatomy.spacing
    fractions = _with_surroundings(patient, anatomy, variation)
    tissues = Tissues(patient)
    fine = smooth_field(patient, brain.shape, spacing, 3.5)[brain]
    spread = patient.uniform(0.02, 0.12)
    images = np.zeros((n_slices, len(contrasts), size, size), dtype=np.float32)
    for channel, contrast in enumerate(contrasts):
        rng = channels[SEQUENCES.index(contrast)]
        if rng.random() < 0.06:
            signals = rng.uniform(0.05, 1.0, N_TISSUES)  # uniformly random
        else:
            signals = draw_sequence(rng, contrast, tissues, spread)
        base = fractions @ signals.astype(np.float32)
        base *= 1 + rng.normal(0, 0.025) * fine
        noise = np.exp(rng.uniform(np.log(0.003), np.log(0.035)))
        bias, regional = rng.uniform(0.0, 0.1), rng.uniform(0.005, 0.03)
        volume = render(rng, base, brain, spacing, 1.0, noise, bias, regional)
        images[:, channel] = corrupt(rng, volume, brain)
    return images, anatomy.affine


def draw_variation(rng: np.random.Generator) -> Variation:
    """Draw the variation of patient, scanner and preprocessing."""
    side = rng.uniform(200.0, 262.0)
    thick = rng.random() < 0.4
    exact = rng.random() < 0.3
    return Variation(
        field_of_view=(side, side * np.exp(rng.uniform(-0.2, 0.08))),
        lowest=rng.uniform(-66.0, -46.0),
        highest=rng.uniform(64.0, 76.0),
        size=0.05,
        size_range=(0.86, 1.12),
        angle=1.6,
        bending=rng.uniform(0.6, 1.7),
        ventricles=(-2.5, 11.0),
        sulci=(-0.6, 1.8),
        # Few age-related hyperintensities: many users look for them as lesions.
        spots=0.35 * rng.random(),
        sharpness=rng.uniform(0.5, 1.1) if thick else rng.uniform(0.8, 1.6),
        n_averaged=int(rng.integers(2, 6)) if thick else 1,
        margin=None if exact else rng.normal(0.3, 1.6),
        ragged=rng.uniform(0.2, 1.8),
    )


def _with_surroundings(
    rng: np.random.Generator, anatomy: Anatomy, variation: Variation
) -> np.ndarray:
    """Return fractions (n_pixels, 8): the tissues, and patches of meninges and bone."""
    fractions = np.zeros((len(anatomy.fractions), N_TISSUES), dtype=np.float32)
    fractions[:, :-1] = anatomy.fractions
    if variation.margin is None:
        return fractions
    template = load_template()
    outside = np.clip(-template.sample(template.depth, anatomy.points, "nearest") / 2, 0, 1)
    patchy = smooth_field(rng, anatomy.brain.shape, anatomy.spacing, 20.0)[anatomy.brain]
    share = outside * np.clip(0.5 + patchy, 0, 1)
    fractions *= (1 - share)[:, np.newaxis]
    fractions[:, -1] = share
    return fractions
