"""Tests of the phantom: that it keeps the contract, and is neither trivial nor hopeless."""

import nibabel
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

from skadm._fields import smooth_field
from skadm.data import SliceStack, make_phantom
from skadm.data._tissue import CORTEX, FLUID, WHITE, build_anatomy, load_template

SMALL = {"n_slices": 12, "size": 48}


@pytest.fixture(scope="module")
def stack():
    return make_phantom(n_patients=8, n_slices=20, size=64, random_state=0)


def z_scores(stack):
    """Brain pixels (n, 4), z-scored per patient, their labels and patient ids."""
    values, labels, patients = [], [], []
    for patient in np.unique(stack.groups):
        part = stack[stack.groups == patient]
        pixels = np.moveaxis(part.X, 1, -1)[part.y >= 0]
        values.append((pixels - pixels.mean(axis=0)) / pixels.std(axis=0))
        labels.append(part.y[part.y >= 0])
        patients.append(np.full(len(pixels), patient))
    return np.concatenate(values), np.concatenate(labels), np.concatenate(patients)


def test_shapes_names_and_types(stack):
    assert isinstance(stack, SliceStack)
    assert stack.shape == (160, 4, 64, 64)
    assert stack.X.dtype == np.float32
    assert stack.y.dtype == np.int8
    assert stack.contrasts == ("T1", "T1ce", "T2", "FLAIR")
    assert list(np.unique(stack.groups)) == [f"phantom-{i:03d}" for i in range(8)]
    assert set(np.unique(stack.y)) == {-1, 0, 1}


def test_background_is_zero_and_brain_above(stack):
    outside = stack.y == -1
    images = np.moveaxis(stack.X, 1, 0)
    assert (images[:, outside] == 0).all()
    assert (images[:, ~outside] > 0).all()
    assert np.isfinite(stack.X).all()


def test_every_slice_holds_brain(stack):
    assert (stack.y >= 0).any(axis=(1, 2)).all()


def test_brain_does_not_touch_the_border(stack):
    frame = stack.y.copy()
    frame[:, 1:-1, 1:-1] = -1
    assert (frame == -1).all()


def test_normal_and_abnormal_slices(stack):
    abnormal = (stack.y == 1).any(axis=(1, 2))
    shares = [
        abnormal[stack.groups == patient].mean() for patient in np.unique(stack.groups)
    ]
    assert max(shares) < 0.75
    assert np.count_nonzero(shares) >= 6
    assert 0.2 < abnormal.mean() < 0.6


@pytest.mark.slow
def test_every_patient_keeps_normal_slices_with_the_largest_lesions():
    stack = make_phantom(
        6, **SMALL, lesion_radius=(35, 35), lesion_fraction=1, random_state=1
    )
    abnormal = (stack.y == 1).any(axis=(1, 2))
    for patient in np.unique(stack.groups):
        assert 0 < abnormal[stack.groups == patient].sum() < SMALL["n_slices"]


@pytest.mark.slow
def test_same_seed_same_patients_for_any_number_of_them():
    few = make_phantom(1, **SMALL, random_state=3)
    many = make_phantom(2, **SMALL, random_state=3)
    np.testing.assert_array_equal(few.X, many[:12].X)
    np.testing.assert_array_equal(few.y, many[:12].y)
    assert not np.array_equal(many[:12].y, many[12:].y)


@pytest.mark.slow
def test_contrast_does_not_depend_on_the_others():
    everything = make_phantom(1, **SMALL, random_state=3)
    part = make_phantom(1, **SMALL, contrasts=("FLAIR", "T1"), random_state=3)
    assert part.contrasts == ("FLAIR", "T1")
    np.testing.assert_array_equal(part.X, everything.X[:, [3, 0]])


@pytest.mark.slow
@pytest.mark.parametrize("make_source", [np.random.RandomState, np.random.default_rng])
def test_random_state_may_be_a_generator(make_source):
    first, again, other = (
        make_phantom(1, 4, 16, random_state=make_source(seed)).X for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_global_random_state_is_left_alone():
    before = np.random.get_state()
    first = make_phantom(1, 4, 16, random_state=None).X
    second = make_phantom(1, 4, 16, random_state=None).X
    after = np.random.get_state()
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert not np.array_equal(first, second)


@pytest.mark.slow
def test_tissues_have_the_right_order_on_every_contrast():
    # A healthy patient without noise, against tissue fractions drawn from the same seed.
    stack = make_phantom(1, **SMALL, lesions=None, noise=0, random_state=4)
    entropy = np.random.RandomState(4).randint(2**31, size=4, dtype=np.int64).tolist()
    body = np.random.SeedSequence(entropy).spawn(1)[0].spawn(2)[1]
    anatomy = build_anatomy(np.random.default_rng(body), 12, 48, [])
    pixels = np.moveaxis(stack.X, 1, -1)[anatomy.brain]

    def mean(tissue):
        return pixels[anatomy.fractions[:, tissue] > 0.8].mean(axis=0)

    fluid, grey, white = mean(FLUID), mean(CORTEX), mean(WHITE)
    for t1 in (0, 1):
        assert white[t1] > 1.1 * grey[t1] > 1.1 * 1.5 * fluid[t1]
    assert fluid[2] > 1.3 * grey[2] > 1.3 * 1.2 * white[2]
    assert grey[3] > 1.1 * white[3] > 1.1 * fluid[3]
    assert np.corrcoef(pixels[:, 0], pixels[:, 2])[0, 1] < -0.5


def test_affine_gives_size_and_place(stack):
    for volume in stack.volumes:
        assert nibabel.aff2axcodes(volume.affine) == ("L", "P", "S")
        np.testing.assert_allclose(volume.voxel_size[:2], 214 / 64)
        z, rows, columns = np.nonzero(volume.read()[1] >= 0)
        millimetres = nibabel.affines.apply_affine(
            volume.affine, np.column_stack([columns, rows, z])
        )
        np.testing.assert_allclose(millimetres.mean(axis=0), (0, -17, 5), atol=12)
        size = np.ptp(millimetres, axis=0)
        assert (size > (110, 140, 110)).all()
        assert (size < (175, 205, 160)).all()


@pytest.mark.slow
def test_front_of_the_brain_is_up_and_narrower():
    # The frontal pole is narrower than the parietal part behind the middle.
    brain = make_phantom(3, 10, 64, lesions=None, random_state=0).y[6::10] >= 0
    rows = np.flatnonzero(brain.any(axis=(0, 2)))
    width = brain.sum(axis=2).mean(axis=0)[rows[0] : rows[-1] + 1]
    quarter = len(width) // 4
    assert width[:quarter].sum() < width[-quarter:].sum()


@pytest.mark.slow
def test_without_lesions():
    for stack in (
        make_phantom(2, **SMALL, lesions=None, random_state=0),
        make_phantom(2, **SMALL, lesion_fraction=0, random_state=0),
    ):
        assert set(np.unique(stack.y)) == {-1, 0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tumour", "stroke"])
def test_lesion_size_follows_the_radius(kind):
    volumes = []
    for radius in (8, 16, 24):
        stack = make_phantom(
            2,
            16,
            32,
            lesions=(kind,),
            lesion_fraction=1,
            lesion_radius=(radius, radius),
            random_state=2,
        )
        pixels = [np.count_nonzero(v.read()[1] == 1) for v in stack.volumes]
        sizes = [np.prod(v.voxel_size) for v in stack.volumes]
        ball = 4 / 3 * np.pi * radius**3
        volumes.append(np.mean(np.multiply(pixels, sizes)))
        # Less where it meets fluid or the skull, more where there are two.
        assert 0.25 * ball < volumes[-1] < 2.0 * ball
    assert volumes[0] * 3 < volumes[1]
    assert volumes[1] * 1.8 < volumes[2]


@pytest.mark.slow
def test_kinds_of_lesion_differ_in_uptake():
    # Only tumours take up contrast agent: the ratio T1ce / T1 spreads inside their outline.
    spread = {}
    for kind in ("tumour", "stroke"):
        stack = make_phantom(
            6, **SMALL, lesions=kind, lesion_fraction=1, noise=0, random_state=0
        )
        inside = np.moveaxis(stack.X, 1, -1)[stack.y == 1]
        ratio = inside[:, 1] / inside[:, 0]
        spread[kind] = np.percentile(ratio, 99) / np.median(ratio)
    assert spread["tumour"] > spread["stroke"] + 0.2


@pytest.mark.slow
def test_intensity_alone_does_not_solve_it_but_the_combination_helps():
    # Patients differ much: every one of sixteen is tested once, by a mixture of the others.
    stack = make_phantom(n_patients=16, n_slices=12, size=48, random_state=0)
    values, labels, patients = z_scores(stack)
    half = patients < "phantom-008"
    flair, t2, combined = [], [], []
    for test in (half, ~half):
        train = np.flatnonzero(~test & (labels == 0))[::7]
        mixture = GaussianMixture(6, random_state=0).fit(values[train])
        lesion = labels[test] == 1
        flair.append(roc_auc_score(lesion, values[test, 3]))
        t2.append(roc_auc_score(lesion, values[test, 2]))
        combined.append(roc_auc_score(lesion, -mixture.score_samples(values[test])))
    assert 0.65 < np.mean(flair) < 0.92
    assert 0.65 < np.mean(t2) < 0.92
    assert np.mean(flair) < np.mean(combined) < 0.97


@pytest.mark.slow
def test_noise_adds_up():
    # The difference between a noisy and a noise-free scan of one patient is the noise.
    clean, noisy = (
        make_phantom(1, **SMALL, contrasts=("T1",), noise=s, random_state=0)
        for s in (0, 0.05)
    )
    brain = clean.y >= 0
    difference = (noisy.X - clean.X)[:, 0][brain]
    white = np.percentile(clean.X[:, 0][brain], 85)
    assert np.std(difference) / white == pytest.approx(0.05, rel=0.15)


def test_smooth_field_has_unit_variance_and_its_length():
    rng = np.random.default_rng(0)
    field = smooth_field(rng, (40, 60, 80), (3.0, 1.0, 1.0), 6.0)
    assert field.dtype == np.float32
    assert field.mean() == pytest.approx(0, abs=0.1)
    assert field.std() == pytest.approx(1, abs=0.1)
    assert np.corrcoef(field[:, :, 1:].ravel(), field[:, :, :-1].ravel())[0, 1] > 0.95
    assert abs(np.corrcoef(field[:, 30:].ravel(), field[:, :30].ravel())[0, 1]) < 0.1


def test_template_is_a_brain():
    template = load_template()
    assert template.grey.shape == template.white.shape == template.brain.shape
    total = template.grey + template.white
    assert total.max() < 1.05
    litres = (template.brain > 0.5).sum() * template.spacing**3 / 1e6
    assert 1.4 < litres < 2.1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_patients": 0}, "n_patients is 0; expected a whole number, 1 or more"),
        ({"n_patients": 1.5}, "n_patients is 1.5; expected a whole number"),
        ({"n_slices": 3}, "n_slices is 3; expected a whole number, 4 or more"),
        ({"size": 8}, "size is 8; expected a whole number, 16 or more"),
        (
            {"contrasts": ("T1", "PD")},
            r"contrasts is \('T1', 'PD'\); expected distinct names",
        ),
        (
            {"contrasts": ("T1", "T1")},
            r"contrasts is \('T1', 'T1'\); expected distinct names",
        ),
        ({"contrasts": ()}, r"contrasts is \(\); expected distinct names"),
        (
            {"lesions": ("cyst",)},
            r"lesions is \('cyst',\); expected distinct names .*'tumour'",
        ),
        (
            {"lesion_fraction": 1.2},
            r"lesion_fraction is 1.2; expected a number in \[0, 1\]",
        ),
        ({"lesion_radius": (20, 10)}, r"lesion_radius is \(20, 10\); expected \(smallest"),
        ({"lesion_radius": (10, 50)}, r"lesion_radius is \(10, 50\); .* 2.0 and 35.0"),
        ({"lesion_radius": 10}, "lesion_radius is 10; expected"),
        ({"noise": -0.1}, "noise is -0.1; expected a number, 0 or more"),
        ({"noise": float("nan")}, "noise is nan; expected"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(**parameters)
