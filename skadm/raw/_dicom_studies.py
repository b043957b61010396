"""Studies in a folder of DICOM files: whose they are, and which series are taken."""

import csv
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skadm.data import Study
from skadm.data._studies import Collection
from skadm.raw._dicom_conversion import convert, converter
from skadm.raw._dicom_headers import Owner, Series, read_headers
from skadm.raw._dicom_rules import CONTRASTS, Verdict, judge

LAYOUT = "DICOM"
NO_SERIES = "none"  # of --series: the contrast is left out


@dataclass(frozen=True)
class DicomStudy:
    """A study, and the series that it is made of."""

    # Images are first files of series until they are converted.
    study: Study
    # The series of each contrast, and why.
    chosen: dict[str, tuple[Series, str]]
    left_out: list[tuple[Series, str]]

    def convert(self, folder: Path) -> Study:
        """Write the series that were chosen as NIfTI files; return the study of them."""
        if self.study.problem:
            return self.study
        images = {}
        for contrast, (series, _) in self.chosen.items():
            images[contrast] = folder / self.study.name / f"{contrast}.nii.gz"
            try:
                convert(series, images[contrast])
            except ValueError as error:
                problem = (
                    f"{self.study.name}: {contrast} cannot be converted: {error}; the "
                    f"contrast is left out by --series {contrast}={NO_SERIES}"
                )
                return replace(self.study, problem=problem)
        return replace(self.study, images=images)

    @property
    def millimetres(self) -> float:
        """How far its longest series reaches through slices."""
        return max((s.n_slices * s.thickness for s, _ in self.chosen.values()), default=0.0)


@dataclass(frozen=True)
class DicomFolder:
    """The studies of a folder, and what else there is."""

    studies: list[DicomStudy]
    labels: dict[str, str]  # the name of each patient, by PatientID: for the screen only
    n_others: int  # files that are not DICOM
    n_unreadable: int

    @property
    def collection(self) -> Collection:
        """The studies as the readers have them."""
        return Collection([one.study for one in self.studies], (), LAYOUT)

    @property
    def millimetres(self) -> float:
        """How far the volumes reach through slices, all together."""
        return sum(one.millimetres for one in self.studies)

    def choose(self, studies: Sequence[Study]) -> "DicomFolder":
        """Leave out all studies but these."""
        names = {study.name for study in studies}
        return replace(self, studies=[s for s in self.studies if s.study.name in names])


def find_dicom_studies(
    folder: Path,
    choices: Mapping[str, Sequence[str]] | None = None,
    pseudonyms: Path | None = None,
) -> DicomFolder:
    """Find the studies among DICOM files, and which series is which contrast.

    `choices` settle it where headers do not: for a contrast, series by their number, UID or
    description; "none" leaves the contrast out. `pseudonyms` is a table of names to replace
    each PatientID by; without it, those of files that are not anonymous become numbers.
    """
    headers = read_headers(folder)
    choices = choices or {}
    by_owner: dict[str, list[Series]] = defaultdict(list)
    for series in headers.series:
        by_owner[series.owner.key].append(series)
    if not by_owner:
        raise ValueError(f"{folder}: its DICOM files are no images of a series")
    _require_one_person(by_owner.values())
    names = _names([series[0].owner for series in by_owner.values()], pseudonyms)
    studies = []
    for key, of_patient in by_owner.items():
        patient, identity = names[key]
        by_study: dict[tuple[str, str], list[Series]] = defaultdict(list)
        for series in of_patient:
            by_study[series.when, series.study].append(series)
        uids = list(dict.fromkeys(uid for _, uid in sorted(by_study)))
        for number, uid in enumerate(uids, start=1):
            of_study = [series for series in of_patient if series.study == uid]
            session = f"{number:02d}" if len(uids) > 1 else ""
            name = f"{patient}_ses-{session}" if session else patient
            chosen, left_out, problem = _choose(of_study, name, choices)
            study = Study(
                *(patient, name, f"{name} (DICOM)"),
                {contrast: series.files[0] for contrast, (series, _) in chosen.items()},
                None,
                session=session,
                problem=problem,
                origin=_origin(uid, identity, chosen, left_out),
            )
            studies.append(DicomStudy(study, chosen, left_out))
    _require_use(choices, headers.series)
    labels = {
        series[0].owner.identifier or "(none)": names[key][0]
        for key, series in by_owner.items()
    }
    return DicomFolder(studies, labels, headers.n_others, len(headers.unreadable))


def _choose(
    all_series: list[Series], name: str, choices: Mapping[str, Sequence[str]]
) -> tuple[dict[str, tuple[Series, str]], list[tuple[Series, str]], str]:
    """The series of each contrast, those left out and why, and what cannot be told."""
    chosen: dict[str, tuple[Series, str]] = {}
    left_out: list[tuple[Series, str]] = []
    problems = []
    rest = []
    asked: dict[str, list[Series]] = defaultdict(list)
    for series in all_series:
        wanted = [c for c, words in choices.items() if _matches_choice(series, words)]
        if len(wanted) > 1:
            problems.append(f"--series takes {series.label} for {' and '.join(wanted)}")
        elif wanted:
            asked[wanted[0]].append(series)
        else:
            rest.append(series)
    candidates: dict[str, list[tuple[Series, Verdict]]] = defaultdict(list)
    for series in rest:
        verdict = judge(series)
        contrast = verdict.contrast
        if not contrast:
            left_out.append((series, verdict.evidence))
        elif asked.get(contrast) or NO_SERIES in choices.get(contrast, ()):
            left_out.append((series, f"{contrast}, and --series says otherwise"))
        else:
            candidates[contrast].append((series, verdict))
    for contrast in CONTRASTS:
        if len(asked[contrast]) > 1:
            problems.append(_too_many(contrast, asked[contrast], "are meant by --series"))
        elif asked[contrast]:
            (series,) = asked[contrast]
            chosen[contrast] = (
                series,
                f"--series; by the rules: {_describe_classification(series)}",
            )
        if not (usable := candidates[contrast]):
            continue
        best = max(verdict.certainty for _, verdict in usable)
        same = [
            (series, verdict) for series, verdict in usable if verdict.certainty == best
        ]
        if len(same) > 1:
            problems.append(_too_many(contrast, [s for s, _ in same], "may be it"))
        elif best == 0:
            ((series, verdict),) = same
            problems.append(
                f"whether {series.label} is {contrast} cannot be told: {verdict.evidence}; "
                + _settle(contrast, series)
            )
        else:
            ((series, verdict),) = same
            chosen[contrast] = series, verdict.evidence
            left_out += [
                (other, f"{contrast}, but less surely than {series.label}: {said.evidence}")
                for other, said in usable
                if other is not series
            ]
    if not chosen and not problems:
        reasons = "; ".join(f"{series.label}: {reason}" for series, reason in left_out)
        problems.append(f"no series is a contrast that can be used ({reasons})")
    problem = f"{name}: {'. '.join(problems)}" if problems else ""
    return {c: chosen[c] for c in CONTRASTS if c in chosen}, left_out, problem


def _too_many(contrast: str, series: list[Series], how: str) -> str:
    labels = ", ".join(one.label for one in series)
    return f"{len(series)} series {how} for {contrast}: {labels}; " + _settle(
        contrast, series[0]
    )


def _settle(contrast: str, series: Series) -> str:
    which = series.uid if series.number is None else series.number
    return (
        f"choose by --series {contrast}={which} (a number, UID or description), or leave "
        f"the contrast out by --series {contrast}={NO_SERIES}"
    )


def _describe_classification(series: Series) -> str:
    verdict = judge(series)
    return f"{verdict.contrast or 'left out'}, {verdict.evidence}"


def _matches_choice(series: Series, words: Iterable[str]) -> bool:
    meant = {series.uid, series.said.lower(), series.description.lower()}
    if series.number is not None:
        meant.add(str(series.number))
    return any(word.lower() in meant for word in words if word)


def _require_use(choices: Mapping[str, Sequence[str]], all_series: list[Series]) -> None:
    """Refuse a choice that names no series, which must be a slip."""
    for contrast, words in choices.items():
        for word in words:
            if word != NO_SERIES and not any(
                _matches_choice(s, [word]) for s in all_series
            ):
                there = ", ".join(dict.fromkeys(series.label for series in all_series))
                raise ValueError(
                    f"--series {contrast}={word}: no series has this number, UID or "
                    f"description; there are {there}"
                )


def _require_one_person(patients: Iterable[list[Series]]) -> None:
    for of_patient in patients:
        owners = [series.owner for series in of_patient]
        for what, values in (
            ("dates of birth", {owner.birth_date for owner in owners} - {""}),
            ("issuers", {owner.issuer for owner in owners} - {""}),
        ):
            if len(values) > 1:
                raise ValueError(
                    f"PatientID {owners[0].identifier!r} has {len(values)} {what}, so that "
                    "it may be of several people: prepare each from a separate folder"
                )


def _names(owners: list[Owner], table: Path | None) -> dict[str, tuple[str, str]]:
    """What each patient is called, and where the name is from."""
    known = {} if table is None else _read_pseudonyms(table)
    names: dict[str, tuple[str, str]] = {}
    for number, owner in enumerate(sorted(owners, key=lambda o: o.key), start=1):
        if table is not None:
            if owner.identifier not in known:
                missing = [o.identifier for o in owners if o.identifier not in known]
                raise ValueError(
                    f"{table} has no row for {len(missing)} of the PatientIDs: "
                    f"{', '.join(repr(one) for one in missing[:8])}"
                )
            label, source = known[owner.identifier], "replaced by a table"
        elif owner.identity_removed and owner.identifier:
            label, source = owner.identifier, "kept: the files say that they are anonymous"
        else:
            label, source = f"{number:03d}", "replaced by a number"
        label = re.sub(r"[^A-Za-z0-9]", "", label.removeprefix("sub-"))
        if not label:
            raise ValueError(
                f"PatientID {owner.identifier!r}: a patient's name needs a letter or a "
                "digit; give another in a table (--pseudonyms)"
            )
        names[owner.key] = f"sub-{label}", source
    labels = [label for label, _ in names.values()]
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ValueError(
            f"several patients would be called {', '.join(sorted(twice))}; give each "
            "another name in a table (--pseudonyms)"
        )
    return names


def _read_pseudonyms(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{table}: not a readable table ({error})") from error
    names: dict[str, str] = {}
    for line, row in enumerate(rows[1:], start=2):
        cells = [cell.strip() for cell in row]
        if len(cells) != 2 or not all(cells):
            raise ValueError(
                f"{table}, line {line}: expected two columns below a header, the PatientID "
                "and the name to replace it by"
            )
        if names.setdefault(cells[0], cells[1]) != cells[1]:
            raise ValueError(f"{table}: PatientID {cells[0]!r} has two names")
    if not names:
        raise ValueError(f"{table}: no row below the header")
    return names


def _origin(
    uid: str,
    identity: str,
    chosen: Mapping[str, tuple[Series, str]],
    left_out: Sequence[tuple[Series, str]],
) -> dict[str, Any]:
    """Which series were taken, which were not, and why, for the record."""
    return {
        "study_instance_uid": uid,
        "patient_id": identity,
        "converter": converter(),
        "series": {
            contrast: {
                **_describe(series),
                "series_instance_uid": series.uid,
                "files": len(series.files),
                "evidence": evidence,
            }
            for contrast, (series, evidence) in chosen.items()
        },
        "left_out": [
            {**_describe(series), "reason": reason} for series, reason in left_out
        ],
    }


def _describe(series: Series) -> dict[str, Any]:
    return {"number": series.number, "description": series.description}
