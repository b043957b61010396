"""Folder layouts of public data sets: which file is which contrast of which patient."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from skadm.data._studies import Study

_MASK = "mask"


@dataclass(frozen=True)
class Layout:
    """A folder layout with one folder per patient.

    Parameters
    ----------
    name : str
        Name of the layout.
    description : str
        What it looks like, for error messages.
    order : tuple of str
        Contrasts in their default order.
    pattern : re.Pattern
        Matches the name of a contrast's or mask's file; its group ``kind`` says which.
    kinds : dict of str to str
        Lower-case ``kind`` to contrast, or to "mask".
    file_folders : str
        Glob of the folders inside a patient's that hold files; "" if there are none.
    timepoint : re.Pattern
        Splits a folder's name into ``patient`` and time point, where it matches.
    """

    name: str
    description: str
    order: tuple[str, ...]
    pattern: re.Pattern[str]
    kinds: dict[str, str]
    file_folders: str
    timepoint: re.Pattern[str]

    def studies(self, folder: Path) -> list[Study]:
        """Find the patients in a folder, in its subfolders, or one level deeper.

        Parameters
        ----------
        folder : Path
            Folder of patients, of groups of patients, or of a single patient.

        Returns
        -------
        list of Study
            The patients in the order of their folders' names; empty if there are none.

        Raises
        ------
        ValueError
            If a folder holds two files of one kind, or NIfTI files of which none fits.
        """
        return list(self._walk(folder, depth=2))

    def _walk(self, folder: Path, depth: int) -> Iterator[Study]:
        study = self._study(folder)
        if study is not None:
            yield study
        elif depth:
            for child in sorted(path for path in folder.iterdir() if _is_folder(path)):
                yield from self._walk(child, depth - 1)

    def _study(self, folder: Path) -> Study | None:
        files = self._files(folder)
        found: dict[str, Path] = {}
        for path in files:
            match = self.pattern.search(path.name)
            if match is None:
                continue
            kind = self.kinds[match["kind"].lower()]
            if kind in found:
                raise ValueError(
                    f"{folder}: two files of {kind}, {found[kind].name} and {path.name}; "
                    "expected one folder per patient and one file per contrast"
                )
            found[kind] = path
        if not found:
            return None
        mask = found.pop(_MASK, None)
        name = folder.resolve().name
        timepoint = self.timepoint.match(name)
        patient = timepoint["patient"] if timepoint else name
        return Study(patient, name, str(folder), found, mask)

    def _files(self, folder: Path) -> list[Path]:
        folders = [folder]
        if self.file_folders:
            folders += [path for path in folder.glob(self.file_folders) if path.is_dir()]
        return sorted(
            path for place in folders for path in place.iterdir() if is_nifti(path)
        )

    def unrecognised(self, folder: Path) -> list[Path]:
        """List patient folders that hold NIfTI files of which none fits the layout.

        Parameters
        ----------
        folder : Path
            The folder given to `studies`.

        Returns
        -------
        list of Path
            Such folders among the subfolders and one level deeper.
        """
        children = [path for path in sorted(folder.iterdir()) if _is_folder(path)]
        strange = []
        for child in children:
            if self._study(child) is not None:
                continue
            places = [
                child,
                *(path for path in sorted(child.iterdir()) if _is_folder(path)),
            ]
            strange += [
                place
                for place in places
                if self._files(place) and self._study(place) is None
            ]
        return strange


def is_nifti(path: Path) -> bool:
    """Tell whether a path looks like a NIfTI file (hidden files do not).

    Parameters
    ----------
    path : Path
        Path.

    Returns
    -------
    bool
        True for .nii and .nii.gz.
    """
    name = path.name.lower()
    return name.endswith((".nii", ".nii.gz")) and not name.startswith(".")


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


BRATS = Layout(
    name="BraTS",
    description=(
        "BraTS: a folder per patient with <any>_t1.nii.gz, _t1ce, _t2, _flair and, with "
        "labels, _seg (or -t1n, -t1c, -t2w, -t2f, -seg as since 2023)"
    ),
    order=("T1", "T1ce", "T2", "FLAIR"),
    pattern=re.compile(
        r"[_-](?P<kind>t1|t1n|t1ce|t1c|t1gd|t2|t2w|flair|t2f|seg)\.nii(\.gz)?$",
        re.IGNORECASE,
    ),
    kinds={
        "t1": "T1",
        "t1n": "T1",
        "t1ce": "T1ce",
        "t1c": "T1ce",
        "t1gd": "T1ce",
        "t2": "T2",
        "t2w": "T2",
        "flair": "FLAIR",
        "t2f": "FLAIR",
        "seg": _MASK,
    },
    file_folders="",
    # Since 2023 a name ends in the number of the scan: BraTS-GLI-00005-001 is the second
    # one of patient BraTS-GLI-00005, and both must stay on one side of a split.
    timepoint=re.compile(r"(?P<patient>BraTS-[A-Za-z]+-\d+)-\d{3}$"),
)

ISLES = Layout(
    name="ISLES",
    description=(
        "ISLES 2015 SISS: a folder per patient with VSD.Brain.XX.O.MR_DWI.<number>/"
        "VSD.Brain.XX.O.MR_DWI.<number>.nii, likewise MR_T1, MR_T2, MR_Flair and, with "
        "labels, OT"
    ),
    order=("DWI", "T1", "T2", "FLAIR"),
    pattern=re.compile(
        r"\.(MR_)?(?P<kind>(?<=MR_)(DWI|T1|T2|Flair)|(?<=\.)OT)(_reg)?\.\d+\.nii(\.gz)?$",
        re.IGNORECASE,
    ),
    kinds={"dwi": "DWI", "t1": "T1", "t2": "T2", "flair": "FLAIR", "ot": _MASK},
    file_folders="VSD.*",
    timepoint=re.compile(r"(?!)"),
)
