"""Assign the files of a folder to studies: contrasts, lesion mask and brain mask."""

import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from skadm.data._file_kinds import (
    BRAIN,
    IMAGE,
    LESIONS,
    FileKind,
    contrast_named,
    is_image,
    is_tissue_or_derived,
    kind_of,
    n_common_words,
    stem,
)
from skadm.data._patients import is_session, owner_of
from skadm.data._studies import Collection, Study

FOLDERS_DESCRIPTION = (
    "folders: the files of a scan in one folder, or several scans' with the patient's name "
    "in front; each name ends in the contrast, such as <any>_t1.nii.gz, _t1ce, _t2, "
    "_flair, _dwi, _adc, or in the mask, such as _seg, _mask, _lesion (BraTS, ISLES, "
    "MSLesSeg, UCSF-PDGM, UPENN-GBM, MSSEG, WMH)"
)
_DEPTH = 8
# Folders that hold a part of a study, not a study.
_PART = re.compile(
    r"VSD\..*|anat|dwi|perf|pre|orig|(pre)?processed([-_]data)?|raw[-_]data|masks?|labels?"
    r"|reference|lesions?|seg(m|mentations?)?|images?|(images|labels)T[rs]",
    re.IGNORECASE,
)
# Files in them are masks, even if named like the image or the patient.
_OF_MASKS = re.compile(r"masks?|labels?(T[rs])?|seg(m|mentations?)?", re.IGNORECASE)
# Original images beside preprocessed ones.
_AS_THEY_CAME = re.compile(r"orig|raw[-_]data", re.IGNORECASE)
_SITE = re.compile(r"(cent(er|re)|site|hospital|scanner)[-_ ]?\w+", re.IGNORECASE)
# The consensus among several lesion masks.
_AGREED = re.compile(r"consensus|gold|majority|staple|final", re.IGNORECASE)


def image_files(folder: Path) -> list[Path]:
    """List the image files below a folder, without hidden files or repeated links."""
    return sorted(_walk(folder, _DEPTH, set()))


def _walk(folder: Path, depth: int, seen: set[str]) -> Iterator[Path]:
    place = os.path.realpath(folder)
    if place in seen:
        warnings.warn(
            f"{folder} links to {place}, which is already read: its files are counted once",
            stacklevel=5,
        )
        return
    seen.add(place)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if is_image(path):
            yield path  # a folder or broken link raises an error when read
        elif path.is_dir() and depth:
            yield from _walk(path, depth - 1, seen)


def folder_collection(
    root: Path, files: list[Path], patient_pattern: str | None = None
) -> Collection:
    """Find the studies among the image files of a folder.

    `patient_pattern` is a regular expression that matches the patient in a study's path.
    """
    studies: list[Study] = []
    alone: list[Path] = []  # masks in folders without images
    strange: dict[Path, list[Path]] = {}
    for folder, group in _by_study(root, files).items():
        kinds = _kinds(group)
        if not any(kind.role == IMAGE for kind in kinds.values()):
            alone += [path for path, kind in kinds.items() if kind.role == LESIONS]
            if others := [path for path, kind in kinds.items() if kind.role != LESIONS]:
                strange[folder] = others
            continue
        for prefix, part in _by_scan(kinds).items():
            studies.append(_study(root, folder, prefix, part, patient_pattern))
    unread: list[Path] = []
    patients = {Path(study.place).parent for study in studies}
    for folder, others in strange.items():
        if folder.parent in patients and folder != root:
            # Beside patient folders, it is another patient's folder.
            problem = (
                f"{folder}: holds image files, but none whose name ends in a contrast "
                f"({others[0].name}); rename them, or leave the patient out "
                "(patients=[...], --patients)"
            )
            name = folder.name
            studies.append(Study(name, name, str(folder), {}, None, problem=problem))
        else:
            unread += others
    studies.sort(key=lambda study: study.place)
    left = _give_masks(studies, alone)
    return Collection(_apart_by_site(studies), (*unread, *left), "folders of patients")


def _apart_by_site(studies: list[Study]) -> list[Study]:
    """Prefix patient names with the site if sites reuse the same names."""
    counts = Counter(study.name for study in studies)
    sites = {study.place: _SITE.search(Path(study.place).parent.name) for study in studies}
    return [
        replace(
            study,
            patient=f"{site.group()}_{study.patient}",
            name=f"{site.group()}_{study.name}",
        )
        if (site := sites[study.place]) and counts[study.name] > 1
        else study
        for study in studies
    ]


def _by_study(root: Path, files: list[Path]) -> dict[Path, list[Path]]:
    """Group files by study folder; a study may have subfolders."""
    of_contrast = _folders_of_contrasts(files)
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        folder = path.parent
        while folder != root and (_PART.fullmatch(folder.name) or folder in of_contrast):
            folder = folder.parent
        groups[folder].append(path)
    return groups


def _folders_of_contrasts(files: list[Path]) -> set[Path]:
    """Return the folders that hold only the contrast they are named after.

    Other folders may have such a name: MSLesSeg calls the second time point T2.
    """
    contrasts: dict[Path, list[str]] = defaultdict(list)
    for path in files:
        kind = kind_of(path.name)
        if kind.role == IMAGE:
            contrasts[path.parent].append(kind.contrast)
    return {
        folder
        for folder, names in contrasts.items()
        if names == [contrast_named(folder.name)]
    }


def _kinds(files: list[Path]) -> dict[Path, FileKind]:
    """Return the kind of each file; original images only without preprocessed ones."""
    count = n_common_words([path.name for path in files])
    kinds = {path: kind_of(path.name, count) for path in files}
    if count and not any(kind.role == IMAGE for kind in kinds.values()):
        kinds = {path: kind_of(path.name) for path in files}
    for path, kind in kinds.items():
        of_masks = _OF_MASKS.fullmatch(path.parent.name) and not is_tissue_or_derived(
            path.name
        )
        if of_masks and kind.role not in (LESIONS, BRAIN):
            kinds[path] = FileKind(LESIONS, "", kind.prefix)
    raw = [path for path in files if _AS_THEY_CAME.fullmatch(path.parent.name)]
    if any(kind.role == IMAGE for path, kind in kinds.items() if path not in raw):
        for path in raw:
            kinds[path] = FileKind("other", "", "")
    return kinds


def _by_scan(kinds: dict[Path, FileKind]) -> dict[str, dict[Path, FileKind]]:
    """Split files into studies by the prefix of their names."""
    seen = [kind.contrast for kind in kinds.values() if kind.role == IMAGE]
    prefixes = {kind.prefix for kind in kinds.values() if kind.role == IMAGE}
    nested = any(_begins_with(one, other) for one in prefixes for other in prefixes)
    if len(set(seen)) == len(seen) or len(prefixes) < 2 or nested:
        return {"": kinds}
    scans: dict[str, dict[Path, FileKind]] = {prefix: {} for prefix in sorted(prefixes)}
    longest_first = sorted(prefixes, key=len, reverse=True)
    for path, kind in kinds.items():
        text = kind.prefix if kind.role == IMAGE else stem(path.name)
        owner = next((p for p in longest_first if text == p or _begins_with(text, p)), None)
        if owner is None:  # ambiguous: matches no scan or all of them
            owner, kind = longest_first[-1], FileKind("other", "", "")
        scans[owner][path] = kind
    return scans


def _begins_with(text: str, prefix: str) -> bool:
    """Whether a text starts with a prefix that ends at a word boundary."""
    return (
        bool(prefix)
        and len(text) > len(prefix)
        and text.startswith(prefix)
        and not text[len(prefix)].isalnum()
    )


def _study(
    root: Path,
    folder: Path,
    prefix: str,
    kinds: dict[Path, FileKind],
    pattern: str | None,
) -> Study:
    parts = list(folder.relative_to(root).parts) or [root.resolve().name]
    if prefix:
        # Several scans in one folder: the patient's folder if they are sessions, else the
        # data folder.
        parts = [*parts, prefix] if is_session(prefix) else [prefix]
    owner, name = owner_of(parts, pattern)
    images: dict[str, Path] = {}
    masks: list[Path] = []
    brains: list[Path] = []
    unread: list[Path] = []
    problems: list[str] = []
    for path, kind in kinds.items():
        if kind.role == IMAGE:
            other = images.setdefault(kind.contrast, path)
            if other is not path:
                problems.append(two_files(kind.contrast, other, path, folder))
        elif kind.role == LESIONS:
            masks.append(path)
        elif kind.role == BRAIN:
            brains.append(path)
        else:
            unread.append(path)
    if len(masks) > 1 and len(agreed := [p for p in masks if _AGREED.search(p.name)]) == 1:
        unread += [path for path in masks if path not in agreed]
        masks = agreed
    for what, paths in (("the lesions", masks), ("the brain", brains)):
        if len(paths) > 1:
            problems.append(two_files(what, paths[0], paths[1], folder))
    return Study(
        owner.patient,
        name,
        str(folder),
        images,
        masks[0] if masks else None,
        session=owner.session,
        brain=brains[0] if brains else None,
        unread=tuple(unread),
        problem="; ".join(problems),
    )


def two_files(what: str, one: Path, other: Path, place: Path) -> str:
    """Return the message for two files of one kind."""
    names = [path.relative_to(place) if place in path.parents else path.name
             for path in (one, other)]  # fmt: skip
    return (
        f"{place}: two files of {what}, {names[0]} and {names[1]}; expected one file per "
        "contrast and scan: move one away, or name the files to read in a table"
    )


def _give_masks(studies: list[Study], masks: list[Path]) -> list[Path]:
    """Assign masks in folders without images to the studies they name.

    Returns masks that match no study, or a study that has a mask already. Several masks
    for one study are recorded as its problem.
    """
    before = [study.mask for study in studies]
    names = {study.name: index for index, study in enumerate(studies)}
    left = []
    for path in masks:
        text = stem(path.name)
        fitting = [name for name in names if text == name or _begins_with(text, name)]
        index = names[max(fitting, key=len)] if fitting else None
        if index is None or before[index] is not None:
            left.append(path)
        elif (other := studies[index].mask) is not None:
            study = studies[index]
            problem = two_files("the lesions", other, path, Path(study.place))
            if other.name == path.name:
                problem = f"{problem} ({other.parent.name}/ and {path.parent.name}/)"
            studies[index] = replace(
                study,
                problem="; ".join(filter(None, (study.problem, problem))),
                unread=(*study.unread, path),
            )
        else:
            studies[index] = replace(studies[index], mask=path)
    return left
