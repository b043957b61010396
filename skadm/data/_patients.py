"""Infer the patient and session of a study from its folder names."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_MONTH = "(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_DATE = (
    r"(19|20)\d{2}[-_.]?\d{2}[-_.]?\d{2}(\d{4}(\d{2})?)?|(19|20)\d{2}[-_.]\d{1,2}[-_.]\d{1,2}"
    rf"|\d{{1,2}}[-_.]?{_MONTH}[-_.]?(19|20)\d{{2}}|(19|20)\d{{2}}[-_.]?{_MONTH}[-_.]?\d{{1,2}}"
    r"|\d{2}[-_.]\d{2}[-_.](19|20)\d{2}|\d{2}\.\d{2}\.\d{2}"
)
_SESSION = (
    rf"({_DATE})([-_. ]\D*)?"
    r"|(ses|session|visit|v|tp|t|time|timepoint|study|scan|exam|fu|followup"
    r"|month|week|day|year|m|w|d|y)[-_]?\d+[a-z]?|week-\d+-\d+|baseline|follow[-_]?up\d*|bl"
    r"|(pre|post|intra)([-_]?(op|operative|surgery|treatment|therapy|rt))?|before|after"
    r"|first|second|third|initial"
)
_IS_SESSION = re.compile(_SESSION, re.IGNORECASE)
# Collections whose names end in the scan number, and names with an unambiguous session
# suffix.
_WITH_SESSION = [
    re.compile(r"(?P<patient>BraTS-[A-Z]+(-[A-Z]+)?-\d+)-(?P<session>\d+)", re.IGNORECASE),
    re.compile(r"(?P<patient>UPENN-GBM-\d+)_(?P<session>\d+)", re.IGNORECASE),
    re.compile(r"(?P<patient>UCSF-PDGM-\d+)_(?P<session>FU\w+)", re.IGNORECASE),
    re.compile(rf"(?P<patient>.*?[A-Za-z0-9])[-_](?P<session>{_SESSION})", re.IGNORECASE),
    # A bare number may count the scans of a day.
    re.compile(
        rf"(?P<session>{_DATE})[-_](?!({_SESSION})$)(?P<patient>(?=.*[a-z])(?=.*\d).+)",
        re.IGNORECASE,
    ),
]
# Suffixes that converters append to folder names.
_CONVERTED = re.compile(r"_(nifti|nii)$", re.IGNORECASE)


class Owner(NamedTuple):
    """Patient and session of a study."""

    patient: str
    session: str  # "" if there is only one

    @property
    def name(self) -> str:
        """Name of the volume."""
        return "_".join(filter(None, self))


def is_session(name: str) -> bool:
    """Whether a name is that of a session, such as a date, ``ses-01`` or ``T2``."""
    return _IS_SESSION.fullmatch(name) is not None


def owner_of(parts: Sequence[str], pattern: str | None = None) -> tuple[Owner, str]:
    """Infer the patient and session of a study, and its volume name, from its folders.

    `parts` are the folder names below the data folder, the study's last. The regular
    expression `pattern` matches the patient in the path: group "patient", or else the
    first group. Raises a ValueError if it does not match.
    """
    path, last = "/".join(parts), _CONVERTED.sub("", parts[-1])
    if pattern is not None:
        match = re.search(pattern, path)
        if match is None:
            raise ValueError(
                f"{path}: patient_pattern {pattern!r} does not match; expected a match "
                "in every path"
            )
        patient = match["patient"] if "patient" in match.re.groupindex else match[1]
        session = last.removeprefix(patient).strip("_-. ")
        return Owner(patient, session), last if last != session else f"{patient}_{session}"
    if len(parts) > 1 and is_session(last):
        owner = Owner(_CONVERTED.sub("", parts[-2]), last)
        return owner, owner.name
    if len(parts) > 1 and is_session(parts[-2]):
        owner = Owner(last, parts[-2])
        return owner, owner.name
    for expression in _WITH_SESSION:
        if match := expression.fullmatch(last):
            return Owner(match["patient"], match["session"]), last
    return Owner(last, ""), last


def patient_key(patient: str) -> str:
    """Return a key that is equal for the raw and the prepared name of a patient.

    `skadm prepare` keeps letters and digits alone, and puts "sub-" in front.
    """
    return re.sub(r"[^a-z0-9]", "", patient.lower().removeprefix("sub-"))


def common_stems(patients: Iterable[str]) -> dict[str, list[str]]:
    """Group patient names that may be scans of one patient, by their stem.

    Names such as A01_1 and A01_2, A01 and A01_b, or A01a and A01b: a stem with a digit, and
    at the most two digits or a letter after it. A stem that all names share is ignored.
    Names that differ only in case or leading zeros, such as P1 and p01, are grouped too.
    """
    names = sorted(set(patients))
    stems: dict[str, list[str]] = {}
    for name in names:
        match = re.fullmatch(
            r"(?P<stem>.*\d.*?)[-_. ](\d{1,2}|[A-Za-z])|(?P<number>.*\d)[A-Za-z]", name
        )
        stem = (match["stem"] or match["number"]) if match else name
        stems.setdefault(stem, []).append(name)
    several = {stem: group for stem, group in stems.items() if len(group) > 1}
    if len(stems) == 1:
        several = {}
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", name.lower()), []).append(name)
    return several | {stem: group for stem, group in alike.items() if len(group) > 1}
