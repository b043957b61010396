"""The benchmark `diseases`, on folders of tiny scans made here."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy.stats import ttest_1samp
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from benchmarks.experiments import diseases
from benchmarks.experiments.diseases import STUDIES, Study
from benchmarks.lib import runs
from benchmarks.lib.data import Split
from benchmarks.lib.scans import in_the_middle, load_scans, slice_distance
from benchmarks.lib.summary import mean_with_interval
from skadm import PCADetector
from skadm.detectors import supervision

MM = (10.0, 12.0, 5.0)  # of a voxel
SHAPE = (18, 14, 6)  # of a brain, within more background


def write(folder, name, rng, lesion=True, contrasts=("FLAIR", "T1"), mm=MM):
    """A patient: box of a brain, with a bright lesion in the upper slices."""
    path = folder / name
    path.mkdir(parents=True)
    affine = np.diag([*mm, 1.0])
    brain = np.zeros((22, 18, 8), bool)
    brain[2:20, 1:15, 1:7] = True
    mask = np.zeros(brain.shape, np.uint8)
    mask[6:10, 5:9, 4:6] = lesion
    for contrast in contrasts:
        image = np.where(brain, rng.normal(100, 10, brain.shape) + 15 * mask, 0)
        nib.save(
            nib.Nifti1Image(image.astype(np.float32), affine),
            path / f"{name}_{contrast}.nii.gz",
        )
    if lesion:
        nib.save(nib.Nifti1Image(mask, affine), path / f"{name}_seg.nii.gz")
    return mask


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A collection of ill people, one with masks of normal ageing as well, one healthy."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")
    for k in range(3):
        write(folder / "tumours", f"P{k}", rng)
    write(folder / "healthy", "H0", rng, lesion=False)
    mask = write(folder / "wmh", "W0", rng)
    path = folder / "wmh" / "W0"
    (path / "W0_seg.nii.gz").rename(path / "W0_abWMH_manual.nii.gz")
    ageing = np.roll(mask, 8, axis=0)
    nib.save(nib.Nifti1Image(ageing, np.diag([*MM, 1.0])), path / "W0_nWMH_manual.nii.gz")
    return folder


TUMOURS = Study(
    {"tumours": "tumour"}, ("FLAIR", "T1"), {"FLAIR": 1.0}, size=24, gap=5.0, sigma=0.0
)
AGEING = Study(
    {"wmh": "ageing", "healthy": "healthy"},
    ("FLAIR", "T1"),
    {"FLAIR": 1.0},
    train=("tumours",),
    size=24,
    gap=5.0,
    train_every=2,
    sigma=0.0,
)


@pytest.fixture
def studies(monkeypatch):
    monkeypatch.setattr(diseases, "STUDIES", (TUMOURS, AGEING))


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(scans, out, *more):
    arguments = ["--data", str(scans), "--out", str(out), "--preset", "quick", *more]
    return diseases.main(arguments)


def flair_in_mm(folder, name):
    """FLAIR of a patient, resampled as `diseases` does, and the labels."""
    stack = load_scans([folder], ("FLAIR", "T1"), 24, 5.0)
    chosen = stack.groups == name
    return stack.X[chosen][:, 0], stack.y[chosen]


# -- from end to end ----------------------------------------------------------------------


@pytest.mark.slow
def test_metrics_of_each_patient_are_those_of_scikit_learn(scans, studies, tmp_path):
    assert run(scans, tmp_path, "--methods", "FLAIR threshold") == 0
    rows = read(tmp_path / "per_patient.csv")
    assert {row["patient"] for row in rows} == {"P0", "P1", "P2", "W0", "H0"}
    for row in rows:
        if row["patient"] == "H0":
            assert row["auc"] == ""
            assert float(row["flagged_share"]) >= 0
            continue
        flair, labels = flair_in_mm(scans / row["collection"], row["patient"])
        inside = labels >= 0
        truth, score = labels[inside] == 1, flair[inside]
        assert float(row["ap"]) == pytest.approx(average_precision_score(truth, score))
        assert float(row["auc"]) == pytest.approx(roc_auc_score(truth, score))
        precision, recall, _ = precision_recall_curve(truth, score)
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        assert float(row["dice"]) == pytest.approx(f1.max())
        # The threshold is that of the abnormal slices of the training patients.
        others = {"P0", "P1", "P2"} - {row["patient"]}
        known = [flair_in_mm(scans / "tumours", name) for name in others]
        images, masks = (np.concatenate(part) for part in zip(*known))
        if row["collection"] == "wmh":  # trained on every second slice
            images, masks = (np.concatenate([k[i][::2] for k in known]) for i in (0, 1))
        ill = (masks == 1).any(axis=(1, 2))
        images, masks = images[ill], masks[ill]
        precision, recall, thresholds = precision_recall_curve(
            masks[masks >= 0] == 1, images[masks >= 0]
        )
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        found = score >= thresholds[f1[:-1].argmax()] - 1e-6
        expected = 2 * np.sum(found & truth) / (np.sum(found) + np.sum(truth))
        assert float(row["f1"]) == pytest.approx(expected, abs=0.02)


@pytest.mark.slow
def test_summary_has_t_intervals_of_patients(scans, studies, tmp_path):
    run(scans, tmp_path, "--methods", "FLAIR threshold", "PCA")
    rows = read(tmp_path / "per_patient.csv")
    (row,) = (
        row
        for row in read(tmp_path / "summary.csv")
        if row["disease"] == "tumour" and row["method"] == "PCA"
    )
    values = [
        float(r["ap"]) for r in rows if r["disease"] == "tumour" and r["method"] == "PCA"
    ]
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert len(values) == int(row["n_patients"]) == 3
    assert float(row["ap"]) == pytest.approx(np.mean(values))
    assert float(row["ap_low"]) == pytest.approx(expected.low)
    assert float(row["ap_high"]) == pytest.approx(expected.high)
    assert row["supervision"] == "none"
    record = json.loads((tmp_path / "run.json").read_text())
    assert {data["fingerprint"] for data in record["data"].values()}
    for part in (*record["tables"], *record["figures"]):
        assert (tmp_path / part["file"]).stat().st_size > 20


@pytest.mark.slow
def test_networks_are_trained_once_for_all_priors(scans, studies, tmp_path, monkeypatch):
    from skadm.training import Trainer

    epochs = []
    train_epoch = Trainer._train_epoch

    def counted(self, *arguments, **more):
        epochs.append(1)
        return train_epoch(self, *arguments, **more)

    monkeypatch.setattr(Trainer, "_train_epoch", counted)
    names = ["DAE", "DAE, learned direction", "DAE, known direction"]
    run(scans, tmp_path, "--only", "wmh", "--methods", *names)
    seconds = {row["training_seconds"] for row in read(tmp_path / "per_patient.csv")}
    assert len(seconds) == 1
    assert len(epochs) == 2
    before = (tmp_path / "per_patient.csv").read_bytes()
    # The same command again resumes: nothing is left to train.
    run(scans, tmp_path, "--only", "wmh", "--methods", *names)
    assert len(epochs) == 2
    assert (tmp_path / "per_patient.csv").read_bytes() == before


@pytest.mark.slow
def test_a_method_that_fails_is_left_out_with_its_reason(
    scans, studies, tmp_path, monkeypatch
):
    def with_another(*arguments, **more):
        return methods(*arguments, **more) | {"Broken": PCADetector(n_components=-1)}

    methods = diseases.methods
    monkeypatch.setattr(diseases, "methods", with_another)
    arguments = ["--only", "wmh", "--methods", "FLAIR threshold", "Broken"]
    assert run(scans, tmp_path, *arguments) == 1
    rows = read(tmp_path / "per_patient.csv")
    assert {row["method"] for row in rows} == {"FLAIR threshold"}
    (row,) = read(tmp_path / "left_out.csv")
    assert row["method"].startswith("Broken")
    assert "Got -1" in row["reason"]


@pytest.mark.slow
def test_only_what_is_finished_in_all_folds_is_shown(scans, studies, tmp_path):
    run(scans, tmp_path, "--methods", "FLAIR threshold")
    # PCA in one of three folds.
    (split, *_), _ = diseases.load(TUMOURS, scans)
    known = diseases.methods(TUMOURS, "quick", 10.0, 1.0, budget=True)
    todo = runs.seeded("PCA", known["PCA"], 1)
    assert next(runs.carry_out(todo, split, tmp_path / "cache")).error is None
    assert runs.is_done(todo[0], split, tmp_path / "cache")
    chosen = ["--methods", "FLAIR threshold", "PCA", "GMVAE"]
    assert run(scans, tmp_path, "--finished", *chosen) == 0
    rows = read(tmp_path / "per_patient.csv")
    assert {(row["collection"], row["method"]) for row in rows} == {
        ("tumours", "FLAIR threshold"),
        ("wmh", "FLAIR threshold"),
        ("healthy", "FLAIR threshold"),
    }
    left = {(row["collection"], row["method"]) for row in read(tmp_path / "left_out.csv")}
    assert ("tumours", "PCA") in left
    assert ("wmh, healthy", "GMVAE") in left


def test_methods_that_no_study_has_are_refused(scans, studies, tmp_path):
    with pytest.raises(ValueError, match="no methods .'Nobody'"):
        run(scans, tmp_path, "--methods", "FLAIR threshold", "Nobody")


def test_absent_collections_are_left_out(studies, tmp_path, capsys):
    options = SimpleNamespace(data=tmp_path, only=None, full=False, size=None, gap=None)
    (tmp_path / "wmh").mkdir()
    with pytest.raises(ValueError, match="nothing to run"):
        diseases.chosen_studies(options)
    told = capsys.readouterr().err
    assert "tumours: left out" in told
    assert "wmh: left out, ['tumours'] to train on are not there" in told


# -- who is trained and tested on ---------------------------------------------------------


def test_each_patient_is_tested_once_by_detectors_of_the_others(scans):
    splits, _ = diseases.load(TUMOURS, scans)
    tested = [split.patients["test"] for split in splits]
    assert sorted(name for names in tested for name in names) == ["P0", "P1", "P2"]
    assert all(len(names) == 1 for names in tested)  # one is left out
    assert all(len(split.patients["training"]) == 2 for split in splits)


def test_other_folders_are_trained_on_and_thinned(scans):
    (split,), folder_of = diseases.load(AGEING, scans)
    assert folder_of == {"W0": "wmh", "H0": "healthy"}
    assert split.patients == {"training": ["P0", "P1", "P2"], "test": ["H0", "W0"]}
    assert split.test.sum() == 2 * SHAPE[2]
    assert split.train.sum() == 3 * SHAPE[2] // 2
    assert isinstance(split, Split)


def test_a_fixed_split_is_that_of_the_permutation(scans):
    study = dataclasses.replace(TUMOURS, fixed=(1, 1))
    (split,), _ = diseases.load(study, scans)
    dealt = np.random.RandomState(0).permutation(["P0", "P1", "P2"])
    assert split.patients == {"training": [dealt[1]], "test": [dealt[0]]}


def test_normal_ageing_is_no_lesion(scans):
    stack = load_scans([scans / "wmh"], ("FLAIR", "T1"), 24, 5.0)
    # The lesion is 4 by 4 voxels in 2 slices; the ageing as large, elsewhere.
    area = (stack.y == 1).sum() * np.prod(stack.voxel_sizes[0])
    assert area == pytest.approx(4 * 4 * 2 * np.prod(MM), rel=0.15)


def test_scans_without_masks_are_healthy(scans):
    stack = load_scans([scans / "healthy"], ("FLAIR", "T1"), 24, 5.0)
    assert set(np.unique(stack.y)) == {-1, 0}


# -- what is compared ---------------------------------------------------------------------


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: "+".join(study.test))
def test_studies_hold_together(study):
    assert set(study.prior) <= set(study.contrasts)
    # Slices that are smoothed through must be as far apart in training.
    assert not study.through or study.train_every == 1
    detectors = diseases.methods(study, "cpu", 4.0, 4.0, budget=True)
    for name, detector in detectors.items():
        told = name.split(", ")[1:]
        known = [each for each in told if each not in ("self-trained", "edge-aware")]
        least = "slice labels" if "self-trained" in told else "none"
        tier = known[0] if known else least
        expected = {
            "learned direction": "slice labels",
            "all contrasts": "known direction",
        }.get(tier, tier)
        expected = "known direction" if name.endswith("threshold") else expected
        assert supervision(detector) == expected
    assert {"Eraser", "DAE", "PCA", "ADM", "ADM+", "Pretrained"} <= set(detectors)


def test_all_scores_are_smoothed_alike():
    study = dataclasses.replace(STUDIES[0], sigma=6.0, through=8.0)
    for name, detector in diseases.methods(study, "cpu", 3.0, 4.0, budget=True).items():
        found = detector.get_params()
        smooths_itself = name.startswith(("Eraser", "Intensity", "Pretrained", "Small"))
        within = "detector__sigma" if smooths_itself else None
        step = "smooth" if name == "ADM+" else "postprocessing"
        assert found[within or f"{step}__sigma"] == 2.0
        assert found[f"{step}__sigma_through"] == 2.0
        if within:
            assert found["postprocessing__sigma"] == 0


def test_all_networks_have_the_same_budget():
    study = STUDIES[0]
    whole = diseases.methods(study, "cpu", 3.0, 4.0, budget=False)
    for name, detector in diseases.methods(study, "cpu", 3.0, 4.0, budget=True).items():
        found, before = detector.get_params(), whole[name].get_params()
        if epochs := before.get("detector__max_epochs"):
            assert found["detector__max_epochs"] == round(epochs / 2)
            assert found["detector__batch_size"] == study.batch_size
        assert found.get("detector__n_networks", 1) == 1


# -- parts --------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[0.2, 0.9, 0.4], [0.5, 0.5, 0.7, 0.1]])
def test_interval_is_that_of_scipy(values):
    mean, low, high = mean_with_interval(np.array(values))
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (mean, low, high) == pytest.approx((np.mean(values), *expected))


def test_one_patient_has_no_interval():
    mean, low, high = mean_with_interval(np.array([0.5]))
    assert mean == 0.5
    assert np.isnan(low)
    assert np.isnan(high)


@pytest.mark.parametrize(("n", "text"), [(3, "0.62 (0.50 to 0.75)"), (2, "0.625")])
def test_intervals_of_two_patients_are_not_shown(n, text):
    row = {"n_patients": n, "ap": 0.625, "ap_low": 0.5, "ap_high": 0.75}
    assert diseases.interval_text(row, "ap") == text


def test_slices_show_the_middle_of_the_brain():
    images, labels = np.zeros((1, 1, 9, 5)), np.zeros((1, 9, 5), np.int8)
    images[0, 0, 5:8, 1] = 1, 2, 3
    found, y = in_the_middle(images, labels, (5, 7), "P")
    assert found.shape == (1, 1, 5, 7)
    assert y.shape == (1, 5, 7)
    np.testing.assert_array_equal(found[0, 0, 1:4, 3], [1, 2, 3])
    assert found.sum() == 6
    with pytest.raises(ValueError, match="P: the brain has 3 pixels along axis 0"):
        in_the_middle(images, labels, (2, 7), "P")


def test_distances_must_agree(tmp_path):
    rng = np.random.default_rng(1)
    for name, z in (("A", 5.0), ("B", 9.0)):
        write(tmp_path / "scans", name, rng, mm=(10.0, 12.0, z))
    stack = load_scans([tmp_path / "scans"], ("FLAIR", "T1"), 24, 1.0)
    with pytest.raises(ValueError, match="slices are 5.0 to 9.0 mm apart"):
        slice_distance(stack)
    assert slice_distance(
        load_scans([tmp_path / "scans"], ("FLAIR",), 24, 9.0)
    ) == pytest.approx(28 / 3)
