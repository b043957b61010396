"""DICOM series for tests, as scanners write them, with a patient who must not be named."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)

from skadm.raw._dicom_studies import find_dicom_studies

NAME, BIRTH, ADDRESS, MRN = (
    "Zaphodine^Quillfeather",
    "19470823",
    "Xylophone Road 99",
    "MRN770431",
)
SECRETS = ("zaphodine", "quillfeather", BIRTH, "xylophone", MRN.lower(), "gumdrop")

# Left, back, up: oblique, and with voxels of three different sides.
TURN = np.array(nib.eulerangles.euler2mat(0.1, -0.05, 0.08))
AFFINE = np.eye(4)
AFFINE[:3, :3] = TURN @ np.diag([2.0, 3.0, 5.0])
AFFINE[:3, 3] = -20, -30, 15
# Of columns, rows and slices: which way they run.
PLANES = {
    "axial": np.eye(3),
    "sagittal": np.array([[0, 0, 1.0], [1, 0, 0], [0, -1, 0]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "downwards": np.diag([1.0, 1, -1]),
}
TO_RAS = np.diag([-1.0, -1, 1, 1])
# No axis is like another, in size or in content.
VOXELS = np.random.default_rng(0).integers(0, 1000, (5, 6, 7))

# What the sequences of a 1.5 T scanner say; times in ms.
SEQUENCES = {
    "T1": {
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "RepetitionTime": 500,
        "EchoTime": 12,
    },
    "T1ce": {
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "RepetitionTime": 500,
        "EchoTime": 12,
        "ContrastBolusAgent": "Gadovist",
    },
    "MPRAGE": {
        "ScanningSequence": ["GR", "IR"],
        "SequenceVariant": ["SK", "SP", "MP"],
        "RepetitionTime": 2000,
        "EchoTime": 3,
        "InversionTime": 900,
    },
    "T2": {
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "RepetitionTime": 5000,
        "EchoTime": 95,
    },
    "PD": {
        "ScanningSequence": "SE",
        "SequenceVariant": "SK",
        "RepetitionTime": 3000,
        "EchoTime": 15,
    },
    "FLAIR": {
        "ScanningSequence": ["SE", "IR"],
        "SequenceVariant": "SK",
        "RepetitionTime": 9000,
        "EchoTime": 120,
        "InversionTime": 2500,
    },
    "STIR": {
        "ScanningSequence": ["SE", "IR"],
        "RepetitionTime": 5000,
        "EchoTime": 60,
        "InversionTime": 160,
    },
    "CISS": {
        "ScanningSequence": "GR",
        "SequenceVariant": "SS",
        "RepetitionTime": 6,
        "EchoTime": 3,
    },
    "DWI": {
        "ScanningSequence": "EP",
        "SequenceVariant": "SK",
        "RepetitionTime": 4000,
        "EchoTime": 90,
    },
    "ADC": {
        "ScanningSequence": "EP",
        "SequenceVariant": "SK",
        "RepetitionTime": 4000,
        "EchoTime": 90,
        "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"],
    },
    "LOCALISER": {
        "ScanningSequence": "GR",
        "SequenceVariant": "SP",
        "RepetitionTime": 8,
        "EchoTime": 4,
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
    },
}


def sequence_of(groups):
    """An item with sequences of one item each."""
    item = Dataset()
    for name, values in groups.items():
        inner = Dataset()
        inner.update(values)
        setattr(item, name, [inner])
    return item


class Scanner:
    """Writes the series of one study below a folder, in shuffled files."""

    def __init__(self, folder, seed=0, **patient):
        self.folder = Path(folder)
        self.rng = np.random.default_rng(seed)
        self.study = generate_uid()
        self.frame = generate_uid()
        self.patient = {
            "PatientName": NAME,
            "PatientBirthDate": BIRTH,
            "PatientAddress": ADDRESS,
            "PatientID": MRN,
            "OtherPatientNames": "Gumdrop",
            "PatientComments": f"lives in {ADDRESS}",
            "ImageComments": f"{NAME} has moved",
            "ReferringPhysicianName": "Gumdrop^Doctor",
            "AccessionNumber": "A1",
            "StudyDate": "20240131",
            "StudyTime": "101500",
            "AcquisitionTime": "101501",
        } | patient
        self.n_series = 0

    def write(
        self,
        sequence,
        voxels,
        affine,
        *,
        description="",
        b_values=None,
        compressed=False,
        uid=None,
        **tags,
    ):
        """Write slices (n_slices, H, W), or those of each b-value; the UID of the series.

        The affine goes from (column, row, slice) to mm to the left, the back and the top.
        """
        self.n_series += 1
        number = tags.pop("SeriesNumber", self.n_series)
        uid = uid or generate_uid()
        rows = [voxels] if b_values is None else voxels
        files = []
        for volume, b_value in zip(rows, b_values or (None,)):
            for z, pixels in enumerate(volume):
                header = self._image(pixels, affine, z)
                header.update(SEQUENCES[sequence] | tags)
                header.SeriesInstanceUID, header.SeriesNumber = uid, number
                header.SeriesDescription = description
                header.InstanceNumber = len(files) + 1
                if b_value is not None:
                    header.DiffusionBValue = float(b_value)
                    header.SequenceName = f"*ep_b{b_value}"
                if compressed:
                    header.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
                files.append(header)
        place = self.folder / f"S{self.rng.integers(1000)}" / "deep" / f"{number}"
        place.mkdir(parents=True)
        for name, k in enumerate(self.rng.permutation(len(files))):
            # Half of the names look like something else.
            files[k].save_as(place / (f"IM{name:04d}" if name % 2 else f"{name}.jpg"))
        return uid

    def write_enhanced(self, voxels, affine, *, description="", b_values=None, **times):
        """Write slices (n_slices, H, W), or those of each b-value, as one file."""
        self.n_series += 1
        rows = [voxels] if b_values is None else voxels
        header = self._image(rows[0][0], affine, 0)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = (
            EnhancedMRImageStorage
        )
        header.SeriesInstanceUID, header.SeriesNumber = generate_uid(), self.n_series
        header.SeriesDescription, header.InstanceNumber = description, 1
        header.NumberOfFrames = len(rows) * len(rows[0])
        header.PixelData = np.concatenate(rows).astype(np.uint16).tobytes()
        orientation, spacing = header.ImageOrientationPatient, header.PixelSpacing
        thickness = header.SliceThickness
        for name in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"):
            del header[name]
        shared = {
            "PlaneOrientationSequence": {"ImageOrientationPatient": orientation},
            "PixelMeasuresSequence": {
                "PixelSpacing": spacing,
                "SliceThickness": thickness,
                "SpacingBetweenSlices": thickness,
            },
            "MRTimingAndRelatedParametersSequence": {
                "RepetitionTime": times["RepetitionTime"],
                "FlipAngle": 90.0,
            },
        }
        if "InversionTime" in times:
            shared["MRModifierSequence"] = {
                "InversionRecovery": "YES",
                "InversionTimes": [times["InversionTime"]],
            }
        header.SharedFunctionalGroupsSequence = [sequence_of(shared)]
        frames = []
        for volume in range(len(rows)):
            for z in range(len(rows[0])):
                frame = {
                    "PlanePositionSequence": {
                        "ImagePositionPatient": [*(affine @ [0, 0, z, 1])[:3].round(6)]
                    },
                    "FrameContentSequence": {
                        "StackID": "1",
                        "InStackPositionNumber": z + 1,
                        "TemporalPositionIndex": volume + 1,
                        "DimensionIndexValues": [z + 1, volume + 1],
                    },
                    "MREchoSequence": {"EffectiveEchoTime": times["EchoTime"]},
                }
                if b_values is not None:
                    frame["MRDiffusionSequence"] = {
                        "DiffusionBValue": float(b_values[volume]),
                        "DiffusionDirectionality": "ISOTROPIC" if volume else "NONE",
                    }
                frames.append(sequence_of(frame))
        header.PerFrameFunctionalGroupsSequence = frames
        place = self.folder / f"E{self.n_series}"
        place.mkdir(parents=True)
        header.save_as(place / "image")

    def _image(self, pixels, affine, z):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        header.SOPClassUID = MRImageStorage
        header.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        header.update(self.patient)
        header.Modality, header.Manufacturer = "MR", "SIEMENS"
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        header.StudyInstanceUID, header.FrameOfReferenceUID = self.study, self.frame
        header.MRAcquisitionType, header.MagneticFieldStrength = "2D", 1.5
        axes = affine[:3, :3]
        spacing = np.linalg.norm(axes, axis=0)
        turned = axes / spacing
        header.ImageOrientationPatient = [*turned[:, 0].round(9), *turned[:, 1].round(9)]
        header.ImagePositionPatient = [*(affine @ [0, 0, z, 1])[:3].round(6)]
        header.PixelSpacing = [spacing[1], spacing[0]]
        header.SliceThickness = header.SpacingBetweenSlices = spacing[2]
        header.Rows, header.Columns = pixels.shape
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        header.PixelRepresentation = 0
        header.PixelData = pixels.astype(np.uint16).tobytes()
        return header


def only_study(scanner, **options):
    (study,) = find_dicom_studies(scanner.folder, **options).studies
    return study
