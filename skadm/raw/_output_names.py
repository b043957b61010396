"""Names of the prepared files, after those of BIDS derivatives."""

import re
from dataclasses import dataclass
from pathlib import Path

from skadm.data import Study
from skadm.data._bids import file_suffix


@dataclass(frozen=True)
class Names:
    """Where the files of a study go, relative to its folder, by its BIDS labels."""

    subject: str
    session: str  # "" if the patient has one study only

    @classmethod
    def of(cls, study: Study) -> "Names":
        """Turn a patient's and a study's name into labels: letters and digits only.

        That nothing is left of the patient's name is a ValueError.
        """
        subject = _label(study.patient.removeprefix("sub-"))
        session = _label(study.name.removeprefix(study.patient).removeprefix("_ses-"))
        if not subject:
            raise ValueError(f"{study.patient!r}: a name needs a letter or a digit")
        return cls(subject, session)

    @property
    def patient(self) -> "Names":
        """Names of the patient as a whole."""
        return Names(self.subject, "")

    @property
    def folder(self) -> Path:
        """Folder of the study, relative to the output's."""
        subject = Path(f"sub-{self.subject}")
        return subject / f"ses-{self.session}" if self.session else subject

    @property
    def stem(self) -> str:
        """What all file names begin with."""
        session = f"_ses-{self.session}" if self.session else ""
        return f"sub-{self.subject}{session}"

    @property
    def record(self) -> str:
        """The record's file, relative to the study's folder."""
        return f"{self.stem}_desc-preproc.json"

    @property
    def picture(self) -> str:
        """The quality-control picture's file."""
        return f"figures/{self.stem}_desc-preproc.png"

    def image(self, contrast: str) -> str:
        """File of a contrast."""
        return f"anat/{self.stem}_{file_suffix(contrast)}.nii.gz"

    def mask(self, what: str) -> str:
        """File of a mask, such as "label-lesion" or "desc-brain"."""
        return f"anat/{self.stem}_{what}_mask.nii.gz"

    def transform(self, contrast: str, reference: str) -> str:
        """File of a contrast's transform."""
        both = f"from-{_label(contrast)}_to-{_label(reference)}"
        return f"xfm/{self.stem}_{both}_mode-image_xfm.txt"


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)
