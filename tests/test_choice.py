"""What the commands train where the options leave it open, and what they say of it."""

import argparse
import re

import nibabel as nib
import numpy as np
import pytest
from test_cli import QUICK, write_brats

import skadm
from skadm.cli import main
from skadm.cli._choice import settle, settle_size, settle_smoothing
from skadm.data import ArrayVolume, SliceStack, make_phantom, read_any
from skadm.presets import make_detector

OPEN = dict.fromkeys(("detector", "preset", "init", "prior", "prior_sign", "prior_rule"))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return write_brats(tmp_path_factory.mktemp("scans"), n_patients=2)


def settled(stack, **options):
    args = argparse.Namespace(**{**OPEN, "smooth_through": None, **options})
    chosen = dict(settle(args, stack))
    return args, chosen


def spaced(stack, *distances):
    """The stack with slices at these distances, in mm, for each volume."""
    return SliceStack.from_volumes(
        [
            ArrayVolume(
                *volume.read(),
                contrasts=volume.contrasts,
                patient=volume.patient,
                affine=np.diag([1, 1, distance, 1]),
            )
            for volume, distance in zip(stack.volumes, distances)
        ]
    )


def test_best_learns_from_marked_slices_and_smooths_thin_ones():
    stack = spaced(make_phantom(2, 6, 16, lesion_fraction=1.0, random_state=0), 1.0, 1.0)
    args, chosen = settled(stack, preset="best")
    assert (args.detector, args.preset) == ("EraserDetector", "self-trained")
    assert args.prior == ["learned"]
    assert args.smooth_through == 5
    assert list(chosen) == ["detector", "prior", "smoothing"]
    assert "1 mm apart" in chosen["smoothing"]


def renamed(contrasts, **parameters):
    """Two patients whose contrasts have these names."""
    simulated = ("T1", "T2", "FLAIR", "T1ce")[: len(contrasts)]
    stack = make_phantom(2, 6, 16, contrasts=simulated, random_state=0, **parameters)
    return SliceStack.from_volumes(
        [
            ArrayVolume(*volume.read(), contrasts=contrasts, patient=volume.patient)
            for volume in stack.volumes
        ]
    )


def test_best_on_dwi_and_adc_is_for_strokes():
    marked, normal = (
        renamed(("DWI", "ADC"), **kind)
        for kind in ({"lesion_fraction": 1}, {"lesions": None})
    )
    assert settled(normal, preset="best")[0].preset == "strokes"
    args, chosen = settled(marked, preset="best")
    assert args.preset == "strokes-self-trained"
    assert (args.prior, args.prior_rule) == (["DWI", "ADC=-1"], "all")
    assert "strokes" in chosen["prior"]
    args, _ = settled(marked, preset="best", prior=["DWI"])
    assert (args.preset, args.prior, args.prior_rule) == ("cpu", ["DWI"], None)


def test_best_without_weights_for_a_contrast_needs_none():
    args, _ = settled(renamed(("DWI", "ADC", "SWI"), lesions=None), preset="best")
    assert (args.preset, args.prior_rule) == ("cpu", "all")


def test_best_on_tumours_with_diffusion_is_that_of_tumours():
    stack = renamed(("T1ce", "FLAIR", "DWI", "ADC"), lesion_fraction=1.0)
    args, _ = settled(stack, preset="best")
    assert (args.preset, args.prior, args.prior_rule) == ("self-trained", ["learned"], None)


def test_best_learns_no_direction_on_diffusion():
    args, chosen = settled(renamed(("DWI", "T1"), lesion_fraction=1.0), preset="best")
    assert args.prior is None
    assert args.preset == "cpu"
    assert "strokes" in chosen["prior"]


def test_smoothing_is_in_millimetres():
    stack = spaced(make_phantom(2, 6, 16, random_state=0), 1.25, 1.25)
    assert settled(stack, preset="best")[0].smooth_through == 4


@pytest.mark.parametrize(
    ("preset", "given", "expected"),
    [("small-lesions", None, 240), ("cpu", None, 128), ("small-lesions", 64, 64)],
)
def test_small_lesions_need_fine_pixels(preset, given, expected):
    args = argparse.Namespace(preset=preset, size=given)
    settle_size(args)
    assert args.size == expected


@pytest.mark.parametrize("preset", ["small-lesions", "strokes"])
def test_small_lesions_are_smoothed_less(preset):
    stack = spaced(make_phantom(2, 6, 16, random_state=0), 0.5, 0.5)
    args = argparse.Namespace(preset=preset, smooth_through=None)
    settle_smoothing(args, stack)
    assert args.smooth_through == 2


def test_thick_slices_of_one_patient_are_enough_not_to_smooth():
    stack = spaced(make_phantom(2, 6, 16, random_state=0), 1.0, 5.0)
    args, chosen = settled(stack, preset="best")
    assert args.smooth_through is None
    assert "up to 5 mm" in chosen["smoothing"]


@pytest.mark.parametrize("labels", [True, False])
def test_without_an_abnormal_slice_nothing_is_learned_of_lesions(labels):
    stack = make_phantom(2, 6, 16, lesions=None, random_state=0)
    stack = stack if labels else stack.without_labels()
    args, chosen = settled(stack, preset="best")
    assert args.prior is None
    assert args.preset == "cpu"
    assert "the masks mark no slice" in chosen["prior"]


def test_explicit_options_override_the_choice():
    stack = make_phantom(2, 6, 16, lesion_fraction=1.0, random_state=0)
    args, _ = settled(stack, preset="best", prior=["FLAIR"], smooth_through=1.0)
    assert (args.prior, args.smooth_through) == (["FLAIR"], 1.0)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"detector": "PCADetector"}, "PCADetector"), ({"init": "synthetic"}, "--init")],
)
def test_best_beside_another_choice_is_refused(given, told):
    stack = make_phantom(2, 6, 16, random_state=0)
    with pytest.raises(ValueError, match=f"--preset best is .*{told}"):
        settled(stack, preset="best", **given)


def test_preset_of_one_detector_chooses_it():
    stack = make_phantom(1, 4, 16, random_state=0)
    args, chosen = settled(stack, preset="small-lesions")
    assert args.detector == "EraserDetector"
    assert "only one with preset small-lesions" in chosen["detector"]
    assert settled(stack, preset="quick")[0].detector == "ADMDetector"
    with pytest.raises(
        ValueError, match=r"'bset' \(did you mean best\?\); expected one of"
    ):
        settled(stack, preset="bset")
    with pytest.raises(ValueError, match="expected one of .*, or as detector EraserDet"):
        make_detector("PCADetector", "strokes")


def test_detector_that_is_named_needs_no_reason():
    args, chosen = settled(make_phantom(1, 4, 16, random_state=0), detector="PCADetector")
    assert args.detector == "PCADetector"
    assert not chosen


@pytest.mark.slow
def test_fit_prints_the_chosen_detector(scans, tmp_path, capsys):
    out = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(scans), "--out", str(out)]
    assert main([*arguments, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert re.search(
        r"^detector: +ADMDetector, .* since --detector is not given", printed, re.M
    )
    best = ["--preset", "best", "--epochs", "1", "--size", "16", "--force"]
    assert main([*arguments, *best]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^detector: +EraserDetector .*--preset best", printed, re.M)
    assert re.search(r"^prior: +learned", printed, re.M)
    assert re.search(r"^smoothing: +not through slices.* 3 mm", printed, re.M)
    # Sentences and tables, and no repr of an object.
    assert not re.search(r"<[A-Z]\w+| object at |np\.\w+\(|Path\(|\w+Detector\(", printed)
    detector = skadm.load(out)[-1]
    assert type(detector).__name__ == "EraserDetector"
    assert detector.prior == "learned"
    assert detector.self_training_epochs == 1


def test_run_of_bids_is_chosen(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for run in (1, 2):
        for contrast in ("T1w", "FLAIR"):
            name = f"sub-1_run-{run}_{contrast}.nii.gz"
            place = tmp_path / "scans" / "sub-1" / "anat" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.pad(rng.random((12, 12, 6), np.float32), ((4,), (4,), (0,)))
            nib.save(nib.Nifti1Image(voxels * run, np.eye(4)), place)
    out = tmp_path / "model.skadm"
    arguments = ["fit", "--data", str(tmp_path / "scans"), "--out", str(out), "--run", "2"]
    assert main([*arguments, "--detector", "IntensityDetector", "--size", "16"]) == 0
    assert "contrasts: T1, FLAIR" in capsys.readouterr().out
    assert read_any(tmp_path / "scans", run="2").X.max() > 1
