"""Pages: what was found, as HTML."""

import base64
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skadm.report._configuration import Setting
from skadm.report._display import PLANES
from skadm.report._evidence import PARTS
from skadm.report._examine import PatientReport, Summary
from skadm.report._libraries import jinja

COUNTS = ("lesions", "lesions found", "false regions")


def patient_page(
    report: PatientReport, settings: Sequence[Setting], p_value_note: str | None = None
) -> str:
    """Write the page of a patient.

    Parameters
    ----------
    report : PatientReport
        What `examine` found.
    settings : sequence of Setting
        Configuration to show.
    p_value_note : str, default=None
        What the p-values are from. None: the page says that there are none.

    Returns
    -------
    str
        A whole HTML file.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    return _render(
        "patient.html",
        scripts=("theme.js", "viewer.js"),
        report=report,
        planes=PLANES,
        settings=settings,
        p_value_note=p_value_note,
    )


def cohort_page(
    summaries: Sequence[Summary],
    settings: Sequence[Setting],
    p_value_note: str | None = None,
    failures: Mapping[str, str] | None = None,
) -> str:
    """Write the page of the cohort, which links to ``patients/<name>.html``.

    Parameters
    ----------
    summaries : sequence of Summary
        Of the patients, in any order; the page has the most suspicious first.
    settings : sequence of Setting
        Configuration to show.
    p_value_note : str, default=None
        What the p-values are from. None: the page says that there are none.
    failures : mapping of str to str, default=None
        Volumes that could not be scored, and why.

    Returns
    -------
    str
        A whole HTML file.

    Raises
    ------
    ImportError
        If Jinja2 is not installed.
    """
    ranked = sorted(summaries, key=lambda summary: (-summary.suspicion, summary.name))
    return _render(
        "cohort.html",
        scripts=("theme.js",),
        summaries=ranked,
        means=_means(ranked),
        settings=settings,
        p_value_note=p_value_note,
        failures=failures or {},
    )


def _means(summaries: Sequence[Summary]) -> list[tuple[str, float, float, int]]:
    """Name, mean, standard deviation and number of each metric over patients."""
    measured = [summary.metrics for summary in summaries if summary.metrics is not None]
    rows = []
    for name in measured[0] if measured else ():
        values = np.array([metrics[name] for metrics in measured])
        values = values[np.isfinite(values)]
        if name in COUNTS or not values.size:
            continue
        spread = float(values.std(ddof=1)) if values.size > 1 else math.nan
        rows.append((name, float(values.mean()), spread, values.size))
    return rows


def _render(template: str, *, scripts: Sequence[str], **content: Any) -> str:
    jinja2 = jinja()
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("skadm.report"),
        autoescape=True,  # names of patients are names of files: anything
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "figures": _figures}
    style, *code = (
        environment.loader.get_source(environment, name)[0]
        for name in ("style.css", *scripts)
    )
    return environment.get_template(template).render(
        style=style,
        scripts=code,
        # Only these scripts run, and nothing is loaded from anywhere.
        policy="; ".join(
            [
                "default-src 'none'",
                "img-src data:",
                "style-src 'unsafe-inline'",
                f"script-src {' '.join(map(_hash, code))}",
            ]
        ),
        grouped=[
            (heading, list(lines))
            for heading, lines in itertools.groupby(
                content["settings"], key=lambda setting: setting.group
            )
        ],
        counts=COUNTS,
        parts=PARTS,
        **content,
    )


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _figures(value: float) -> str:
    """Three significant figures, where they are not too small to matter."""
    whole_digits = math.floor(math.log10(abs(value))) if value else 0
    return _number(value, min(max(2 - whole_digits, 0), 4))


def _number(value: float | None, digits: int = 3) -> str:
    """A number for people; a dash for what is not defined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−").replace(",", "\u202f")
