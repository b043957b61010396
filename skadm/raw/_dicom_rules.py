"""Which contrast a DICOM series is: the rules.

Two things speak of a contrast: the parameters of the sequence (`_SEQUENCES`) and what
people wrote (the series description, read as names of files are). Where both speak, they
must agree; where one is silent, the other counts. `_UNWANTED` comes first.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from skadm.data._file_kinds import IMAGE, kind_of
from skadm.raw._dicom_headers import Series

CONTRASTS = ("T1", "T1ce", "T2", "PD", "FLAIR", "DWI", "ADC")
_FEWEST_SLICES = 4
_WITHOUT_AGENT = "pre|nativ|native|without|wo|w o|non|no|plain"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_NOT_HEAD = "spine|knee|abdomen|pelvis|shoulder|breast|prostate|liver|heart|chest|hip"
_NONE = (None, None)
_ANY = (0.0, 1e9)


class _Unwanted(NamedTuple):
    """Why a series is left out: any of three things says it."""

    reason: str
    kinds: str = ""  # parts of ImageType, separated by |
    words: str = ""  # pattern of words of the description
    holds: Callable[[Series], bool] | None = None


_UNWANTED = (
    _Unwanted("not MR", holds=lambda s: s.modality != "MR"),
    _Unwanted(
        "a secondary capture", holds=lambda s: s.sop_class.startswith(_SECONDARY_CAPTURE)
    ),
    _Unwanted("not of the head", holds=lambda s: bool(re.search(_NOT_HEAD, s.body_part))),
    _Unwanted("a localiser", "LOCALIZER", "loc|locali[sz]er|scout|survey|smartbrain"),
    _Unwanted("a calibration", "", "calibration|asset|cal|shim|b1|field ?map|fmap"),
    _Unwanted(
        "angiography", "", "tof|mra|mrv|angio(graphy)?|venogram", lambda s: s.angiography
    ),
    _Unwanted("a projection", "PROJECTION IMAGE|MIP|MNIP", "mip|minip"),
    _Unwanted(
        "a reformatted image",
        "MPR|REFORMATTED|CSA MPR",
        "reformat(ted)?",
        # The acquisition may be called MPR as well, for MPRAGE.
        lambda s: _is_derived(s) and _says(s, "mpr"),
    ),
    _Unwanted("a difference of images", "SUBTRACTION", "sub|subtraction"),
    _Unwanted("no magnitude image", "P|PHASE|PHASE MAP|I|IMAGINARY|R|REAL"),
    _Unwanted(
        "a map of diffusion that is no ADC",
        "FA|COLFA|TENSOR|TENSOR_B0|EADC|EXP",
        "colfa|tensor|eadc",
        # Of other sequences FA is the flip angle.
        lambda s: "EP" in s.sequence and _says(s, "fa"),
    ),
    _Unwanted(
        "perfusion or function",
        "CBF|CBV|RCBV|MTT|TTP|PBP|ASL|PERFUSION",
        "perf(usion)?|dsc|dce|asl|cbf|r?cbv|mtt|ttp|bold|fmri|resting",
    ),
    _Unwanted("susceptibility", "SWI", r"swi|swan|qsm|t2 ?star|t2\*"),
    _Unwanted("several inversions", "", "dir|double ir|double inversion|inv ?[12]"),
    _Unwanted(
        "fat suppression by a short inversion time",
        holds=lambda s: "GR" not in s.sequence and _within(s.ti, (50, 350)),
    ),
    _Unwanted("a quantitative map", "T1 MAP|T2 MAP|T1_MAP|T2_MAP", "t[12] ?map"),
)


class _Sequence(NamedTuple):
    """Parameters that make a contrast; times in ms."""

    contrast: str
    name: str
    family: str  # in ScanningSequence
    te: tuple[float | None, float | None]
    tr: tuple[float | None, float | None]
    ti: tuple[float | None, float | None]  # (None, None): no inversion
    variant: frozenset[str] = frozenset()  # one of them, where SequenceVariant is stated


_SPOILED = frozenset({"SP", "MP", "OSP"})  # others are balanced, such as CISS and FIESTA
# The first row that fits.
_SEQUENCES = (
    #         contrast  name                     family  TE     TR            TI
    _Sequence("FLAIR", "inversion recovery", "", (60, 700), (4000, 2e4), (1500, 3500)),
    _Sequence("T1", "inversion recovery", "SE", (0, 40), _ANY, (400, 1400)),
    _Sequence("T1", "prepared gradient echo", "GR", (0, 12), _ANY, (400, 1400), _SPOILED),
    _Sequence("T1", "spoiled gradient echo", "GR", (0, 12), (0, 400), _NONE, _SPOILED),
    _Sequence("T1", "spin echo", "SE", (0, 35), (200, 1400), _NONE),
    _Sequence("PD", "spin echo", "SE", (0, 45), (1800, 2e4), _NONE),
    _Sequence("T2", "spin echo", "SE", (65, 700), (1800, 2e4), _NONE),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What a series is taken for."""

    contrast: str  # "" if it is left out
    # 3: the usual image of its contrast; 2: sure; 1: derived from others; 0: not sure
    certainty: int
    evidence: str  # why


def judge(series: Series) -> Verdict:
    """Tell the contrast of a series, or why it is none that is wanted."""
    for row in _UNWANTED:
        if (
            set(row.kinds.split("|")) & set(series.image_type) - {""}
            or (row.words and _says(series, row.words))
            or (row.holds and row.holds(series))
        ):
            return Verdict("", 2, row.reason)
    if series.uneven:
        return Verdict("", 2, series.uneven)
    if series.n_slices < _FEWEST_SLICES:
        return Verdict("", 2, f"{series.n_slices} slices only")
    if (diffusion := _diffusion(series)) is not None:
        return diffusion
    if series.n_volumes > 1:
        return Verdict(
            "", 2, f"{series.n_volumes} images at each place: over time, or echoes"
        )
    by_parameters, how = _by_parameters(series)
    by_words = _by_words(series)
    if by_parameters == "T1" and series.agent:
        by_parameters, how = "T1ce", f"{how}, contrast agent {series.agent}"
    elif by_parameters == "T1" and by_words == "T1ce":
        by_parameters = "T1ce"  # the agent is not always entered
    if by_parameters == "T1ce" and by_words == "T1" and not _says(series, _WITHOUT_AGENT):
        by_words = ""  # of T1 it speaks, and not of the agent
    stated = _stated(series)
    if not by_parameters and not by_words:
        return Verdict(
            "",
            2,
            f"neither its parameters ({stated}) nor its description say which contrast",
        )
    if not by_parameters and series.te is not None and series.tr is not None:
        return Verdict(
            by_words,
            0,
            f"its parameters ({stated}) are of no contrast; its description says "
            f"{by_words}",
        )
    if by_parameters and by_words and by_parameters != by_words:
        return Verdict(
            by_parameters,
            0,
            f"its parameters ({stated}) say {by_parameters}, {how}; its description "
            f"{by_words}",
        )
    parts = []
    if by_parameters:
        parts.append(f"{how} ({stated})")
    if by_words:
        parts.append(f"its description says {by_words}")
    derived = _is_derived(series)
    if derived:
        parts.append("derived from other images")
    return Verdict(by_parameters or by_words, 1 if derived else 2, "; ".join(parts))


def _diffusion(series: Series) -> Verdict | None:
    """Diffusion-weighted images and their maps; None of others."""
    words = _by_words(series, _DIFFUSION_WORDS)
    if _kind(series, "ADC", "ADC_UNSPECIFIED") or (words == "ADC" and _is_derived(series)):
        return Verdict(
            "ADC", 2, "the image type or the description says ADC, derived by the scanner"
        )
    if words == "ADC":
        return Verdict(
            "ADC", 0, "its description says ADC, and its image type not that it is derived"
        )
    weighted = bool(re.match(r"\*?ep_?b\d", series.sequence_name)) or _kind(
        series, "DIFFUSION", "TRACEW", "TRACE"
    )
    highest = max(series.b_values, default=0.0)
    if not (weighted or highest > 0 or words == "DWI"):
        return None
    if series.b_values and highest == 0:
        return Verdict("", 2, "diffusion without weighting (b = 0)")
    found = f"b up to {highest:g} s/mm²" if series.b_values else "no b-value stated"
    if _kind(series, "TRACEW", "TRACE"):
        return Verdict("DWI", 3, f"trace-weighted diffusion, {found}")
    how = (
        "by its image type or sequence" if weighted or highest > 0 else "by its description"
    )
    return Verdict("DWI", 2, f"diffusion {how}, {found}")


# As people write them; ADC is looked for first.
_DIFFUSION_WORDS = (
    ("ADC", "adc|apparent diffusion.*"),
    ("DWI", "dwi|diff(usion)?|dti|tracew?|resolve"),
)


def _by_words(series: Series, words: tuple[tuple[str, str], ...] = ()) -> str:
    """The contrast that the description names; "" if it names none."""
    if words:
        return next((name for name, pattern in words if _says(series, pattern)), "")
    if _says(series, "t1 ?flair"):  # an inversion that makes T1 stronger
        return "T1"
    kind = kind_of(series.said)
    return kind.contrast if kind.role == IMAGE and kind.contrast in CONTRASTS else ""


def _by_parameters(series: Series) -> tuple[str, str]:
    """The contrast by TE, TR and TI, and the name of the row."""
    if series.te is None or series.tr is None:
        return "", ""
    # IR alone does not say how the echo is made, nor RM (research mode) anything.
    families = series.sequence - {"IR", "RM"}
    for row in _SEQUENCES:
        if (
            (not families or not row.family or row.family in families)
            and _within(series.te, row.te)
            and _within(series.tr, row.tr)
            and (series.ti is None if row.ti == _NONE else _within(series.ti, row.ti))
            and not (
                "IR" in series.sequence and row.ti == _NONE and "GR" not in series.sequence
            )
            and (not row.variant or not series.variant or row.variant & series.variant)
        ):
            return row.contrast, row.name
    return "", ""


def _stated(series: Series) -> str:
    times = (("TR", series.tr), ("TE", series.te), ("TI", series.ti))
    stated = [f"{name} {ms:g} ms" for name, ms in times if ms is not None]
    return (
        ", ".join(["+".join(sorted(series.sequence)), *stated]).strip(", ") or "none stated"
    )


def _within(value: float | None, limits: tuple[float | None, float | None]) -> bool:
    low, high = limits
    return (
        value is not None and low is not None and high is not None and low <= value <= high
    )


def _is_derived(series: Series) -> bool:
    return series.image_type[:1] == ("DERIVED",)


def _kind(series: Series, *kinds: str) -> bool:
    return bool(set(series.image_type) & set(kinds))


def _says(series: Series, pattern: str) -> bool:
    """Whether words of the description, one or more in a row, are as a pattern says."""
    text = re.sub(r"[^a-z0-9*]+", " ", series.said.lower())
    return bool(re.search(rf"(?<![a-z0-9*])({pattern})(?![a-z0-9*])", text))
