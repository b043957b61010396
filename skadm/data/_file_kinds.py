"""Infer the content of an image file from its name: contrast, lesions or brain."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from skadm.data._itk_files import SUFFIXES as _ITK_SUFFIXES

# In their usual order.
CONTRASTS = ("T1", "T1ce", "T2", "PD", "FLAIR", "DWI", "ADC", "SWI")
LESIONS, BRAIN, IMAGE, OTHER = "lesions", "brain", "image", "other"

_WORDS_OF_CONTRAST = {
    "T1": "t1 t1w t1n t1pre 3dt1 mprage spgr",
    "T1ce": "t1ce t1c t1gd t1gad t1post t1wce t1wgd t1wpost gado",
    "T2": "t2 t2w",
    "PD": "pd pdw dp",
    "FLAIR": "flair t2f t2flair darkfluid",
    "DWI": "dwi tracew",
    "ADC": "adc",
    "SWI": "swi",
}
_CONTRAST_OF_WORD = {
    word: contrast
    for contrast, words in _WORDS_OF_CONTRAST.items()
    for word in words.split()
}
# Anywhere in the name of a T1: contrast-enhanced.
_AGENT = {
    *("ce", "gd", "gad", "gado", "gadolinium", "km", "contrast", "enhanced"),
    *("postcontrast", "postgd", "postgad"),
}
# The same, but only after T1: before it, they name the patient or the session.
_AGENT_BEHIND = {"c", "post"}
# After "post", which then names the session.
_TREATMENT = {"op", "operative", "surgery", "treatment", "rt"}
_WITHOUT = {"without", "no", "non", "pre", "native", "wo"}
# The next word names the registration target.
_ONTO = {"to", "on", "in", "into", "reg", "coreg", "registered"}
# The BIDS entity for the same.
_SPACE = re.compile(r"(?<![A-Za-z0-9])space-[A-Za-z0-9]+", re.IGNORECASE)
_MASK = re.compile(
    r".*(seg|segm|segmentations?|masks?|msk|lesions?|labels?|roi|gtv?|truth)\d*"
    r"|ot|dseg|wmh|abwmh|wml|les|consensus|gold|tumou?r|infarct"
)
_BRAIN = {"brain", "brainmask", "bet", "brainextraction"}
# Masks of tissue, not of lesions.
_TISSUE = {
    *("parenchyma", "gm", "wm", "csf", "tissue", "tissues", "aseg", "aparc", "atlas"),
    *("ventricles", "nwmh", "skull", "cortex", "synthseg", "samseg", "pveseg", "wmparc"),
    *("fastsurfer", "freesurfer", "parcellation", "ribbon", "nolesion", "nonlesion"),
}
# The same in mask names; in image names they may belong to the patient.
_PART_OF_HEAD = {
    *("ventricle", "hippocampus", "thalamus", "cerebellum", "brainstem", "vessel"),
    *("vessels", "face", "eye", "eyes", "stripped", "skullstripped"),
}
# Not contrasts, although the names start with one.
_DERIVED = {
    *("bias", "biasfield", "fa", "md", "asl", "cbf", "cbv", "ttp", "tmax", "mtt", "phase"),
    *("rcbv", "rcbf", "prob", "probability", "probseg", "pve", "qc", "std", "diff"),
    *("noise", "bvec", "bval", "b0", "qsm", "mtr", "mip", "dir", "stir", "tirm", "gre"),
    *("subtraction", "minus", "uncertainty", "heatmap", "prediction", "pred"),
    *("synth", "synthetic", "inv1", "inv2"),
}
# Images with inpainted lesions.
_FILLED = {"filled", "lesionfilled", "inpainted"}


class FileKind(NamedTuple):
    """Content of a file."""

    role: str  # "image", "lesions" (mask of them), "brain" (mask of it) or "other"
    contrast: str  # of an image; "" for other roles
    prefix: str  # name up to that word, e.g. the patient


def is_image(path: Path) -> bool:
    """Whether a path has an image suffix (case-insensitive) and is not hidden."""
    return not path.name.startswith(".") and stem(path.name) != path.name


def stem(name: str) -> str:
    """Return the name of an image file without its suffix; other names unchanged."""
    lower = name.lower()
    for suffix in (".nii.gz", ".nii", *_ITK_SUFFIXES):
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return name


def contrast_named(name: str) -> str | None:
    """Return the contrast that a word names by any common spelling, or None."""
    return _CONTRAST_OF_WORD.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def names_lesions(name: str) -> bool:
    """Whether a word, such as the header of a column, names a mask of lesions."""
    words = _words(name)
    of_others = _BRAIN | _TISSUE | _PART_OF_HEAD
    return any(map(_MASK.fullmatch, words)) and not set(words) & of_others


def names_brain(name: str) -> bool:
    """Whether a word, such as the header of a column, names a mask of the brain."""
    words = _words(name)
    return bool(set(words) & _BRAIN) and (
        any(map(_MASK.fullmatch, words)) or words == ["brain"]
    )


def is_tissue_or_derived(name: str) -> bool:
    """Whether a file name says that the file marks tissue or is derived."""
    return bool(set(_words(stem(name))) & (_TISSUE | _PART_OF_HEAD | _DERIVED))


def looks_like_mask(name: str) -> bool:
    """Whether a file name mentions any kind of mask."""
    return any(map(_MASK.fullmatch, _words(stem(name))))


def kind_of(name: str, n_common: int = 0) -> FileKind:
    """Infer the content of a file from its name.

    The last word that names a contrast counts: earlier words belong to the patient or the
    study, such as "T2" in ``P14_T2_FLAIR.nii.gz``. The first `n_common` words are
    ignored, since all files of the patient start with them.
    """
    text = stem(name)
    places = _places(text)
    words = _words(text)
    said = words[n_common:]
    said = _before_target(said)

    def kind(role: str, place: int, contrast: str = "") -> FileKind:
        end = places[n_common + place][0] if said else 0
        return FileKind(role, contrast, text[:end].rstrip("_-. "))

    if "dark" in said and "fluid" in said:
        said = ["darkfluid" if word == "fluid" else word for word in said if word != "tirm"]
    masks = [i for i, word in enumerate(said) if _MASK.fullmatch(word)]
    brains = [i for i, word in enumerate(said) if word in _BRAIN]
    named = [i for i, word in enumerate(said) if word in _CONTRAST_OF_WORD]
    others = _TISSUE | _DERIVED | (_PART_OF_HEAD if masks else set())
    if (
        set(said) & _FILLED
        or (named and said[-1] == "sub")  # a difference of two images
        or (set(said) & others and not (masks and "nwmh" not in said and _lesions(said)))
    ):
        return FileKind(OTHER, "", text)
    if masks and (brains or said[masks[0]] == "brainmask"):
        return kind(BRAIN, min([*named, *masks, *brains]))
    if masks:
        return kind(LESIONS, min([*named[:1], *masks]) if named else masks[0])
    if brains and "brainmask" in said:
        return kind(BRAIN, brains[0])
    if not named:
        return FileKind(OTHER, "", text)
    # open_ms puts the contrast first, then the processing steps.
    place = named[-1]
    contrast = _CONTRAST_OF_WORD[said[place]]
    if place and contrast == "T1ce" and said[place - 1] in ("t1", "t1w"):
        place -= 1
    if "map" in said[place + 1 :] and contrast != "ADC":
        return FileKind(OTHER, "", text)  # a T1 map is no T1-weighted image
    if contrast == "T1" and _has_agent(said, place):
        contrast = "T1ce"
    return kind(IMAGE, place, contrast)


def _before_target(words: list[str]) -> list[str]:
    """Drop the registration target: T1_to_FLAIR is a T1."""
    for place, word in enumerate(words[:-1]):
        if word in _ONTO and any(
            before in _CONTRAST_OF_WORD or _MASK.fullmatch(before)
            for before in words[:place]
        ):
            return words[:place]
    return words


def _has_agent(words: Sequence[str], place: int) -> bool:
    """Whether the name of a T1 mentions a contrast agent, and not its absence."""
    for i, word in enumerate(words):
        behind = words[i + 1] if i + 1 < len(words) else ""
        if word in _AGENT_BEHIND and i > place and behind not in _TREATMENT:
            return True
        if word in _AGENT and not (i and words[i - 1] in _WITHOUT):
            return True
    return False


def n_common_words(names: Sequence[str]) -> int:
    """Return the number of leading words that all file names share."""
    words = [_words(stem(name)) for name in names]
    if len(words) < 2:
        return 0
    count = 0
    for column in zip(*words):
        if len(set(column)) > 1:
            break
        count += 1
    # The last word of a name is always informative.
    return min(count, min(map(len, words)) - 1)


def _lesions(words: Sequence[str]) -> bool:
    return any(word.startswith(("lesion", "tumo", "stroke", "infarct")) for word in words)


def _words(text: str) -> list[str]:
    return [text[start:end].lower() for start, end in _places(text)]


def _places(text: str) -> list[tuple[int, int]]:
    """Return start and end of each word of a name, without the space entity."""
    spaces = [match.span() for match in _SPACE.finditer(text)]
    words = (match.span() for match in re.finditer(r"[A-Za-z0-9]+", text))
    return [word for word in words if not any(a <= word[0] < b for a, b in spaces)]
