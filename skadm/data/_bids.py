"""Read BIDS data sets, raw or derivatives, from the entities in file names."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from skadm.data._file_kinds import contrast_named, stem
from skadm.data._studies import Collection, Study

BIDS_DESCRIPTION = (
    "BIDS: files named sub-<label>[_ses-<label>]_<entities>_T1w.nii.gz, _T2w, _FLAIR, "
    "_PDw, _dwi, _adc (with ce-<agent>: T1ce, ...), in folders of any depth, derivatives/ "
    "among them; with labels <entities>_label-lesion_mask.nii.gz, _msk or _label-lesion_roi"
)
_SUFFIX_OF_CONTRAST = {"T1": "T1w", "T2": "T2w", "PD": "PDw"}
_NAME = re.compile(
    r"(?P<entities>sub-[A-Za-z0-9]+_(?:[A-Za-z]+-[A-Za-z0-9.+]+_)*)(?P<suffix>[A-Za-z0-9]+)"
)
# Many data sets give the contrast agent in the acq entity.
_AGENT = re.compile(
    r"(post)?(ce|gd|gad|gado|gadolinium|contrast)|post|.*postcontrast", re.I
)
_NO_AGENT = {"none", "no", "pre", "without", "n", "0"}
# Parts of complex images that are not weighted images.
_NO_MAGNITUDE = {"phase", "real", "imag"}
# Suffixes that mark a lesion mask; a bare "mask" or "dseg" can mark anything.
_LESION_SUFFIXES = {"msk", "lesion", "lesions", "seg"}
_MASK_SUFFIXES = {"mask", "roi", "dseg", *_LESION_SUFFIXES}


@dataclass(frozen=True)
class _File:
    """A file with a BIDS name."""

    path: Path
    entities: dict[str, str]
    suffix: str
    derived: bool

    @property
    def contrast(self) -> str:
        """Contrast, from the suffix and the contrast agent."""
        contrast = contrast_named(self.suffix) or self.suffix
        agent = self.entities.get("ce", self.entities.get("acq", ""))
        given = (
            _AGENT.fullmatch(agent)
            if "ce" not in self.entities
            else (agent.lower() not in _NO_AGENT)
        )
        return contrast + ("ce" if given else "")

    @property
    def is_lesions(self) -> bool:
        """Whether it is a mask of lesions."""
        said = [*self.entities.values()]
        return self.suffix in _MASK_SUFFIXES and (
            any(re.search("lesion|tumou?r|stroke|infarct|wmh", text, re.I) for text in said)
            or self.suffix in _LESION_SUFFIXES
        )

    @property
    def is_brain(self) -> bool:
        """Whether it is a mask of the brain."""
        return self.suffix == "mask" and "brain" in (
            self.entities.get("desc"),
            self.entities.get("label"),
        )


@dataclass
class _Session:
    """The files of one session."""

    images: list[_File] = field(default_factory=list)
    lesions: list[_File] = field(default_factory=list)
    brains: list[_File] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)


def bids_collection(
    files: list[Path],
    *,
    root: Path,
    space: str | None = None,
    run: str | None = None,
) -> Collection:
    """Find the sessions among the image files of a BIDS folder.

    At least one file must have a BIDS name. `space` and `run` select by label; space
    "native" selects images without a space entity. By default native images are read or,
    if there are none, those of the only space. An ambiguous session has a `problem`.
    """
    sessions: dict[tuple[str, str], _Session] = defaultdict(_Session)
    sources = [path for path in files if "sourcedata" in path.relative_to(root).parts]
    if not has_bids_names([path for path in files if path not in sources]):
        sources = []
    strangers = list(sources)
    for path in sorted({*files}.difference(sources)):
        match = _NAME.fullmatch(stem(path.name))
        if match is None:
            strangers.append(path)
            continue
        pairs = [part.split("-", 1) for part in match["entities"].split("_")[:-1]]
        entities = {key.lower(): value for key, value in pairs}
        derived = "derivatives" in path.relative_to(root).parts
        file = _File(path, entities, match["suffix"], derived)
        _sort(file, sessions[f"sub-{entities['sub']}", entities.get("ses", "")])
    studies = []
    for (patient, label), session in sorted(sessions.items()):
        name = f"{patient}_ses-{label}" if label else patient
        if session.images:
            studies.append(_study(patient, label, name, session, space, run))
        else:
            strangers += [file.path for file in (*session.lesions, *session.brains)]
            strangers += session.unread
    return Collection(studies, tuple(strangers), "BIDS")


def has_bids_names(files: list[Path]) -> bool:
    """Whether any image file has a BIDS name with a known contrast."""
    matches = (_NAME.fullmatch(stem(path.name)) for path in files)
    return any(
        match and (contrast_named(match["suffix"]) or "desc-preproc" in match["entities"])
        for match in matches
    )


def file_suffix(contrast: str) -> str:
    """Return the file suffix of a contrast, e.g. ``ce-agent_desc-preproc_T1w`` for T1ce."""
    agent = contrast.endswith("ce") and len(contrast) > 2
    plain = re.sub(r"[^A-Za-z0-9]", "", contrast.removesuffix("ce") if agent else contrast)
    if not plain:
        raise ValueError(
            f"{contrast!r} is not a contrast name: expected a letter or a digit in it"
        )
    suffix = _SUFFIX_OF_CONTRAST.get(plain, plain)
    return ("ce-agent_" if agent else "") + f"desc-preproc_{suffix}"


def _sort(file: _File, session: _Session) -> None:
    if file.is_lesions:
        session.lesions.append(file)
    elif file.is_brain:
        session.brains.append(file)
    elif file.entities.get("part") in _NO_MAGNITUDE:
        session.unread.append(file.path)
    elif file.suffix not in _MASK_SUFFIXES and (
        file.entities.get("desc") == "preproc"
        or ("desc" not in file.entities and contrast_named(file.suffix))
    ):
        session.images.append(file)
    else:
        session.unread.append(file.path)


def _study(
    patient: str,
    label: str,
    name: str,
    session: _Session,
    space: str | None,
    run: str | None,
) -> Study:
    images = session.images
    # Preprocessed files take precedence over raw ones.
    if prepared := [file for file in images if file.entities.get("desc") == "preproc"]:
        images = prepared
    problems: list[str] = []
    images = _in_space(images, space, name, problems)
    by_contrast: dict[str, Path] = {}
    for contrast in dict.fromkeys(file.contrast for file in images):
        files = [file for file in images if file.contrast == contrast]
        by_contrast[contrast] = _of_run(files, run, name, problems).path
    spaces = {file.entities.get("space", "") for file in images}
    masks = [
        _mask(files, spaces, what, name, problems)
        for what, files in (("the lesions", session.lesions), ("the brain", session.brains))
    ]
    read = {*by_contrast.values(), *masks}
    unread = [
        file.path
        for file in (*session.images, *session.lesions, *session.brains)
        if file.path not in read
    ]
    place = str(session.images[0].path.parent)
    return Study(
        patient,
        name,
        place,
        by_contrast,
        masks[0],
        session=label,
        brain=masks[1],
        unread=(*unread, *session.unread),
        problem="; ".join(problems),
    )


def _in_space(
    files: list[_File], space: str | None, name: str, problems: list[str]
) -> list[_File]:
    """The files of one space."""
    labels = sorted({file.entities.get("space", "") for file in files})
    wanted = "" if space == "native" else space
    if wanted is None:
        if len(labels) > 1 and "" not in labels:
            problems.append(
                f"{name}: images in several spaces, {', '.join(labels)}; choose one by "
                "space= (--space)"
            )
        wanted = labels[0]
    elif wanted not in labels:
        there = ", ".join(label or "native" for label in labels)
        problems.append(f"{name}: no image in space {space!r}; expected one of {there}")
    return [file for file in files if file.entities.get("space", "") == wanted] or files


def _of_run(files: list[_File], run: str | None, name: str, problems: list[str]) -> _File:
    """The file of a contrast, of those of several runs that of one."""
    if len(files) > 1 and run is not None:
        files = [file for file in files if file.entities.get("run") == run] or files
    if len(files) > 1:
        runs = {file.entities.get("run") for file in files}
        problems.append(
            f"{name}: two files of {files[0].contrast}, {files[0].path.name} and "
            f"{files[1].path.name}; "
            + ("choose one by run= (--run), or " if len(runs) > 1 else "")
            + "list the ones to read in a table"
        )
    return files[0]


def _mask(
    files: list[_File], spaces: set[str], what: str, name: str, problems: list[str]
) -> Path | None:
    """The mask of a kind that lies in the space of the images."""
    fitting = [file for file in files if file.entities.get("space", "") in spaces] or [
        file for file in files if "space" not in file.entities
    ]
    if len(fitting) > 1 and len({file.derived for file in fitting}) == 2:
        fitting = [file for file in fitting if file.derived]
    if len(fitting) > 1 and not problems:
        problems.append(
            f"{name}: two files of {what}, {fitting[0].path.name} and "
            f"{fitting[1].path.name}; keep one, or name the ones to read in a table"
        )
    return fitting[0].path if fitting else None
