"""All patients: in parallel, one failure at a time, and again where it stopped."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from joblib import Parallel, delayed

from skadm._files import write_text
from skadm._version import __version__
from skadm.data import Study
from skadm.plotting._style import import_matplotlib
from skadm.raw._itk import import_sitk
from skadm.raw._output_names import Names
from skadm.raw._patient import Preparation

_TITLE = "Scans prepared by skadm for anomaly detection"


@dataclass(frozen=True)
class Outcome:
    """What became of a study."""

    name: str
    # "kept": it was done before, from the same files in the same way
    status: Literal["done", "kept", "failed"]
    folder: Path  # where its files are, if they are
    record: dict[str, Any]  # what was done; empty if it failed
    error: str = ""  # why it failed


def prepare(
    studies: Sequence[Study],
    out: str | Path,
    preparation: Preparation | None = None,
    *,
    n_jobs: int = 1,
    force: bool = False,
) -> Iterator[Outcome]:
    """Prepare the studies of a cohort.

    The folder is a BIDS derivative that `skadm.data.read_any` reads. A study's files
    appear there together, when all are complete; its record names the files they were
    made from, by content. A study with such a record is kept, so that a run that was
    stopped resumes when it is started again. A study that fails does not stop the others.

    Parameters
    ----------
    studies : sequence of Study
        What `skadm.data.find_studies` finds.
    out : path
        Folder of the results; made if it does not exist.
    preparation : Preparation, default=None
        How. None: as the class has it.
    n_jobs : int, default=1
        Processes, as joblib counts them.
    force : bool, default=False
        Whether to prepare again what was prepared from other files or in another way.

    Returns
    -------
    iterator of Outcome
        What became of each study, in their order, as soon as it is known: its `name`, the
        `status` ("done", "failed", or "kept": it was done before), the `folder`, the
        `record` of what was done, and the `error`.

    Raises
    ------
    FileExistsError
        If a study's folder was prepared otherwise and ``force`` is False, or it or ``out``
        holds anything that this function did not write; nothing is prepared then.
    ImportError
        If a package is not installed.
    ValueError
        If there is no study, or two would get the same name or folder.
    """
    preparation = preparation or Preparation()
    import_sitk()
    import_matplotlib()
    preparation.describe()  # says so if HD-BET is not installed
    out = Path(out).expanduser()
    names = _distinct_names(studies)
    for study, target in zip(studies, names):
        if not (out / target.folder).resolve().is_relative_to(out.resolve()):
            raise FileExistsError(
                f"{out / target.folder} is a link that points outside {out}"
            )
        _check_place(out / target.folder, target, study, preparation, force)
    _describe_data_set(out)
    jobs = (
        delayed(_prepare_one)(study, target, out, preparation)
        for study, target in zip(studies, names)
    )
    # All is checked when this is called, not when the first outcome is asked for.
    return Parallel(n_jobs=n_jobs, return_as="generator")(jobs)


def _distinct_names(studies: Sequence[Study]) -> list[Names]:
    if not studies:
        raise ValueError("no study to prepare")
    taken: dict[str, Study] = {}
    names = [Names.of(study) for study in studies]
    for study, target in zip(studies, names):
        other = taken.setdefault(target.stem, study)
        if other is not study:
            raise ValueError(
                f"{other.name!r} and {study.name!r} would both be called {target.stem}: "
                "BIDS has letters and digits only; rename one"
            )
        files = [target.image(contrast) for contrast in study.images]
        if len(set(files)) < len(files):
            raise ValueError(
                f"{study.place}: two of the contrasts {', '.join(study.images)} would get "
                "the same file name; rename one"
            )
    for study, target in zip(studies, names):
        if target.session and (whole := taken.get(target.patient.stem)):
            raise ValueError(
                f"{whole.name!r} would take the folder {target.patient.folder}, in which "
                f"{study.name!r} is a session: name both as sessions, or both as patients"
            )
    return names


def _check_place(
    folder: Path, names: Names, study: Study, preparation: Preparation, force: bool
) -> None:
    """Refuse to replace what is there, unless it is ours and may be replaced."""
    if not folder.exists():
        return
    record = _read_json(folder / names.record)
    written = {names.record, *record.get("outputs", ())}
    strange = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in written
    ]
    if strange or not record:
        what = strange[0] if strange else folder
        raise FileExistsError(
            f"{what} was not written by skadm prepare; choose another folder, or move it"
        )
    if not force and not _is_current(folder, record, study, preparation):
        raise FileExistsError(
            f"{folder} was prepared from other files or in another way; pass --force "
            "(force=True) to prepare it again, or choose another folder"
        )


def _prepare_one(
    study: Study, names: Names, out: Path, preparation: Preparation
) -> Outcome:
    folder = out / names.folder
    # Beside the place it gets when it is complete; hidden, so that no reader finds it.
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        record = _read_json(folder / names.record)
        if record and _is_current(folder, record, study, preparation):
            return Outcome(study.name, "kept", folder, record)
        if unfinished.is_symlink():
            raise FileExistsError(f"{unfinished} is a link; remove it")
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
        record = preparation.run(study, names, unfinished)
        _write_json(unfinished / names.record, record)
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    except Exception as error:  # whatever it is, the other patients go on
        reason = " ".join(str(error).split()) or type(error).__name__
        return Outcome(study.name, "failed", folder, {}, reason)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return Outcome(study.name, "done", folder, record)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_text(path, text)


def _is_current(
    folder: Path, record: dict[str, Any], study: Study, preparation: Preparation
) -> bool:
    try:
        inputs = preparation.fingerprint(study)
    except OSError:
        return False
    return (
        record.get("parameters") == preparation.describe()
        and {name: entry["sha256"] for name, entry in inputs.items()}
        == {name: entry["sha256"] for name, entry in record.get("inputs", {}).items()}
        and all((folder / file).is_file() for file in record.get("outputs", ()))
    )


def _describe_data_set(out: Path) -> None:
    place = out / "dataset_description.json"
    if place.exists():
        if _read_json(place).get("Name") != _TITLE:
            raise FileExistsError(
                f"{place} describes another data set; choose another folder"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    description = {
        "Name": _TITLE,
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "skadm prepare", "Version": __version__}],
    }
    _write_json(place, description)
