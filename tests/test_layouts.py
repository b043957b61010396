"""Layouts of public collections: which file is which, of which patient and session."""

# Rows of the table below are easier to read in parts.
# ruff: noqa: RUF005

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from skadm.data import find_studies, read_any
from skadm.data._file_kinds import kind_of
from skadm.data._patients import common_stems

SHAPE = (6, 5, 3)
PAIR = ("A1", "A2")
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def make(root, *names):
    """Write files: a mask where the name speaks of one, an image otherwise."""
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = np.random.default_rng(seed).uniform(50, 150, SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(data, AFFINE), path)
    return root


def found(root, **options):
    """What is read, by the names of the files."""
    return {
        study.name: (
            study.patient,
            {contrast: path.name for contrast, path in study.images.items()},
            study.mask and study.mask.name,
            study.brain and study.brain.name,
        )
        for study in find_studies(root, **options)
    }


BRATS_2023 = ["t1n", "t1c", "t2w", "t2f"]
T = "sub-r001s001_ses-1_space-MNI152NLin2009aSym"
# Files of one study, and what they are: patient, name, contrasts, mask, mask of the brain.
COLLECTIONS = {
    "BraTS 2013": (
        [
            "HG/0001/VSD.Brain.XX.O.MR_Flair/VSD.Brain.XX.O.MR_Flair.684.nii",
            "HG/0001/VSD.Brain.XX.O.MR_T1c/VSD.Brain.XX.O.MR_T1c.686.nii",
            "HG/0001/VSD.Brain_3more.XX.XX.OT/VSD.Brain_3more.XX.XX.OT.6560.nii",
        ],
        ("0001", "0001", {"FLAIR", "T1ce"}, "VSD.Brain_3more.XX.XX.OT.6560.nii", None),
    ),
    "BraTS 2018": (
        [f"HGG/Brats18_CBICA_AAB_1/Brats18_CBICA_AAB_1_{k}.nii.gz" for k in ("t1", "seg")],
        ("Brats18_CBICA_AAB_1",) * 2 + ({"T1"}, "Brats18_CBICA_AAB_1_seg.nii.gz", None),
    ),
    "BraTS 2020, one odd name": (
        ["BraTS20_Training_355/BraTS20_Training_355_flair.nii"]
        + ["BraTS20_Training_355/W39_1998.09.19_Segm.nii"],
        ("BraTS20_Training_355",) * 2 + ({"FLAIR"}, "W39_1998.09.19_Segm.nii", None),
    ),
    "BraTS 2023": (
        [f"BraTS-GLI-00005-001/BraTS-GLI-00005-001-{k}.nii.gz" for k in BRATS_2023],
        (
            "BraTS-GLI-00005",
            "BraTS-GLI-00005-001",
            {"T1", "T1ce", "T2", "FLAIR"},
            None,
            None,
        ),
    ),
    "BraTS 2024, radiotherapy": (
        [f"BraTS-MEN-RT-0000-1/BraTS-MEN-RT-0000-1_{k}.nii.gz" for k in ("t1c", "gtv")],
        ("BraTS-MEN-RT-0000", "BraTS-MEN-RT-0000-1", {"T1ce"})
        + ("BraTS-MEN-RT-0000-1_gtv.nii.gz", None),
    ),
    "ISLES 2015": (
        [
            f"1/VSD.Brain.XX.O.{k}.70613/VSD.Brain.XX.O.{k}.70613.nii"
            for k in ("MR_DWI", "MR_T1", "MR_Flair", "OT")
        ],
        ("1", "1", {"DWI", "T1", "FLAIR"}, "VSD.Brain.XX.O.OT.70613.nii", None),
    ),
    "ISLES 2022": (
        [
            "sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_dwi.nii.gz",
            "sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_adc.nii.gz",
            "sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz",
            "derivatives/sub-strokecase0001/ses-0001/"
            "sub-strokecase0001_ses-0001_msk.nii.gz",
        ],
        ("sub-strokecase0001", "sub-strokecase0001_ses-0001", {"DWI", "ADC", "FLAIR"})
        + ("sub-strokecase0001_ses-0001_msk.nii.gz", None),
    ),
    "ISLES 2022, flat": (
        [f"case1/sub-case1_ses-0001_{k}.nii.gz" for k in ("dwi", "adc", "flair", "msk")],
        ("sub-case1", "sub-case1_ses-0001", {"DWI", "ADC", "FLAIR"})
        + ("sub-case1_ses-0001_msk.nii.gz", None),
    ),
    "ATLAS 2": (
        [
            f"Training/R001/sub-r001s001/ses-1/anat/{T}_T1w.nii.gz",
            f"Training/R001/sub-r001s001/ses-1/anat/{T}_label-L_desc-T1lesion_mask.nii.gz",
        ],
        ("sub-r001s001", "sub-r001s001_ses-1", {"T1"})
        + (f"{T}_label-L_desc-T1lesion_mask.nii.gz", None),
    ),
    "MSLesSeg": (
        [f"train/P1/T2/P1_T2_{k}.nii.gz" for k in ("FLAIR", "T1", "T2", "MASK")],
        ("P1", "P1_T2", {"FLAIR", "T1", "T2"}, "P1_T2_MASK.nii.gz", None),
    ),
    "UCSF-PDGM": (
        [
            f"UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_{k}.nii.gz"
            for k in ("T1", "T1_bias", "T1gad", "T2", "FLAIR", "ADC", "brain_segmentation")
        ]
        + [
            f"UCSF-PDGM-0429_FU003d_nifti/UCSF-PDGM-0429_FU003d_{k}.nii.gz"
            for k in ("brain_parenchyma_segmentation", "tumor_segmentation", "DTI_eddy_FA")
        ],
        ("UCSF-PDGM-0429", "UCSF-PDGM-0429_FU003d", {"T1", "T1ce", "T2", "FLAIR", "ADC"})
        + ("UCSF-PDGM-0429_FU003d_tumor_segmentation.nii.gz",)
        + ("UCSF-PDGM-0429_FU003d_brain_segmentation.nii.gz",),
    ),
    "UPENN-GBM": (
        [
            "images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1.nii.gz",
            "images_structural/UPENN-GBM-00001_11/UPENN-GBM-00001_11_T1GD.nii.gz",
            "images_segm/UPENN-GBM-00001_11_segm.nii.gz",
        ],
        ("UPENN-GBM-00001", "UPENN-GBM-00001_11", {"T1", "T1ce"})
        + ("UPENN-GBM-00001_11_segm.nii.gz", None),
    ),
    "MSSEG": (
        [
            "Center_01/Patient_01/Preprocessed_Data/FLAIR_preprocessed.nii.gz",
            "Center_01/Patient_01/Preprocessed_Data/GADO_preprocessed.nii.gz",
            "Center_01/Patient_01/Preprocessed_Data/DP_preprocessed.nii.gz",
            "Center_01/Patient_01/Raw_Data/FLAIR.nii.gz",
            "Center_01/Patient_01/Masks/Consensus.nii.gz",
            "Center_01/Patient_01/Masks/ManualSegmentation_1.nii.gz",
            "Center_01/Patient_01/Masks/ManualSegmentation_2.nii.gz",
            "Center_01/Patient_01/Masks/Brain_Mask.nii.gz",
        ],
        ("Patient_01",) * 2
        + ({"FLAIR", "T1ce", "PD"}, "Consensus.nii.gz", "Brain_Mask.nii.gz"),
    ),
    "WMH": (
        [
            f"Utrecht/0/{k}.nii.gz"
            for k in ("pre/FLAIR", "pre/T1", "orig/FLAIR", "orig/3DT1", "wmh")
        ],
        ("0", "0", {"FLAIR", "T1"}, "wmh.nii.gz", None),
    ),
    "WMH, with healthy ageing": (
        [
            f"104252/104252_{k}.nii.gz"
            for k in ("FLAIR", "T1_to_FLAIR", "abWMH_manual", "nWMH_manual")
        ]
        + ["104252/104252_FLAIR_brain_mask.nii.gz"],
        ("104252",) * 2
        + ({"FLAIR", "T1"}, "104252_abWMH_manual.nii.gz")
        + ("104252_FLAIR_brain_mask.nii.gz",),
    ),
    "open_ms": (
        [
            "patient26/FLAIR_N4_noneck_regtoFLAIR_brain_N4_regtoMNI.nii.gz",
            "patient26/T1POST_N4_noneck_regtoFLAIR_brain_N4_regtoMNI.nii.gz",
            "patient26/GOLD_STANDARD_N4_noneck_regtoFLAIR_regtoMNI.nii.gz",
        ],
        ("patient26",) * 2
        + ({"FLAIR", "T1ce"}, "GOLD_STANDARD_N4_noneck_regtoFLAIR_regtoMNI.nii.gz", None),
    ),
    "fMRIPrep": (
        [
            "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
            "sub-01/anat/sub-01_desc-brain_mask.nii.gz",
            "sub-01/anat/sub-01_dseg.nii.gz",
            "sub-01/anat/sub-01_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz",
            "sub-01/anat/sub-01_space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
        ],
        ("sub-01", "sub-01", {"T1"}, None, "sub-01_desc-brain_mask.nii.gz"),
    ),
    "flat folder": (
        ["P01_flair.nii.gz", "P01_t1.nii.gz", "P01_seg.nii.gz"]
        + ["P02_flair.nii.gz", "P02_t1.nii.gz", "P02_seg.nii.gz"],
        ("P01", "P01", {"FLAIR", "T1"}, "P01_seg.nii.gz", None),
    ),
    "images and labels": (
        ["images/P01_flair.nii.gz", "images/P02_flair.nii.gz"]
        + ["labels/P01_flair_mask.nii.gz", "labels/P02_flair_mask.nii.gz"],
        ("P01", "P01", {"FLAIR"}, "P01_flair_mask.nii.gz", None),
    ),
    "upper case": (
        ["P1/P1_FLAIR.NII.GZ", "P1/P1_SEG.NII.GZ"],
        ("P1", "P1", {"FLAIR"}, "P1_SEG.NII.GZ", None),
    ),
}


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_layouts_of_public_collections(collection, tmp_path):
    names, (patient, name, contrasts, mask, brain) = COLLECTIONS[collection]
    study = found(make(tmp_path / "data", *names))[name]
    assert (study[0], {*study[1]}, *study[2:]) == (patient, contrasts, mask, brain)


MASK_NAMES = [
    *("seg", "Segm", "tumor_segmentation", "consensus_gt", "MASK", "msk", "lesion", "roi"),
    *("label", "wmh", "ground_truth", "mask1", "manualmask", "stroke_lesion"),
]


@pytest.mark.parametrize("ending", MASK_NAMES)
def test_masks_by_any_name_are_masks(ending, tmp_path):
    make(tmp_path, "P1/P1_flair.nii.gz", f"P1/P1_{ending}.nii.gz")
    ((_, images, mask, _),) = found(tmp_path).values()
    assert (set(images), mask) == ({"FLAIR"}, f"P1_{ending}.nii.gz")


@pytest.mark.parametrize(
    "name",
    [
        "label-lesion_roi",
        "label-lesion_dseg",
        "desc-lesion_mask",
        "label-lesion_mask",
        "label-lesion_desc-manual_mask",
    ],
)
def test_masks_of_bids(name, tmp_path):
    make(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", f"sub-1/anat/sub-1_{name}.nii.gz")
    assert found(tmp_path)["sub-1"][2] == f"sub-1_{name}.nii.gz"


def test_a_possible_mask_stops_a_training(tmp_path):
    make(tmp_path, "P1/P1_flair.nii.gz")
    labels = np.zeros((60, 50, 30), np.uint8)
    labels[10:20, 10:20, 10:20] = 1
    nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / "P1" / "P1_nWMH_mask.nii.gz")
    with pytest.raises(ValueError, match="P1_nWMH_mask.*is named as a mask.*--no-masks"):
        read_any(tmp_path)
    (tmp_path / "P1" / "P1_nWMH_mask.nii.gz").rename(tmp_path / "P1" / "P1_x.nii.gz")
    with pytest.raises(ValueError, match=r"P1_x.*holds a few whole numbers"):
        read_any(tmp_path)
    with pytest.warns(UserWarning, match=r"1 image file is not read.*P1_x"):
        assert read_any(tmp_path, labels=False).y is None
    # A parameter map is named, and stops nobody.
    (tmp_path / "P1" / "P1_x.nii.gz").unlink()
    make(tmp_path, "P1/P1_FA.nii.gz")
    with pytest.warns(UserWarning, match=r"1 image file is not read.*P1_FA"):
        assert read_any(tmp_path).record.unread == (tmp_path / "P1" / "P1_FA.nii.gz",)


SAME_PATIENT = [
    ("UPENN-GBM-00001_11", "UPENN-GBM-00001_21"),
    ("UCSF-PDGM-0429_nifti", "UCSF-PDGM-0429_FU003d_nifti"),
    ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001"),
    ("P14_T1", "P14_T2"),
    ("Patient-001/2011-01-03", "Patient-001/2012-05-09"),
    ("Patient-001/20110103", "Patient-001/20120509"),
    ("P1/ses-01", "P1/ses-02"),
    ("P1/baseline", "P1/followup"),
    ("P1_baseline", "P1_followup2"),
    ("baseline/P1", "followup/P1"),
    ("P1_visit1", "P1_visit2"),
    ("P1/study1", "P1/study2"),
]


@pytest.mark.parametrize("folders", SAME_PATIENT, ids=lambda pair: pair[0])
def test_sessions_of_one_patient_share_their_group(folders, tmp_path):
    make(tmp_path, *(f"{folder}/x_flair.nii.gz" for folder in (*folders, "P9_t1/"[:2])))
    stack = read_any(tmp_path)
    assert len(set(stack.volume_ids)) == 3
    assert len(set(stack.groups)) == 2


def test_sessions_in_one_folder(tmp_path):
    make(
        tmp_path,
        *(f"patient01/study{i}_{k}.nii.gz" for i in (1, 2) for k in ("FLAIR", "T1W")),
    )
    studies = find_studies(tmp_path)
    assert [study.name for study in studies] == ["patient01_study1", "patient01_study2"]
    assert {study.patient for study in studies} == {"patient01"}
    assert len(find_studies(tmp_path, sessions=["study2"])) == 1


def test_patients_by_a_pattern(tmp_path):
    make(tmp_path, *(f"A{i:02d}x{k}/s_flair.nii.gz" for i in range(3) for k in "ab"))
    stack = read_any(tmp_path, patient_pattern=r"(A\d\d)x")
    assert sorted(set(stack.groups)) == ["A00", "A01", "A02"]
    assert len(set(stack.volume_ids)) == 6
    with pytest.raises(ValueError, match="patient_pattern .* does not match"):
        read_any(tmp_path, patient_pattern=r"(B\d\d)x")


def test_names_that_share_a_stem_are_noticed(tmp_path):
    make(tmp_path, *(f"{name}/x_flair.nii.gz" for name in ("A01_1", "A01_2", "A02_1")))
    with pytest.warns(UserWarning, match=r"A01 \(A01_1, A01_2\).*--patient-pattern"):
        read_any(tmp_path)
    # Numbers of patients of one collection are no stem.
    assert not common_stems(f"BraTS2021_{i:05d}" for i in range(1476, 1482))
    assert not common_stems(["TCGA_CS_4943", "TCGA_CS_5395", "TCGA_DU_5849"])
    assert not common_stems([f"Brats18_TCIA{i}_1" for i in range(101, 120)])
    assert not common_stems([f"case_{i}" for i in range(3)])


def test_one_ambiguous_patient_stops_no_other(tmp_path):
    names = [f"sub-{i}/anat/sub-{i}_{k}.nii.gz" for i in (1, 2) for k in ("T1w", "FLAIR")]
    make(tmp_path, *names, "sub-2/anat/sub-2_run-2_T1w.nii.gz")
    assert set(read_any(tmp_path, patients=["sub-1"]).groups) == {"sub-1"}
    with pytest.warns(UserWarning, match="sub-2 is left out.*run-2_T1w.*--run"):
        stack = read_any(tmp_path)
    assert set(stack.groups) == {"sub-1"}
    assert list(stack.record.left_out) == ["sub-2"]
    assert set(read_any(tmp_path, run="2").groups) == {"sub-1", "sub-2"}
    with pytest.raises(ValueError, match="sub-2: two files of T1"):
        read_any(tmp_path, patients=["sub-2"])


@pytest.mark.parametrize("name", ["sub-{}/ses-{}/sub-{}_ses-{}_FLAIR", "{}/ses-{}/FLAIR"])
def test_an_unknown_session_is_refused(name, tmp_path):
    visits = [("1", "01"), ("1", "02"), ("2", "01")]
    make(tmp_path, *(f"{name.format(*visit, *visit)}.nii.gz" for visit in visits))
    assert len(found(tmp_path, sessions=["ses-01"])) == 2
    assert len(found(tmp_path, sessions=["02"])) == 1
    with pytest.raises(ValueError, match=r"sessions \['03'\] do not exist.*'01', '02'"):
        find_studies(tmp_path, sessions=["01", "03"])


def test_folders_of_contrasts(tmp_path):
    make(tmp_path, *(f"{p}/{c}/{p}_{c}.nii.gz" for p in PAIR for c in ("T1", "FLAIR")))
    make(tmp_path, "A1/FLAIR/A1_seg.nii.gz", "A2/A2_seg.nii.gz")
    images = {"T1", "FLAIR"}
    studies = {name: (set(study[1]), study[2]) for name, study in found(tmp_path).items()}
    assert studies == {p: (images, f"{p}_seg.nii.gz") for p in PAIR}


def test_a_folder_that_is_there_twice_is_named(tmp_path):
    make(tmp_path, "A1/FLAIR.nii.gz", "A2/FLAIR.nii.gz")
    (tmp_path / "A3").symlink_to(tmp_path / "A1")
    with pytest.warns(UserWarning, match=r"A3 links to .*A1.*counted once"):
        assert set(found(tmp_path)) == {"A1", "A2"}


def test_spaces_of_bids(tmp_path):
    make(tmp_path, *COLLECTIONS["fMRIPrep"][0])
    native = find_studies(tmp_path)[0]
    assert "space" not in native.images["T1"].name
    mni = find_studies(tmp_path, space="MNI152NLin6Asym")[0]
    assert "space-MNI" in mni.images["T1"].name
    assert "space-MNI" in mni.brain.name
    assert "no image in space 'T1w'" in find_studies(tmp_path, space="T1w")[0].problem


def test_a_broken_link_says_that_it_is_one(tmp_path):
    (tmp_path / "P1").mkdir()
    (tmp_path / "P1" / "P1_t1.nii.gz").symlink_to("../.git/annex/objects/x")
    with pytest.raises(
        FileNotFoundError, match=r"link points to .*annex/objects/x, which does"
    ):
        read_any(tmp_path)


def test_gzip_is_known_by_its_first_bytes(tmp_path):
    import gzip

    make(tmp_path, "P1/P1_t1.nii.gz", "P2/P2_t1.nii")
    expected = read_any(tmp_path).X
    compressed, plain = tmp_path / "P1" / "P1_t1.nii.gz", tmp_path / "P2" / "P2_t1.nii"
    content = compressed.read_bytes()
    compressed.write_bytes(gzip.decompress(content))
    plain.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(read_any(tmp_path).X, expected)


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".mhd"])
def test_files_of_itk(ending, tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    make(tmp_path / "nifti", "P1/P1_t1.nii.gz", "P1/P1_flair.nii.gz")
    for path in sorted((tmp_path / "nifti").rglob("*.nii.gz")):
        target = tmp_path / "itk" / "P1" / (path.name.removesuffix(".nii.gz") + ending)
        target.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.ReadImage(str(path)), str(target))
    stack, expected = read_any(tmp_path / "itk"), read_any(tmp_path / "nifti")
    np.testing.assert_array_equal(stack.X, expected.X)
    np.testing.assert_allclose(stack.affines, expected.affines, atol=1e-5)
    broken = next((tmp_path / "itk" / "P1").glob(f"*{ending}"))
    broken.write_bytes(broken.read_bytes()[:20])
    with pytest.raises(ValueError, match=f"{broken}: not a readable image file"):
        read_any(tmp_path / "itk")


REAL = {
    "brats2018": (3, {"T1", "FLAIR"}, (37, 169)),
    "brats2020": (1, {"T1", "T1ce", "T2", "FLAIR"}, (67, 68)),
    "open_ms/mni": (1, {"T1", "T1ce", "T2", "FLAIR"}, (8, 9)),
    "mslesseg": (1, {"T1", "T2", "FLAIR"}, (29, 31)),
    "wmh": (3, {"T1", "FLAIR"}, (3, 14)),
    "isles2022": (3, {"DWI", "ADC"}, (0.8, 4.3)),
    "healthy": (1, {"T1", "T2", "FLAIR"}, None),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.filterwarnings("ignore:.*image files are not read")
def test_real_collections(name, data_directory):
    """Patients, contrasts and millilitres of lesions as data/README.md has them."""
    n_patients, contrasts, millilitres = REAL[name]
    if not (data_directory / name).is_dir():
        pytest.skip(f"{Path(name)} is not there")
    stack = read_any(data_directory / name, contrasts=sorted(contrasts))
    assert len(set(stack.groups)) == n_patients
    if millilitres is None:
        assert stack.y is None
        return
    low, high = millilitres
    assert all(low <= ml <= high for ml in stack.record.lesion_ml.values())
    images, labels = stack.volumes[0].read()
    assert (labels == 1).any()
    assert 0.05 < images.any(axis=1).mean() < 0.4


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        *(
            (f"P1_{name}", "T1ce")
            for name in ("T1_with_contrast", "T1_axial_post", "gd_T1")
        ),
        *((f"P1_{name}", "T1ce") for name in ("CE_T1w", "T1_tse_KM", "T1_post_contrast")),
        *((f"P1_{name}", "T1") for name in ("T1_without_contrast", "T1_pre_contrast")),
        *((f"P1_{name}", "T1") for name in ("T1_post_op", "post_T1", "T1_native")),
        *((f"P1_{name}", "FLAIR") for name in ("FLAIR_reg_T1", "space-T1w_FLAIR")),
        *((f"P1_{name}", "FLAIR") for name in ("FLAIR_space-T1w", "T2_SPACE_FLAIR")),
        *((f"P1_{name}", "FLAIR") for name in ("t2_tirm_tra_dark-fluid", "T1_FLAIR")),
        ("healthy_01_T2", "T2"),
        ("P1_ADC_map", "ADC"),
    ],
)
def test_contrast_by_name(name, contrast):
    kind = kind_of(f"{name}.nii.gz")
    assert (kind.role, kind.contrast) == ("image", contrast)


NO_CONTRAST = [
    *("T1_map", "T2_map", "dwi_b0", "T1_subtraction", "T1_sub", "T1_minus_T1Gd", "T2_gre"),
    *("T2_rCBV", "SWI_mIP", "T1_synthetic", "T1_filled", "T1_lesionfilled", "T1_DIR"),
    *("T1_hippocampus_seg", "ventricle_mask", "eye_mask", "T1_synthseg", "nolesion_mask"),
    *("lesion_filled_T1", "T2star", "T1map", "FLASH", "PDT2"),
]


@pytest.mark.parametrize("name", NO_CONTRAST)
def test_what_is_neither_a_contrast_nor_lesions(name):
    assert kind_of(f"P1_{name}.nii.gz").role == "other"


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("acq-gd_T1w", "T1ce"),
        ("acq-postcontrast_T1w", "T1ce"),
        ("acq-highres_T1w", "T1"),
        ("ce-none_T1w", "T1"),
        ("part-mag_T1w", "T1"),
        ("part-phase_T1w", None),
    ],
)
def test_contrast_by_entities_of_bids(name, contrast, tmp_path):
    make(tmp_path, f"sub-1/anat/sub-1_{name}.nii.gz", "sub-1/anat/sub-1_FLAIR.nii.gz")
    assert {*found(tmp_path)["sub-1"][1]} == {"FLAIR", contrast} - {None}


def test_source_data_of_bids_are_not_mixed_with_the_data(tmp_path):
    make(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sourcedata/sub-1/anat/sub-1_T2w.nii.gz")
    assert {*found(tmp_path)["sub-1"][1]} == {"T1"}


FIRST_AND_SECOND = [
    *(("preop", "postop"), ("pre", "post"), ("first", "second"), ("before", "after")),
    *(("12-Mar-2019", "2020Mar12"), ("2019-3-2", "12.03.20"), ("week-000-1", "week-000-2")),
    ("20190312120000", "20200312120000"),
    ("2001.09.19-NA-BRAIN", "2002.09.19-NA-BRAIN"),
]


@pytest.mark.parametrize("sessions", FIRST_AND_SECOND)
@pytest.mark.parametrize("name", ["{p}/{s}/FLAIR", "{p}_{s}/FLAIR", "{p}_{s}_FLAIR"])
def test_sessions_by_other_names(name, sessions, tmp_path):
    names = [f"{name.format(p=p, s=s)}.nii.gz" for p in ("A1", "A2") for s in sessions]
    make(tmp_path, *names)
    patients = [patient for patient, *_ in found(tmp_path).values()]
    assert sorted(patients) == ["A1", "A1", "A2", "A2"]


def test_a_date_before_the_patient(tmp_path):
    make(tmp_path, *(f"{y}0312_{p}/FLAIR.nii.gz" for y in (2019, 2020) for p in PAIR))
    assert {patient for patient, *_ in found(tmp_path).values()} == {*PAIR}


@pytest.mark.parametrize(
    "names",
    [
        *(("20190312_1", "20200312_1"), ("20190312_scan1", "20200312_scan1")),
        *(("Study-T2-0", "Study-T2-1"), ("study_01-02-03", "study_02-02-04")),
    ],
)
def test_numbers_of_patients_are_no_sessions(names, tmp_path):
    make(tmp_path, *(f"{name}/FLAIR.nii.gz" for name in names))
    assert len({patient for patient, *_ in found(tmp_path).values()}) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["P1/190312", "P1/200312", "P2/190415", "P2/200415"],
        ["P1a", "P1b", "P2a", "P2b"],
        ["P1", "p1", "P2"],
        ["P01", "P1", "P2"],
    ],
)
def test_possible_sessions_warn(names, tmp_path):
    make(tmp_path, *(f"{name}/FLAIR.nii.gz" for name in names))
    with pytest.warns(UserWarning, match=r"(?i)P1 .*count as different patients"):
        read_any(tmp_path)


@pytest.mark.parametrize(
    ("images", "labels"), [("images", "labels"), ("imagesTr", "labelsTr"), ("img", "masks")]
)
@pytest.mark.parametrize("mask", ["{}", "{}_flair", "{}_seg"])
def test_masks_in_a_folder_of_masks(images, labels, mask, tmp_path):
    for patient in ("P1", "P10"):
        make(tmp_path, f"{images}/{patient}_flair.nii.gz")
        make(tmp_path, f"{labels}/{mask.format(patient)}.nii.gz")
    masks = {name: study[2] for name, study in found(tmp_path).items()}
    assert masks == {p: f"{mask.format(p)}.nii.gz" for p in ("P1", "P10")}


def test_numbers_of_contrasts_are_explained(tmp_path):
    make(tmp_path, "imagesTr/case_001_0000.nii.gz", "imagesTr/case_001_0001.nii.gz")
    make(tmp_path, "labelsTr/case_001.nii.gz")
    with pytest.raises(ValueError, match="expected the name of the contrast"):
        find_studies(tmp_path)


def test_folders_of_two_raters_are_not_chosen_from(tmp_path):
    make(tmp_path, "P1/FLAIR.nii.gz", "rater1/P1_seg.nii.gz", "rater2/P1_seg.nii.gz")
    with pytest.raises(ValueError, match=r"two files of the lesions.*rater1/ and rater2/"):
        read_any(tmp_path)


@pytest.mark.parametrize(
    "rows",
    [
        "patient,FLAIR,T2\nA,f.nii,f.nii\n",
        "patient,FLAIR,T2\nA,f.nii,./f.nii\n",
        "patient,FLAIR\nA,f.nii\nB,f.nii\n",
    ],
)
def test_an_image_is_listed_once(rows, tmp_path):
    make(tmp_path, "f.nii")
    (tmp_path / "t.csv").write_text(rows)
    with pytest.raises(ValueError, match="listed twice"):
        read_any(tmp_path / "t.csv")
