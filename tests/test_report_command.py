"""The command that writes reports."""

# ruff: noqa: F401, F811 - fixtures

import sys

import pytest
from report_cases import (
    NASTY,
    adm,
    model,
    model_file,
    report,
    scans,
    stack,
    write_table,
    written,
)

import skadm
from skadm.cli import main


def run_report(arguments, capsys):
    code = main(["report", *map(str, arguments)])
    return code, capsys.readouterr()


@pytest.mark.slow
def test_command_names_the_source_of_p_values(written):
    text = " ".join((written / "index.html").read_text().split())
    assert "From normal slices of 2 patients; the minimum possible value is 1 / 3" in text
    assert "skadm report --model" in text


@pytest.mark.slow
def test_pages_are_small(written):
    assert (written / "patients" / "second.html").stat().st_size < 300_000


def test_nothing_is_overwritten(written, scans, model_file, capsys):
    before = (written / "index.html").read_bytes()
    arguments = ["--model", model_file, "--data", scans, "--out", written]
    arguments += ["--patients", "third"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "is not empty; pass --force" in printed.err
    assert (written / "index.html").read_bytes() == before


def test_names_do_not_lead_out(stack, model_file, tmp_path, capsys):
    scans = write_table(tmp_path / "in", stack, names=["a", "../../escaped", "c"])
    out = tmp_path / "out"
    arguments = ["--model", model_file, "--data", scans, "--out", out]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "contains a path separator" in printed.err
    assert not out.exists()
    (tmp_path / "elsewhere").mkdir()
    out.mkdir()
    (out / "patients").symlink_to(tmp_path / "elsewhere")
    arguments += ["--patients", "a", "--force"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "a link to a place outside" in printed.err
    assert not any((tmp_path / "elsewhere").iterdir())


@pytest.mark.slow
def test_least_size_of_regions_is_an_option(scans, model_file, tmp_path, capsys):
    def listed(*options):
        out = tmp_path / f"out{len(options)}{options[-1:]}"
        arguments = ["--model", model_file, "--data", scans, "--patients", "second"]
        code, printed = run_report([*arguments, "--out", out, *options], capsys)
        assert code == 0, printed.err
        rows = (out / "regions.csv").read_text().splitlines()
        page = (out / "patients" / "second.html").read_text()
        return len(rows) - 1, page

    most, page = listed("--min-region", "0")
    assert most > 0
    assert "not listed." not in page
    none, page = listed("--min-region", "2000")
    assert none == 0
    assert "smaller than 2\u202f000 ml, and not listed" in page
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "bad"]
    code, printed = run_report([*arguments, "--min-region", "-1"], capsys)
    assert code == 1
    assert "least size of a region is -1.0 ml; expected 0 or more" in printed.err


def test_comparison_needs_other_patients(scans, model_file, tmp_path, capsys):
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "out"]
    code, printed = run_report([*arguments, "--normal", scans], capsys)
    assert code == 1
    assert "expected other patients" in printed.err
    assert "1 of the patients reported are training patients (third)" in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_comparison_leaves_out_who_is_trained_on_or_reported(
    scans, model_file, tmp_path, capsys
):
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "out"]
    code, printed = run_report(
        [*arguments, "--normal", scans, "--patients", "second"], capsys
    )
    assert code == 0
    assert printed.err.count("scoring normal slices of") == 1
    assert f"scoring normal slices of {NASTY} (1 of 1)" in printed.err
    text = (tmp_path / "out" / "index.html").read_text()
    assert "From normal slices of 1 patient; the minimum possible value is 1 / 2" in text


@pytest.mark.slow
def test_command_says_what_was_supplied(stack, adm, tmp_path, capsys):
    scans = write_table(tmp_path / "in", stack, names=["a", "b", "c"])
    lacks_t2(scans, "phantom-001")
    model, out = tmp_path / "model.skadm", tmp_path / "out"
    adm.training_ = {"patients": ["z"]}
    skadm.save(adm, model)
    arguments = ["--model", model, "--data", scans, "--out", out]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "no file of contrast T2" in printed.err
    assert (
        "pass allow_missing=True when scoring (skadm score and report: --allow-missing)"
        in (printed.err)
    )
    assert not out.exists()
    code, printed = run_report([*arguments, "--allow-missing"], capsys)
    assert code == 0
    assert "b: T2 missing, supplied by translation" in printed.out
    assert printed.out.count("missing") == 1
    for patient in "abc":
        page = (out / "patients" / f"{patient}.html").read_text()
        assert ("T2 missing." in page) == (patient == "b")
    assert (out / "index.html").read_text().count("T2 missing") == 1


def lacks_t2(table, volume):
    """Empty a cell of a table of scans."""
    table.write_text(table.read_text().replace(f"{volume}-T2.nii", ""))


@pytest.mark.slow
def test_patient_that_fails_does_not_stop_the_others(stack, model_file, tmp_path, capsys):
    scans = write_table(tmp_path / "in", stack, names=["a", "<b>", "c"])
    lacks_t2(scans, "phantom-001")
    out = tmp_path / "out"
    arguments = ["--model", model_file, "--data", scans, "--out", out, "--allow-missing"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert "1 of 3 could not be scored: <b>: Input X contains NaN: T2" in printed.err
    pages = {path.name for path in out.rglob("*.html")}
    assert pages == {"index.html", "a.html", "c.html"}
    text = (out / "index.html").read_text()
    assert "<strong>1 could not be scored</strong>" in text
    assert "<li>&lt;b&gt;: Input X contains NaN: T2" in text
    arguments = [*arguments[:5], tmp_path / "none", "--allow-missing", "--patients", "<b>"]
    assert run_report(arguments, capsys)[0] == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("name", "told"), [("PIL.Image", "Pillow"), ("jinja2", "Jinja2")])
def test_missing_libraries_are_named(
    name, told, scans, model_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, name, None)
    arguments = ["--model", model_file, "--data", scans, "--out", tmp_path / "out"]
    code, printed = run_report(arguments, capsys)
    assert code == 1
    assert f"reports need {told}, which is not installed: pip install skadm[report]" in (
        printed.err
    )
    assert not (tmp_path / "out").exists()
