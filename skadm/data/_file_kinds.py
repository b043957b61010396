"""What the name of an image file says that it holds: a contrast, lesions, the brain."""

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
    "FLAIR": "flair t2f t2flair",
    "DWI": "dwi tracew",
    "ADC": "adc",
    "SWI": "swi",
}
_CONTRAST_OF_WORD = {
    word: contrast
    for contrast, words in _WORDS_OF_CONTRAST.items()
    for word in words.split()
}
# Behind T1 or apart from it: with a contrast agent.
_AGENT = {"ce", "c", "gd", "gad", "gado", "post", "postcontrast", "contrast", "km"}
# What follows is the image that this one was registered to.
_ONTO = {"to", "on", "in", "into"}
_MASK = re.compile(
    r".*(seg|segm|segmentations?|masks?|msk|lesions?|labels?|roi|gtv?|truth)\d*"
    r"|ot|dseg|wmh|abwmh|consensus|gold|tumou?r|infarct"
)
_BRAIN = {"brain", "brainmask", "bet", "brainextraction"}
# Masks of tissue, not of lesions.
_TISSUE = {
    *("parenchyma", "gm", "wm", "csf", "tissue", "tissues", "aseg", "aparc", "atlas"),
    *("ventricles", "nwmh", "skull", "cortex"),
}
# Not the contrasts that their names begin with.
_DERIVED = {
    *("bias", "biasfield", "fa", "md", "asl", "cbf", "cbv", "ttp", "tmax", "mtt", "phase"),
    *(
        "prob",
        "probability",
        "probseg",
        "pve",
        "qc",
        "std",
        "diff",
        "noise",
        "bvec",
        "bval",
    ),
}


class FileKind(NamedTuple):
    """What a file holds.

    Parameters
    ----------
    role : {"image", "lesions", "brain", "other"}
        Image of a contrast, mask of lesions, mask of the brain, or none of them.
    contrast : str
        Contrast of an image; "" for the others.
    prefix : str
        What the name says before that, such as the patient.
    """

    role: str
    contrast: str
    prefix: str


def is_image(path: Path) -> bool:
    """Tell whether a path is named as an image file (hidden files are not).

    Parameters
    ----------
    path : Path
        Path.

    Returns
    -------
    bool
        True for .nii, .nii.gz, .mha, .mhd, .nrrd and .nhdr, in any case.
    """
    return not path.name.startswith(".") and stem(path.name) != path.name


def stem(name: str) -> str:
    """Name of an image file without its ending; any other name as it is."""
    lower = name.lower()
    for suffix in (".nii.gz", ".nii", *_ITK_SUFFIXES):
        if lower.endswith(suffix):
            return name[: -len(suffix)]
    return name


def contrast_named(name: str) -> str | None:
    """Contrast that a word names in any of the usual ways; None if it names none."""
    return _CONTRAST_OF_WORD.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def names_lesions(name: str) -> bool:
    """Whether a word, such as the header of a column, names a mask of lesions."""
    words = _words(name)
    return any(map(_MASK.fullmatch, words)) and not set(words) & (_BRAIN | _TISSUE)


def names_brain(name: str) -> bool:
    """Whether a word, such as the header of a column, names a mask of the brain."""
    words = _words(name)
    return bool(set(words) & _BRAIN) and (
        any(map(_MASK.fullmatch, words)) or words == ["brain"]
    )


def looks_like_mask(name: str) -> bool:
    """Whether the name of a file speaks of a mask of any kind."""
    return any(map(_MASK.fullmatch, _words(stem(name))))


def kind_of(name: str, n_common: int = 0) -> FileKind:
    """Tell what a file holds by its name.

    The last word that names a contrast counts: what stands before it is the patient's, or
    the study's, such as "T2" in ``P14_T2_FLAIR.nii.gz``.

    Parameters
    ----------
    name : str
        Name of the file.
    n_common : int, default=0
        Number of words at the beginning that say nothing, since all files of the patient
        begin with them.

    Returns
    -------
    FileKind
        What it holds.
    """
    text = stem(name)
    places = [match.span() for match in re.finditer(r"[A-Za-z0-9]+", text)]
    words = [text[start:end].lower() for start, end in places]
    said = words[n_common:]
    if len(said) > 2:
        # T1_to_FLAIR is a T1.
        onto = next((i for i in range(1, len(said) - 1) if said[i] in _ONTO), len(said))
        said = said[:onto]

    def kind(role: str, place: int, contrast: str = "") -> FileKind:
        end = places[n_common + place][0] if said else 0
        return FileKind(role, contrast, text[:end].rstrip("_-. "))

    masks = [i for i, word in enumerate(said) if _MASK.fullmatch(word)]
    brains = [i for i, word in enumerate(said) if word in _BRAIN]
    named = [i for i, word in enumerate(said) if word in _CONTRAST_OF_WORD]
    if set(said) & (_TISSUE | _DERIVED) and not (
        masks and "nwmh" not in said and _lesions(said)
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
    # open_ms names the contrast first, and then all that was done to it.
    place = named[-1]
    contrast = _CONTRAST_OF_WORD[said[place]]
    if place and contrast == "T1ce" and said[place - 1] in ("t1", "t1w"):
        place -= 1
    if contrast == "T1" and _AGENT & set(said[place + 1 : place + 2]):
        contrast = "T1ce"
    return kind(IMAGE, place, contrast)


def n_common_words(names: Sequence[str]) -> int:
    """Number of words with which all the names of several files begin."""
    words = [_words(stem(name)) for name in names]
    if len(words) < 2:
        return 0
    count = 0
    for column in zip(*words):
        if len(set(column)) > 1:
            break
        count += 1
    # The last word of a name says something, whatever the others begin with.
    return min(count, min(map(len, words)) - 1)


def _lesions(words: Sequence[str]) -> bool:
    return any(word.startswith(("lesion", "tumo", "stroke", "infarct")) for word in words)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())
