"""The command line, through main([...]): what it writes, prints and refuses."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import joblib
import nibabel as nib
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline

import skadm
from skadm import IntensityDetector, presets
from skadm._files import replace_atomically
from skadm.callbacks import ProgressLog
from skadm.cli import _model, _parser, main
from skadm.data import make_phantom, read_brats
from skadm.detectors import all_detectors, detector_names
from skadm.preprocessing import IntensityNormalizer

ROW_KEYS = [
    *("method", "supervision", "split", "seed", "auc", "ap"),
    *("precision", "recall", "f1", "dice"),
    *("threshold", "n_patients", "n_slices"),
]
QUICK = ["--preset", "quick", "--epochs", "1", "--size", "16", "--device", "cpu"]
METHODS = ["ADM", "FLAIR", "FLAIR, smoothed", "FLAIR + T2", "FLAIR + T2, smoothed"]
FIGURES = {"roc.png", "precision_recall.png", "montage.png"}
TABLES = {"metrics.json", "metrics.csv", "per_patient.csv"}


def write_brats(
    folder, n_patients=4, masks=True, contrasts=("T1", "T2", "FLAIR"), n_slices=8
):
    """Write a phantom as files, 24 x 20 pixels, with an affine that is not the identity."""
    stack = make_phantom(
        n_patients, n_slices, 24, contrasts=contrasts, lesion_fraction=1.0, random_state=0
    )
    for number, volume in enumerate(stack.volumes):
        images, labels = (array[..., 2:-2] for array in volume.read())
        affine = np.diag([-2.0, -2.0, 3.0, 1.0])
        affine[:3, 3] = 10 + number, 20, 30
        place = folder / volume.name
        place.mkdir(parents=True)
        files = dict(zip((name.lower() for name in contrasts), images.swapaxes(0, 1)))
        if masks:
            files["seg"] = (labels == 1).astype(np.float32) * 4
        for name, voxels in files.items():
            image = nib.Nifti1Image(voxels.T, affine)
            nib.save(image, place / f"{volume.name}_{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_brats(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def model(scans, tmp_path_factory):
    """A model of two of the four patients."""
    path = tmp_path_factory.mktemp("model") / "model.skadm"
    trained_on = ["--patients", "phantom-000", "phantom-001"]
    arguments = ["fit", "--data", str(scans), "--out", str(path), *QUICK, *trained_on]
    assert main(arguments) == 0
    return path


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    size = ["--n-patients", "4", "--slices", "8", "--seed", "1"]
    assert main(["demo", "--out", str(out), *QUICK, *size]) == 0
    return out


def rows_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def csv_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def error_of(capsys):
    """The one line on stderr that is the error."""
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(lines) == 1
    assert lines[0].startswith("skadm: error: ")
    return lines[0]


# -- fit ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_model_is_a_pipeline_that_scores_files(model, scans):
    pipeline = skadm.load(model)
    assert isinstance(pipeline, Pipeline)
    stack = read_brats(scans)
    maps = pipeline.score_samples(stack)
    assert maps.shape == (len(stack), 16, 16)
    assert set(np.unique(pipeline.predict(stack))) <= {-1, 1}


@pytest.mark.slow
def test_model_carries_its_record_and_no_callback(model):
    pipeline = skadm.load(model)
    training = pipeline.training_
    assert training["patients"] == ["phantom-000", "phantom-001"]
    assert (training["seed"], training["preset"]) == (0, "quick")
    assert list(training["baselines"]) == METHODS[1:]
    assert "best F1" in training["threshold"]
    for estimator in (pipeline, pipeline[-1], *training["baselines"].values()):
        assert not hasattr(estimator, "_skl_callbacks")


def test_thresholds_are_from_the_training_patients(model, scans):
    pipeline = skadm.load(model)
    stack = read_brats(scans, patients=["phantom-000", "phantom-001"])
    prepared = pipeline[:-1].transform(stack).in_memory()
    abnormal = (prepared.y == 1).any(axis=(1, 2))
    X, y = prepared[abnormal].load()
    for detector in (pipeline[-1], pipeline.training_["baselines"]["FLAIR + T2"]):
        truth, scores = y[y >= 0] == 1, detector.score_samples(X)[y >= 0]

        def f1(threshold, truth=truth, scores=scores):
            hits = (scores < threshold) & truth
            return 2 * hits.sum() / ((scores < threshold).sum() + truth.sum())

        best = max(f1(cut) for cut in np.unique(scores))
        assert f1(np.float32(detector.offset_)) >= best


def test_fit_prints_what_it_did(scans, tmp_path, capsys):
    out = tmp_path / "new" / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(out), "--contrasts", "FLAIR"]
    assert main([*arguments, "--detector", "IntensityDetector", "--size", "16"]) == 0
    printed = capsys.readouterr()
    assert "4 (phantom-000, phantom-001, phantom-002, phantom-003)" in printed.out
    assert str(out) in printed.out
    detector = skadm.load(out)[-1]
    assert detector.contrasts_ == ("FLAIR",)
    # The sign of the maps, as printed by score.
    assert f"threshold: {-detector.offset_:.6g} (pixels above it" in printed.out
    assert [file.name for file in out.parent.iterdir()] == ["model.skadm"]


@pytest.mark.slow
def test_progress_goes_to_stderr(scans, tmp_path, capsys):
    out = tmp_path / "model.skadm"
    assert main(["fit", "--data", str(scans), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr()
    assert "ADMDetector, translation: epoch 1 of 1, loss" in printed.err
    assert "ADMDetector, density: epoch 1 of 1, loss" in printed.err
    assert "epoch" not in printed.out


@pytest.mark.slow
def test_fit_goes_on_from_checkpoints(scans, tmp_path, capsys):
    out, runs = tmp_path / "model.skadm", tmp_path / "runs"
    arguments = ["fit", "--data", str(scans), "--out", str(out), *QUICK]
    assert main([*arguments, "--checkpoints", str(runs)]) == 0
    assert len(list(runs.iterdir())) == 2  # a file for each stage
    first = skadm.load(out)[-1]
    assert main([*arguments, "--checkpoints", str(runs), "--force"]) == 0
    again = skadm.load(out)[-1]
    # The seconds are those of the first training: nothing was trained again.
    assert again.history_ == first.history_
    capsys.readouterr()

    arguments[4] = str(tmp_path / "other.skadm")
    assert main([*arguments, "--checkpoints", str(out)]) == 1
    assert "--checkpoints must be a folder" in error_of(capsys)
    wrong = [*arguments[:5], "--detector", "PCADetector", "--checkpoints", str(runs)]
    assert main(wrong) == 1
    assert "omit --checkpoints" in error_of(capsys)


@pytest.mark.slow
def test_fit_without_masks(tmp_path, capsys):
    scans = write_brats(tmp_path / "scans", n_patients=1, masks=False)
    out = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(out), "--size", "16"]
    assert main([*arguments, "--detector", "IntensityDetector"]) == 0
    assert "flags 1% of the training pixels" in capsys.readouterr().out
    results = str(tmp_path / "results")
    arguments = ["evaluate", "--model", str(out), "--data", str(scans), "--out", results]
    assert main(arguments) == 1
    assert "has no masks" in error_of(capsys)


@pytest.mark.slow
@pytest.mark.parametrize(("member", "code"), [("card.json", 0), ("word/a.xml", 1)])
def test_fit_replaces_an_archive_if_it_was_a_model(member, code, scans, tmp_path):
    out = tmp_path / "model.skadm"
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(member, "{}")
    arguments = ["fit", "--data", str(scans), "--size", "16", "--out", str(out)]
    assert main([*arguments, "--detector", "IntensityDetector", "--force"]) == code
    assert zipfile.is_zipfile(out) == bool(code)


def test_fit_can_leave_masks_unread(scans, tmp_path, capsys):
    out = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(out), "--size", "16"]
    assert main([*arguments, "--no-masks", "--detector", "IntensityDetector"]) == 0
    assert "no anomalies were given" in capsys.readouterr().out


def test_card_says_what_was_trained_on(model, capsys):
    assert main(["card", "--model", str(model)]) == 0
    text = capsys.readouterr().out
    assert "contrasts: T1, T2, FLAIR\n" in text
    assert "patients: 2\n" in text
    assert main(["card", "--model", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == skadm.card(model)


def test_card_of_somebody_else_does_not_move_the_cursor(model, tmp_path, capsys):
    path = tmp_path / "evil.skadm"
    skadm.save(IntensityDetector(), path, metrics={"\x1b[2J": "\x1b]0;title\x07"})
    assert main(["card", "--model", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["card", "--model", str(path), "--json"]) == 0
    assert "\x1b" not in capsys.readouterr().out


# -- score -------------------------------------------------------------------------------


@pytest.mark.slow
def test_maps_lie_on_the_grid_of_the_source(model, scans, tmp_path, capsys):
    out = tmp_path / "maps"
    arguments = ["score", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert main([*arguments, "--binary", "--patients", "phantom-002", "phantom-003"]) == 0
    printed = capsys.readouterr().out
    patients = ("phantom-002", "phantom-003")
    expected = {f"{p}_{k}.nii.gz" for p in patients for k in ("anomaly", "segmentation")}
    assert {file.name for file in out.iterdir()} == expected
    assert all(name in printed for name in expected)
    threshold = -skadm.load(model)[-1].offset_
    assert f"threshold: {threshold:.6g}" in printed
    for patient in patients:
        source = nib.load(scans / patient / f"{patient}_flair.nii.gz")
        anomaly = nib.load(out / f"{patient}_anomaly.nii.gz")
        segmented = nib.load(out / f"{patient}_segmentation.nii.gz")
        for image in (anomaly, segmented):
            assert image.shape == source.shape == (20, 24, 8)
            np.testing.assert_array_equal(image.affine, source.affine)
        brain = source.get_fdata() != 0
        assert np.ptp(anomaly.get_fdata()[~brain]) == 0
        assert set(np.unique(segmented.get_fdata())) <= {0, 1}


@pytest.mark.slow
def test_anomaly_maps_are_high_where_the_lesion_is(scans, tmp_path):
    path = tmp_path / "model.skadm"
    detector = IntensityDetector(prior={"FLAIR": 1.0})
    stack = read_brats(scans)
    skadm.save(make_pipeline(IntensityNormalizer(), detector).fit(stack, stack.y), path)
    out = tmp_path / "maps"
    arguments = ["score", "--model", str(path), "--data", str(scans), "--out", str(out)]
    assert main(arguments) == 0
    place = scans / "phantom-000" / "phantom-000"
    brain = nib.load(f"{place}_flair.nii.gz").get_fdata() != 0
    lesion = nib.load(f"{place}_seg.nii.gz").get_fdata() > 0
    flair = nib.load(f"{place}_flair.nii.gz").get_fdata()[brain]
    anomaly = nib.load(out / "phantom-000_anomaly.nii.gz").get_fdata()[brain]
    assert np.corrcoef(flair, anomaly)[0, 1] == pytest.approx(1)
    assert roc_auc_score(lesion[brain], anomaly) > 0.5


def test_score_needs_no_masks(model, tmp_path):
    scans = write_brats(tmp_path / "scans", n_patients=1, masks=False)
    out = tmp_path / "maps"
    arguments = ["score", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert main(arguments) == 0
    assert [file.name for file in out.iterdir()] == ["phantom-000_anomaly.nii.gz"]


@pytest.mark.slow
def test_score_adds_to_a_folder_but_replaces_nothing(model, scans, tmp_path, capsys):
    out = tmp_path / "maps"
    arguments = ["score", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert main([*arguments, "--patients", "phantom-000"]) == 0
    assert main([*arguments, "--patients", "phantom-001"]) == 0
    capsys.readouterr()
    assert main(arguments) == 1
    assert "phantom-000_anomaly.nii.gz exists; pass --force" in error_of(capsys)
    assert len(list(out.iterdir())) == 2
    assert main([*arguments, "--force"]) == 0
    assert len(list(out.iterdir())) == 4


@pytest.mark.slow
def test_score_in_processes_writes_the_same(model, scans, tmp_path, capsys):
    arguments = ["score", "--model", str(model), "--data", str(scans), "--device", "cpu"]
    outs = [tmp_path / "one", tmp_path / "two"]
    for out, jobs in zip(outs, ("1", "2")):
        assert main([*arguments, "--out", str(out), "--jobs", jobs]) == 0
        assert "scoring phantom-003 (4 of 4)" in capsys.readouterr().err
    one, two = ({file.name: file.read_bytes() for file in out.iterdir()} for out in outs)
    assert len(one) == 4
    assert one == two


@pytest.mark.slow
def test_score_goes_on_after_a_failure_and_later_from_there(model, tmp_path, capsys):
    scans, out = write_brats(tmp_path / "scans", n_patients=3), tmp_path / "maps"
    damaged = scans / "phantom-001" / "phantom-001_flair.nii.gz"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-40])
    arguments = ["score", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert main(arguments) == 1
    message = error_of(capsys)
    assert "1 of 3 could not be scored: phantom-001: " in message
    assert damaged.name in message
    assert len(list(out.iterdir())) == 2
    damaged.write_bytes(whole)
    assert main([*arguments, "--skip-existing"]) == 0
    printed = capsys.readouterr()
    assert "left as they were: phantom-000, phantom-002" in printed.out
    assert "scoring phantom-001 (1 of 1)" in printed.err
    assert len(list(out.iterdir())) == 3


# -- evaluate ----------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_writes_rows_and_figures(model, scans, tmp_path, capsys):
    out = tmp_path / "results"
    arguments = ["evaluate", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert (
        main([*arguments, "--baselines", "--patients", "phantom-002", "phantom-003"]) == 0
    )
    printed = capsys.readouterr()
    assert "warning" not in printed.err
    assert {file.name for file in out.iterdir()} == FIGURES | TABLES
    rows = rows_of(out)
    assert all(list(row) == ROW_KEYS for row in rows)
    assert [row["method"] for row in rows] == METHODS
    assert {(row["split"], row["n_patients"]) for row in rows} == {("test", 2)}
    pipeline = skadm.load(model)
    stack = read_brats(scans, patients=["phantom-002", "phantom-003"])
    y = pipeline[:-1].transform(stack).y
    scores = pipeline.score_samples(stack)
    assert rows[0]["auc"] == pytest.approx(roc_auc_score(y[y >= 0], -scores[y >= 0]))
    assert rows[0]["threshold"] == pytest.approx(pipeline[-1].offset_)
    assert f"{rows[0]['auc']:.3f}" in printed.out
    assert "has the best AUC" in printed.out
    assert list(csv_of(out / "metrics.csv")[0]) == ROW_KEYS
    by_patient = csv_of(out / "per_patient.csv")
    assert set(by_patient[0]) == {
        *(*ROW_KEYS, "patient", "flagged_share", "expected_share"),
        "lesion_outside_brain_ml",
    }
    assert {row["patient"] for row in by_patient} == {"phantom-002", "phantom-003"}
    for name in FIGURES:
        assert (out / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_evaluate_warns_of_patients_that_were_trained_on(model, scans, tmp_path, capsys):
    out = str(tmp_path / "results")
    arguments = ["evaluate", "--model", str(model), "--data", str(scans), "--out", out]
    assert main([*arguments, "--no-figures"]) == 0
    warned = capsys.readouterr().err
    assert "skadm: warning: 2 of the patients evaluated are training patients" in warned
    assert "(phantom-000, phantom-001)" in warned
    assert {file.name for file in Path(out).iterdir()} == TABLES
    assert [row["method"] for row in rows_of(Path(out))] == ["ADM"]


@pytest.mark.slow
def test_evaluate_does_not_let_labels_move_the_threshold(model, scans, tmp_path):
    """Other masks on the same images: every metric may change, the threshold may not."""
    changed = tmp_path / "changed"
    write_brats(changed)
    for path in changed.glob("*/*_seg.nii.gz"):
        mask = nib.load(path)
        moved = np.roll(np.asarray(mask.dataobj), 5, axis=0)
        nib.save(nib.Nifti1Image(moved, mask.affine), path)
    found = []
    for name, data in (("a", scans), ("b", changed)):
        out = tmp_path / name
        arguments = ["evaluate", "--model", str(model), "--data", str(data)]
        arguments += ["--out", str(out), "--baselines", "--no-figures"]
        assert main([*arguments, "--patients", "phantom-003"]) == 0
        found.append(rows_of(out))
    for plain, other in zip(*found):
        assert plain["threshold"] == other["threshold"]
        assert plain["auc"] != other["auc"]


# -- demo --------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo_writes_everything(demo):
    files = {str(file.relative_to(demo)) for file in demo.rglob("*") if file.is_file()}
    split = json.loads((demo / "run.json").read_text())["split"]
    maps = {
        f"maps/{patient}_{kind}.nii.gz"
        for patient in split["test"]
        for kind in ("anomaly", "segmentation")
    }
    assert files == maps | FIGURES | TABLES | {"history.png", "model.skadm", "run.json"}


@pytest.mark.slow
def test_demo_rows(demo):
    rows = rows_of(demo)
    assert [(row["split"], row["method"]) for row in rows] == [
        (split, method) for split in ("validation", "test") for method in METHODS
    ]
    assert all(list(row) == ROW_KEYS and row["seed"] == 1 for row in rows)
    validation, test = rows[:5], rows[5:]
    assert [r["threshold"] for r in validation] == [r["threshold"] for r in test]
    # On validation the threshold is the best there is, on test it cannot be better.
    assert all(row["f1"] == pytest.approx(row["dice"]) for row in validation)
    assert all(row["f1"] <= row["dice"] + 1e-9 for row in test)


@pytest.mark.slow
def test_demo_record_is_enough_to_run_it_again(demo, tmp_path):
    record = json.loads((demo / "run.json").read_text())
    split = record["split"]
    assert not set(split["train"]) & set(split["test"])
    assert len(split["train"]) + len(split["test"]) == 4
    assert record["parameters"]["width"] == presets.PRESETS["ADMDetector"]["quick"]["width"]
    assert record["parameters"]["max_epochs"] == 1
    assert record["device"] == "cpu"
    assert set(record["versions"]) >= {"python", "skadm", "torch", "scikit-learn"}
    assert record["seconds"]["total"] > record["seconds"]["ADM"] > 0
    again = tmp_path / "again"
    arguments = record["command"][1:]
    arguments[arguments.index("--out") + 1] = str(again)
    assert main(arguments) == 0
    assert rows_of(again) == rows_of(demo)


@pytest.mark.slow
def test_demo_model_serves_score_and_evaluate(demo, scans, tmp_path):
    model = skadm.load(demo / "model.skadm")
    assert (
        model.training_["patients"]
        == json.loads((demo / "run.json").read_text())["split"]["train"]
    )
    assert list(model.training_["baselines"]) == METHODS[1:]
    assert not hasattr(model[-1], "_skl_callbacks")
    measured = [row for row in rows_of(demo) if row["method"] == METHODS[0]]
    assert skadm.card(demo / "model.skadm")["metrics"] == measured


@pytest.mark.slow
def test_demo_on_files_without_t2(scans, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [
        "demo",
        "--data",
        str(scans),
        "--out",
        str(out),
        *QUICK,
        "--n-patients",
        "3",
    ]
    options = ["--contrasts", "T1", "FLAIR", "--no-figures"]
    assert main([*arguments, *options, "--test-fraction", "1/3"]) == 0
    printed = capsys.readouterr().out
    assert "no T2" in next(
        line for line in printed.splitlines() if line.startswith("FLAIR + T2 ")
    )
    assert {row["method"] for row in rows_of(out)} == {"ADM", "FLAIR", "FLAIR, smoothed"}
    (test,) = json.loads((out / "run.json").read_text())["split"]["test"]
    source = nib.load(scans / test / f"{test}_flair.nii.gz")
    anomaly = nib.load(out / "maps" / f"{test}_anomaly.nii.gz")
    assert anomaly.shape == source.shape
    np.testing.assert_array_equal(anomaly.affine, source.affine)
    assert "not meaningful" in printed
    assert "On 1 test patient, " in printed


# -- refusals ----------------------------------------------------------------------------


def refused(arguments, capsys):
    assert main([str(argument) for argument in arguments]) == 1
    return error_of(capsys)


def quick(detector):
    """Options for a fast training, with epochs where there are some."""
    trained = "max_epochs" in dict(all_detectors())[detector]().get_params()
    return QUICK if trained else ["--preset", "quick", "--size", "16"]


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["known", "unknown"])
@pytest.mark.parametrize("detector", ["DAEDetector", "EraserDetector", "PCADetector"])
def test_prior_is_that_of_the_detector(detector, sign, scans, tmp_path):
    path = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(path), *quick(detector)]
    arguments += ["--prior", "FLAIR", "T2=-0.5", "--detector", detector]
    arguments += ["--prior-sign", sign] if sign == "unknown" else ["--prior-rule", "all"]
    assert main(arguments) == 0
    parameters = skadm.load(path)[-1].get_params()
    assert parameters["prior"] == {"FLAIR": 1.0, "T2": -0.5}
    assert parameters["prior_sign"] == sign
    assert parameters["prior_rule"] == ("all" if sign == "known" else "sum")


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["EraserDetector", "GaussianMixtureDetector"])
def test_axis_is_learned(detector, scans, tmp_path, capsys):
    path = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(path), *quick(detector)]
    assert main([*arguments, "--detector", detector, "--prior", "learned"]) == 0
    fitted = skadm.load(path)[-1]
    assert fitted.prior == "learned"
    assert np.abs(fitted.axis_).max() == pytest.approx(1)
    capsys.readouterr()
    assert main(["card", "--model", str(path)]) == 0
    assert "supervision: slice labels" in capsys.readouterr().out
    tested = ["evaluate", "--model", str(path), "--data", str(scans), "--no-figures"]
    assert main([*tested, "--baselines", "--out", str(tmp_path / "tables")]) == 0
    printed = capsys.readouterr().out
    assert "supervision" in printed
    rows = {row["method"]: row["supervision"] for row in rows_of(tmp_path / "tables")}
    assert rows.pop(detector.removesuffix("Detector")) == "slice labels"
    assert set(rows.values()) == {"known direction"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:self-training is unreliable")
def test_self_trained(scans, tmp_path, monkeypatch):
    small = {"width": 4, "n_networks": 1, "self_training_epochs": 1}
    erasers = presets.PRESETS["EraserDetector"]
    preset = erasers["self-trained"] | small
    monkeypatch.setitem(erasers, "self-trained", preset)
    path = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(path), "--size", "16"]
    arguments += ["--detector", "EraserDetector", "--preset", "self-trained"]
    assert main([*arguments, "--epochs", "2"]) == 0
    fitted = skadm.load(path)[-1]
    assert fitted.prior == "learned"
    stages = [record["stage"] for record in fitted.history_]
    assert stages == ["erasing 1"] * 2 + ["self-training 1"] * 2


@pytest.mark.slow
def test_smoothing_through_slices_and_ensembles(scans, tmp_path, capsys):
    path, runs = tmp_path / "model.skadm", tmp_path / "runs"
    arguments = ["fit", "--data", str(scans), "--out", str(path), *QUICK]
    arguments += ["--detector", "EraserDetector", "--prior", "learned"]
    arguments += ["--smooth-through", "1.5", "--ensemble", "2"]
    assert main([*arguments, "--checkpoints", str(runs)]) == 0
    assert len(list(runs.iterdir())) == 2  # a file for each member
    assert "EraserDetector, erasing 1" in capsys.readouterr().err
    ensemble = skadm.load(path)[-1]
    assert ensemble.n_detectors == 2
    for member in ensemble.detectors_:
        assert member.filters_[0].sigma_through == 1.5
        assert np.abs(member.detector_.axis_).max() == pytest.approx(1)

    out = tmp_path / "maps"
    scoring = ["score", "--model", str(path), "--data", str(scans), "--out", str(out)]
    assert main([*scoring, "--uncertainty", "--patients", "phantom-002"]) == 0
    stack = read_brats(scans, patients=["phantom-002"])
    written = nib.load(out / "phantom-002_uncertainty.nii.gz").get_fdata()
    prepared = skadm.load(path)[:-1].transform(stack)
    expected = ensemble.uncertainty(prepared)
    # Resampled to the scanner's grid, which can only lower the highest value.
    assert 0.5 * expected.max() < written.max() <= expected.max() * (1 + 1e-5)
    assert (out / "phantom-002_anomaly.nii.gz").exists()

    capsys.readouterr()
    tested = ["evaluate", "--model", str(path), "--data", str(scans), "--no-figures"]
    assert main([*tested, "--out", str(tmp_path / "tables")]) == 0
    assert "Eraser, filtered, ensemble of 2" in capsys.readouterr().out
    reported = ["report", "--model", str(path), "--data", str(scans)]
    reported += ["--out", str(tmp_path / "report"), "--patients", "phantom-002"]
    assert main(reported) == 0
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    for told in ("EnsembleDetector", "GaussianSmoother", "EraserDetector", "SHA-256"):
        assert told in page


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--detector", "IntensityDetector", "--ensemble", "2"], "has no random_state"),
        (["--ensemble", "1"], "1 is too few for an ensemble"),
        (["--smooth-through", "0"], "not a number above 0"),
        (["--smooth-through", "nan"], "not a number above 0"),
        (["--smooth-through", "far"], "not a number above 0"),
        (["--smooth-through", "1e7"], "up to 100"),
        (
            ["--detector", "EraserDetector", "--prior", "learned", "T2"],
            "cannot be combined",
        ),
        (["--detector", "PCADetector", "--prior", "T2", "T2=2"], "T2 is given twice"),
        (["--detector", "PCADetector", "--prior-sign", "unknown"], "unknown needs --prior"),
        (["--detector", "PCADetector", "--prior-rule", "all"], "--prior-rule all needs"),
    ],
)
def test_wrappers_that_cannot_be_are_refused(options, told, scans, tmp_path, capsys):
    arguments = ["fit", "--data", str(scans), "--out", str(tmp_path / "model.skadm")]
    code = 1
    with suppress(SystemExit):  # argparse
        code = main([*arguments, *options])
    assert code == 1
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_uncertainty_of_one_detector_is_refused(model, scans, tmp_path, capsys):
    out = tmp_path / "maps"
    scoring = ["score", "--model", str(model), "--data", str(scans), "--out", str(out)]
    assert "expected an EnsembleDetector" in refused([*scoring, "--uncertainty"], capsys)
    assert not out.exists()


@pytest.fixture
def no_work(monkeypatch):
    """Fail if anything is read or trained."""

    def fail(*_, **__):
        raise AssertionError("work was begun before the checks were over")

    monkeypatch.setattr("skadm.data.SliceStack.in_memory", fail)
    monkeypatch.setattr("skadm.base.BaseDetector.fit", fail)
    monkeypatch.setattr("skadm.base.BaseDetector.score_samples", fail)


# Words after `skadm`, and what the error says. OUT does not exist, FOLDER is empty, STRANGE
# is a folder without scans.
REFUSALS = [
    ("fit --data SCANS --out MODEL", "exists; pass --force to overwrite it"),
    ("fit --data SCANS --out FOLDER", "is a folder; --out must name a file"),
    ("demo --data SCANS --out STRANGE", "is not empty; pass --force"),
    ("evaluate --data SCANS --model MODEL --out STRANGE", "is not empty; pass --force"),
    *(
        (f"{command} --data SCANS --out MODEL", "is not a folder; --out must be a folder")
        for command in ("demo", "evaluate --model MODEL", "score --model MODEL")
    ),
    ("demo --data SCANS --out MODEL/out", "is not writable"),
    *(
        (f"{command} --data nowhere --out OUT", "nowhere: no such file or folder")
        for command in ("demo", "fit")
    ),
    ("fit --data STRANGE --out OUT", "no patient found"),
    ("fit --data STRANGE --out OUT", "ISLES"),  # all in one line
    ("demo --data SCANS --out OUT --contrasts PD", "PD"),
    ("fit --data SCANS --out OUT --contrasts PD", "PD"),
    ("demo --out OUT --contrasts PD", "contrasts is ('PD',)"),
    *(
        (
            f"{command} --data SCANS --out OUT --device toaster",
            "device='toaster' is not available",
        )
        for command in ("demo", "fit", "evaluate --model MODEL", "score --model MODEL")
    ),
    (
        "fit --data SCANS --out OUT --detector Oracle",
        "no detector 'Oracle'; expected one of ['ADM+', 'ADMDetector'",
    ),
    (
        "fit --data SCANS --out OUT --preset huge",
        "there is no preset 'huge'; expected one of best, cpu",
    ),
    ("fit --data SCANS --out OUT --patients nobody", "patients ['nobody'] do not exist"),
    (
        "fit --data SCANS --out OUT --epochs 3 --detector IntensityDetector",
        "IntensityDetector is not trained in epochs",
    ),
    (
        "fit --data SCANS --out SCAN --force",
        "is not a model; --force overwrites only models",
    ),
    *(
        (f"{command} --data SCANS --force --out ", "--out is empty; expected a path")
        for command in ("demo", "fit", "report --model MODEL", "score --model MODEL")
    ),
    *(
        (f"{command} --data SCANS --out OUT {words}", told)
        for command in ("demo", "fit")
        for words, told in (
            ("--prior PD", "ADMDetector does not support a prior"),
            ("--prior PD", "omit --prior, or choose DAEDetector, EraserDetector, "),
            (
                "--detector EraserDetector --prior PD",
                "--prior names PD; expected some of ",
            ),
            (
                "--detector EraserDetector --prior T2=x",
                "--prior T2=x: expected a contrast, optionally with a weight",
            ),
        )
    ),
    *(
        (f"{command} --data SCANS --out OUT --model {model}", told)
        for command in ("evaluate", "score")
        for model, told in (
            ("PICKLE", "Pickles (.joblib, .pkl) are not loaded"),
            ("no.skadm", "no.skadm: no such model; train one with 'skadm fit'"),
        )
    ),
    (
        "demo --out OUT --size 16 --slices 4 --n-patients 1",
        "holds one patient; expected at least two",
    ),
    ("demo --out OUT --patients phantom-001", "pass --n-patients for the number"),
    ("demo --data SCANS --out OUT --slices 5", "--slices is only for the phantom"),
]


@pytest.mark.usefixtures("no_work")
class TestRefusals:
    """All of them before any work."""

    @pytest.mark.parametrize(("words", "told"), REFUSALS)
    def test_refusal(self, words, told, model, scans, tmp_path, capsys):
        (tmp_path / "folder").mkdir()
        (tmp_path / "strange" / "scans").mkdir(parents=True)
        joblib.dump(IntensityDetector(), tmp_path / "old.joblib")
        places = {
            "SCANS": scans,
            "SCAN": next(scans.rglob("*_t1.nii.gz")),
            "MODEL": model,
            "OUT": tmp_path / "out",
            "FOLDER": tmp_path / "folder",
            "STRANGE": tmp_path / "strange",
            "PICKLE": tmp_path / "old.joblib",
        }
        kept = [places["SCAN"], model]
        before = [file.read_bytes() for file in kept]
        arguments = [str(places.get(word, word)) for word in words.split(" ")]
        arguments = [word.replace("MODEL/", f"{model}/") for word in arguments]
        assert told in refused(arguments, capsys)
        assert not places["OUT"].exists()
        assert [file.read_bytes() for file in kept] == before

    def test_contrast_of_the_model_missing(self, model, tmp_path, capsys):
        scans = write_brats(tmp_path / "scans", 1, contrasts=("T1", "FLAIR"))
        arguments = ["score", "--model", model, "--data", scans, "--out", tmp_path / "maps"]
        assert "no patient has contrast T2" in refused(arguments, capsys)

    @pytest.mark.parametrize("command", ["demo", "evaluate"])
    def test_no_matplotlib(self, command, model, scans, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        arguments = [command, "--data", scans, "--out", tmp_path / "out"]
        arguments += [] if command == "demo" else ["--model", model]
        message = refused(arguments, capsys)
        assert "pip install skadm[plot], or pass --no-figures" in message

    def test_not_a_model(self, scans, tmp_path, capsys):
        path = tmp_path / "model.skadm"
        arguments = ["score", "--model", path, "--data", scans, "--out", tmp_path / "maps"]
        path.write_bytes(b"not a pickle")
        assert "cannot be read as a model" in refused(arguments, capsys)
        skadm.save(IntensityDetector(), path, force=True)
        message = refused(arguments, capsys)
        assert "holds IntensityDetector; expected a Pipeline" in message
        unfitted = make_pipeline(IntensityNormalizer(), IntensityDetector())
        skadm.save(unfitted, path, force=True)
        assert "holds an unfitted detector" in refused(arguments, capsys)

    @pytest.mark.slow
    def test_demo_needs_masks(self, tmp_path, capsys):
        scans = write_brats(tmp_path / "scans", n_patients=2, masks=False)
        arguments = ["demo", "--data", scans, "--out", tmp_path / "out"]
        assert "has no masks" in refused(arguments, capsys)


def test_baselines_need_a_model_that_has_them(scans, tmp_path, capsys):
    path, stack = tmp_path / "model.skadm", read_brats(scans)
    model = make_pipeline(IntensityNormalizer(), IntensityDetector()).fit(stack, stack.y)
    skadm.save(model, path)
    arguments = ["evaluate", "--model", path, "--data", scans, "--out", tmp_path / "out"]
    assert main([str(a) for a in [*arguments, "--baselines"]]) == 1
    printed = capsys.readouterr().err
    assert "has no baselines with thresholds from the training patients" in printed
    assert "skadm: warning:" in printed
    assert "does not list its training patients" in printed


@pytest.mark.slow
def test_evaluate_needs_an_anomaly(model, tmp_path, capsys):
    scans = write_brats(tmp_path / "scans", 1)
    (mask,) = scans.glob("*/*_seg.nii.gz")
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), mask)
    arguments = ["evaluate", "--model", model, "--data", scans, "--out", tmp_path / "out"]
    assert "the mask is empty" in refused(arguments, capsys)
    message = refused(
        [*arguments, "--patients", "phantom-000", "--allow-empty-masks"], capsys
    )
    assert "expected anomalies to evaluate" in message


def test_debug_shows_where(tmp_path, capsys):
    arguments = ["fit", "--data", str(tmp_path / "no"), "--out", str(tmp_path / "m")]
    assert main(arguments) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main([*arguments, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


# -- usage -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["paint"],
        ["fit", "--data", "x"],
        ["score", "--data", "x", "--out", "y"],
        ["demo", "--epochs", "0"],
        ["demo", "--epochs", "many"],
        ["demo", "--seed", "-1"],
        ["demo", "--test-fraction", "3/2"],
        ["demo", "--test-fraction", "third"],
        ["fit", "--data", "x", "--out", "y", "--flavour", "mint"],
    ],
)
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: skadm" in capsys.readouterr().err


def commands():
    """Names of all commands."""
    groups = (action.choices for action in _parser()._actions)
    return sorted(next(group for group in groups if isinstance(group, dict)))


@pytest.mark.parametrize("command", ["", *commands()])
def test_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert f"usage: skadm {command}".strip() in printed
    assert "examples:" in printed
    assert f"skadm {command or 'demo'}" in printed.split("examples:")[1]


@pytest.mark.parametrize("command", ["demo", "fit"])
def test_help_names_every_preset(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = "".join(capsys.readouterr().out.split())  # it breaks lines at hyphens
    assert all(preset in printed for preset in presets.PRESETS["ADMDetector"])


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"skadm {skadm.__version__}\n"


WRONG_NAMES = {
    "data": ["fit", "--data", "missing", "--out", "new.skadm"],
    "model": ["score", "--data", ".", "--out", "new", "--model", "missing.skadm"],
    "detector": ["fit", "--data", ".", "--out", "new.skadm", "--detector", "Oracle"],
}


@pytest.mark.parametrize("option", WRONG_NAMES)
def test_wrong_names_are_refused_before_heavy_imports(option, tmp_path):
    code = (
        "import sys\nfrom skadm.cli import main\n"
        f"assert main({WRONG_NAMES[option]}) == 1\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'nibabel'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "no such" in done.stderr or "no detector" in done.stderr


def test_names_of_detectors_are_those_of_the_presets():
    assert [_model._ADM_PLUS, *detector_names()] == sorted(presets.classes_by_name())


@pytest.mark.slow
def test_python_m_skadm():
    done = subprocess.run(
        [sys.executable, "-m", "skadm", "--version"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.startswith("skadm ")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGPIPE")
@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.slow
def test_reader_that_has_gone_is_no_error(buffered, model):
    """As of 'skadm card | head -1'."""
    arguments = ["fit", "--help"] if buffered else ["card", "--model", str(model)]
    reader, writer = os.pipe()
    os.close(reader)
    flags = [] if buffered else ["-u"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, *flags, "-m", "skadm", *arguments],
        stdout=writer, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


# -- the callback ------------------------------------------------------------------------


@pytest.mark.slow
def test_progress_log_is_a_callback_that_reaches_into_a_pipeline(capsys):
    from skadm import ADMDetector

    stack = make_phantom(1, 4, 16, lesions=None, random_state=0)
    detector = ADMDetector(width=2, n_blocks=1, max_epochs=5, device="cpu", random_state=0)
    pipeline = make_pipeline(IntensityNormalizer(), detector)
    pipeline.set_callbacks(ProgressLog(interval=1e9, stream=sys.stdout)).fit(stack)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4  # first and last epoch of two stages
    assert lines[0].startswith("ADMDetector, translation: epoch 1 of 5, loss ")
    assert lines[0].endswith(" left")
    losses = [record["loss"] for record in detector.history_]
    assert lines[1].startswith(
        f"ADMDetector, translation: epoch 5 of 5, loss {losses[4]:.4g}, "
    )
    pipeline.set_callbacks(ProgressLog(interval=0, stream=sys.stdout)).fit(stack)
    assert len(capsys.readouterr().out.splitlines()) == 10


@pytest.mark.slow
def test_bars_on_a_terminal(scans, tmp_path, capsys, monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    out = tmp_path / "model.skadm"
    assert main(["fit", "--data", str(scans), "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr()
    assert "ADMDetector - fit" in printed.err
    assert "ADMDetector - fit" not in printed.out
    assert not hasattr(skadm.load(out)[-1], "_skl_callbacks")


def test_unwritable_results_leave_no_temporary_file(tmp_path):
    def fail(place):
        assert place.suffix == ".png"
        place.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match=r"a\.png cannot be written: disk full$"):
        replace_atomically(tmp_path / "a.png", fail)
    assert not list(tmp_path.iterdir())


def test_a_forced_demo_leaves_no_map_of_the_one_before(tmp_path):
    from skadm.cli._results import remove_previous

    (tmp_path / "maps").mkdir()
    old = [tmp_path / "maps" / "p_anomaly.nii.gz", tmp_path / "roc.png"]
    own = [tmp_path / "maps" / "mine.nii.gz", tmp_path / "notes.txt"]
    for file in old + own:
        file.touch()
    remove_previous(tmp_path)
    assert not any(file.exists() for file in old)
    assert all(file.exists() for file in own)


def test_epochs_hold_for_every_stage():
    import argparse

    from skadm.cli._model import make_detector

    options = {"detector": "DSVDDDetector", "preset": "paper", "epochs": 3}
    names = ("prior", "prior_sign", "prior_rule", "smooth_through", "ensemble", "init")
    options |= dict.fromkeys(names)
    args = argparse.Namespace(**options, seed=0, device="cpu")
    detector = make_detector(args, ("FLAIR",))
    assert (detector.max_epochs, detector.pretraining_epochs) == (3, 3)
