"""Names of the prepared files, after those of BIDS derivatives."""

import re
from dataclasses import dataclass
from pathlib import Path

from skadm.data import Study
from skadm.data._bids import file_suffix


@dataclass(frozen=True)
class Names:
    """Where the files of a study go.

    Parameters
    ----------
    subject, session : str
        BIDS labels; the session is "" if the patient has one study only.
    """

    subject: str
    session: str

    @classmethod
    def of(cls, study: Study) -> "Names":
        """Turn a patient's and a study's name into labels: letters and digits only.

        Parameters
        ----------
        study : Study
            The study.

        Returns
        -------
        Names
            Its names.

        Raises
        ------
        ValueError
            If nothing is left of the patient's name.
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
        """Name a contrast's file.

        Parameters
        ----------
        contrast : str
            Contrast.

        Returns
        -------
        str
            The file, relative to the study's folder.
        """
        return f"anat/{self.stem}_{file_suffix(contrast)}.nii.gz"

    def mask(self, what: str) -> str:
        """Name a mask's file.

        Parameters
        ----------
        what : str
            Such as "label-lesion" or "desc-brain".

        Returns
        -------
        str
            The file, relative to the study's folder.
        """
        return f"anat/{self.stem}_{what}_mask.nii.gz"

    def transform(self, contrast: str, reference: str) -> str:
        """Name the file of a contrast's transform.

        Parameters
        ----------
        contrast, reference : str
            The contrasts.

        Returns
        -------
        str
            The file, relative to the study's folder.
        """
        both = f"from-{_label(contrast)}_to-{_label(reference)}"
        return f"xfm/{self.stem}_{both}_mode-image_xfm.txt"


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)
