"""Benchmarks of all detectors: cache, interruptions, failures, and what the table says."""

import argparse
import csv
import json
import re
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from sklearn.utils import check_random_state

import skadm.detectors
from benchmarks.experiments import compare as compare_benchmark
from benchmarks.lib import budget, data, fingerprints, methods
from benchmarks.speed import cost
from skadm import ADMDetector, IntensityDetector, plotting
from skadm._catalogue import METHODS, Method
from skadm.data import make_phantom
from skadm.presets import PRESETS, make_detector

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow

METRICS = ("auc", "ap", "precision", "recall", "f1", "dice")


class FirstDetector(IntensityDetector):
    """Random weights of the contrasts, quickly drawn; counts its fits."""

    _parameter_constraints = {
        **IntensityDetector._parameter_constraints,
        "random_state": ["random_state"],
    }
    n_fits = 0

    def __init__(self, *, sigma=0.0, contamination=0.01, random_state=None):
        super().__init__(sigma=sigma, contamination=contamination)
        self.random_state = random_state

    def _fit(self, X):
        type(self).n_fits += 1
        generator = check_random_state(self.random_state)
        self.axis_ = generator.uniform(0.2, 1, size=X.shape[1])


class SecondDetector(FirstDetector):
    """The other way round, and fails where it is told to."""

    error, at_seed = None, None

    def _fit(self, X):
        if self.error is not None and self.at_seed in (None, self.random_state):
            raise self.error
        super()._fit(X)
        self.axis_ *= -1


@pytest.fixture
def two_detectors(monkeypatch):
    """`all_detectors` knows two more."""
    added = {"FirstDetector": FirstDetector, "SecondDetector": SecondDetector}
    for name, found in added.items():
        monkeypatch.setattr(found, "n_fits", 0)
        monkeypatch.setattr(skadm.detectors, name, found, raising=False)
        monkeypatch.setitem(PRESETS, name, {"quick": {}})
        monkeypatch.setitem(
            METHODS, name, Method("Drawn.", "none", ("sigma",), "Tests.", ())
        )
    names = [*skadm.detectors.__all__, *added]
    monkeypatch.setattr(skadm.detectors, "__all__", names)


load_stack_once = cache(data.load_stack)


@pytest.fixture
def compare(two_detectors, monkeypatch):
    """The benchmark without figures, and with a phantom made once for all tests."""
    monkeypatch.setattr(compare_benchmark, "draw_figures", lambda *_: None)
    monkeypatch.setattr(data, "load_stack", load_stack_once)
    return compare_benchmark


def arguments(out, *more):
    tiny = ("--size", "16", "--patients", "4", "--slices", "8", "--preset", "quick")
    methods = () if "--methods" in more else ("--methods", "First", "Second")
    return [*tiny, "--seeds", "2", "--out", str(out), *methods, *more]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cells(stdout, side):
    """Cells of a printed table, by method; the note is the last one, if there is any."""
    lines = stdout.split(f"{side}:\n\n")[1].split("\n\n")[0].splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_end_to_end_and_again_from_the_cache(two_detectors, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(
        PRESETS["ADMDetector"], "quick", {"width": 4, "n_blocks": 1, "max_epochs": 1}
    )
    drawn = {}

    def plot_roc(curves, areas):
        drawn.update(curves=curves, areas=areas)
        return real_plot_roc(curves, areas)

    real_plot_roc = plotting.plot_roc
    monkeypatch.setattr(plotting, "plot_roc", plot_roc)
    options = arguments(tmp_path, "--methods", "ADM", "First")
    assert compare_benchmark.main(options) == 0
    first = capsys.readouterr()
    for name in ("compare.csv", "per_patient.csv", "table.md", "roc.png", "montage.png"):
        assert (tmp_path / name).stat().st_size > 300
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["configuration"]["parameters"]["ADM"]["width"] == 4

    baselines = ["FLAIR", "FLAIR, smoothed", "FLAIR + T2", "FLAIR + T2, smoothed"]
    rows = read(tmp_path / "compare.csv")
    assert list(dict.fromkeys(row["method"] for row in rows)) == [
        "ADM",
        "First",
        *baselines,
    ]
    assert len(rows) == 2 * (2 * 2 + 4)
    for side in ("Test", "Validation"):
        shown = cells(first.out, side)
        assert list(shown) == ["ADM", "First", *baselines]
        for method, found in shown.items():
            own = [r for r in rows if (r["method"], r["split"]) == (method, side.lower())]
            assert [r["seed"] for r in own] == ([""] if method in baselines else ["0", "1"])
            for metric, cell in zip(METRICS, found):
                values = np.array([float(row[metric]) for row in own])
                expected = f"{values.mean():.3f}"
                if len(own) > 1:
                    expected += f" ± {np.std(values, ddof=1):.3f}"
                assert cell == ("-" if np.isnan(values.mean()) else expected)
    tested = read(tmp_path / "patients.csv")
    assert {row["method"] for row in tested} == {"First", *baselines}
    with_anomaly = {
        row["patient"]
        for row in read(tmp_path / "per_patient.csv")
        if row["auc"] not in ("", "nan")
    }
    assert {int(row["n"]) for row in tested} == {len(with_anomaly)}
    # A mean curve goes with the mean area.
    for method, (fpr, tpr, _) in drawn["curves"].items():
        aucs = [
            float(row["auc"])
            for row in rows
            if (row["method"], row["split"]) == (method, "test")
        ]
        assert drawn["areas"][method] == pytest.approx(np.mean(aucs))
        assert np.trapezoid(tpr, fpr) == pytest.approx(np.mean(aucs), abs=5e-3)

    monkeypatch.setattr(skadm.base.BaseDetector, "fit", None)  # nothing may be trained
    assert compare_benchmark.main(options) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert again.err.count("found in") == 8


def test_patients_are_averaged_over_seeds_first(compare, tmp_path, capsys):
    assert compare.main(arguments(tmp_path, "--patients", "6")) == 0
    out = capsys.readouterr().out
    assert "over the 2 test patients with an anomaly" in out
    shown = cells(out, "Test")["Second"][-1]
    by_patient = {}
    for row in read(tmp_path / "per_patient.csv"):
        if row["method"] == "Second" and row["auc"]:
            by_patient.setdefault(row["patient"], []).append(float(row["auc"]))
    assert [len(aucs) for aucs in by_patient.values()] == [2, 2]
    means = [np.mean(aucs) for aucs in by_patient.values()]
    assert shown == f"{np.mean(means):.3f} ± {np.std(means, ddof=1):.3f}"


def test_an_interrupted_run_resumes(compare, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as interrupted:
        interrupted.setattr(SecondDetector, "error", KeyboardInterrupt())
        assert compare.main(arguments(tmp_path)) == 130
    assert "the same command resumes" in capsys.readouterr().err
    assert not (tmp_path / "compare.csv").exists()
    assert (FirstDetector.n_fits, SecondDetector.n_fits) == (2, 0)
    assert compare.main(arguments(tmp_path)) == 0
    resumed = capsys.readouterr()
    assert resumed.err.count("found in") == 2
    assert (FirstDetector.n_fits, SecondDetector.n_fits) == (2, 2)
    assert compare.main(arguments(tmp_path / "whole")) == 0
    assert capsys.readouterr().out == resumed.out


def flip_a_byte(content):
    middle = len(content) // 2  # within the maps, the largest part
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("output.pkl")}


@pytest.mark.parametrize(
    "damage", [flip_a_byte, lambda content: content[:400], lambda content: b""]
)
def test_a_damaged_file_is_noticed_and_made_again(compare, tmp_path, capsys, damage):
    assert compare.main(arguments(tmp_path, "--methods", "First")) == 0
    before = capsys.readouterr().out
    for path, content in files_of(tmp_path / "cache").items():
        path.write_bytes(damage(content))
    assert compare.main(arguments(tmp_path, "--methods", "First")) == 0
    assert capsys.readouterr().out == before
    assert FirstDetector.n_fits == 4
    assert compare.main(arguments(tmp_path, "--methods", "First")) == 0
    assert FirstDetector.n_fits == 4  # the new files are whole


def test_changed_methods_are_trained_again(compare, tmp_path, capsys, monkeypatch):
    only_first = arguments(tmp_path, "--methods", "First")
    compare.main(only_first)
    with monkeypatch.context() as changed:
        changed.setitem(PRESETS, "FirstDetector", {"quick": {"sigma": 1.0}})
        compare.main(only_first)
        assert FirstDetector.n_fits == 4
    compare.main([*only_first, "--slices", "9"])
    assert FirstDetector.n_fits == 6
    compare.main([*only_first, "--seeds", "3"])
    assert FirstDetector.n_fits == 7
    capsys.readouterr()
    compare.main(only_first)
    assert FirstDetector.n_fits == 7
    assert capsys.readouterr().err.count("found in") == 6


def test_changed_code_is_another_run(compare, monkeypatch):
    behind = fingerprints.modules_behind(ADMDetector)
    expected = {"base._learning", "neural", "training._trainer"}
    expected |= {"detectors._adm", "nn.density", "nn.spectral"}
    assert {f"skadm.{name}" for name in expected} <= behind
    assert not {"skadm.cli", "skadm.plotting", "skadm.detectors._intensity"} & behind
    detectors = ADMDetector, IntensityDetector
    before = [fingerprints.code_fingerprint(detector) for detector in detectors]
    monkeypatch.setattr(skadm.nn.spectral, "__file__", __file__)  # other content
    after = [fingerprints.code_fingerprint(detector) for detector in detectors]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_code_that_changes_during_a_run_does_not_count(tmp_path):
    file = tmp_path / "module.py"
    file.write_text("old")
    assert fingerprints._source(str(file)) == b"old"
    file.write_text("new")
    assert fingerprints._source(str(file)) == b"old"


def test_a_failing_method_does_not_stop_the_others(compare, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(SecondDetector, "error", RuntimeError("out | of\nluck"))
    options = arguments(tmp_path, "--methods", "Second", "First")
    assert compare.main(options) == 1
    out = capsys.readouterr().out
    note = r"failed: RuntimeError: out \| of luck"
    assert cells(out, "Test")["Second"] == ["-"] * 7 + [note]
    assert cells(out, "Test")["First"][-1] == ""
    assert note in (tmp_path / "table.md").read_text(encoding="utf-8")
    failed = [row for row in read(tmp_path / "compare.csv") if row["error"]]
    assert [(row["method"], row["seed"]) for row in failed] == [
        ("Second", "0"),
        ("Second", "1"),
    ]

    # One seed of two: the other is shown, without a spread, and it is said.
    monkeypatch.setattr(SecondDetector, "at_seed", 1)
    assert compare.main(options) == 1
    shown = cells(capsys.readouterr().out, "Test")["Second"]
    assert shown[-1] == "without Second, seed 1, which failed"
    assert "±" not in shown[0]
    monkeypatch.setattr(SecondDetector, "error", None)
    assert compare.main(options) == 0


def test_a_method_without_the_preset_fails_alone(compare, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PRESETS, "SecondDetector", {"cpu": {}})
    assert compare.main(arguments(tmp_path)) == 1
    shown = cells(capsys.readouterr().out, "Test")
    assert "has no preset 'quick'" in shown["Second"][-1]
    assert float(shown["First"][0].split(" ± ")[0]) > 0


def test_a_subset_leaves_the_others_in_the_cache(compare, tmp_path, capsys):
    compare.main(arguments(tmp_path))
    kept = files_of(tmp_path / "cache")
    assert len(kept) == 8
    capsys.readouterr()
    compare.main(arguments(tmp_path, "--methods", "Second"))
    assert "First" not in capsys.readouterr().out
    assert files_of(tmp_path / "cache") == kept


def test_methods_are_the_classes_without_detector(compare):
    names = methods.method_names()
    assert names["ADM"] == "ADMDetector"
    assert "Intensity" not in names  # it is the baselines
    with pytest.raises(ValueError, match=r"no methods \['Nobody'\]; expected some of"):
        compare.main(["--methods", "Nobody"])


def test_verdict_on_the_baselines_is_that_of_the_rows(compare, tmp_path, capsys):
    compare.main(arguments(tmp_path))
    line = capsys.readouterr().out.splitlines()[-1]
    aucs = {}
    for row in read(tmp_path / "compare.csv"):
        if row["split"] == "test":
            aucs.setdefault(row["method"], []).append(float(row["auc"]))
    means = {method: np.mean(values) for method, values in aucs.items()}
    best = max((name for name in means if "FLAIR" in name), key=means.get)
    beaten = [name for name in ("First", "Second") if means[name] < means[best]]
    told = ", ".join(beaten) if len(beaten) < 2 else f"all ({', '.join(beaten)})"
    expected = f"Best baseline by AUC: {best} ({means[best]:.3f}), above {told}."
    assert line.startswith(expected)


def test_budget_scales_epochs_and_slices(monkeypatch):
    detector = make_detector("ADMDetector", "cpu")
    before = detector.get_params()
    fewer = budget.with_fewer_epochs(detector).get_params()
    assert fewer["max_epochs"] == round(before["max_epochs"] * budget.BUDGET_EPOCHS)
    assert {k for k in before if before[k] != fewer[k]} == {"max_epochs"}
    one = budget.with_fewer_epochs(ADMDetector(max_epochs=1))
    assert one.max_epochs == 1

    stack = make_phantom(n_patients=5, n_slices=12, size=16, random_state=0)
    uneven = stack[10:]  # two slices of the first patient
    assert len(budget.with_fewer_slices(uneven)) == 50
    monkeypatch.setattr(budget, "BUDGET_SLICES", 15)
    kept = budget.with_fewer_slices(uneven)
    names, counts = np.unique(kept.groups, return_counts=True)
    assert counts.tolist() == [1, 4, 4, 4, 4]
    assert kept.z[kept.groups == names[1]].tolist() == [1, 4, 7, 10]


def test_cost_counts_epochs_and_names_failures(
    two_detectors, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(PRESETS["ADMDetector"], "quick", {"width": 4, "max_epochs": 3})
    monkeypatch.setattr(SecondDetector, "error", RuntimeError("broken"))
    chosen = ("--methods", "ADM", "Intensity", "Second")
    options = ("--size", "16", "--preset", "quick", "--slices", "4", "--contrasts", "2")
    assert cost.main([*options, *chosen, "--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    adm, intensity, second = read(tmp_path / "cost.csv")
    assert adm["epochs"] == str(2 * 3)  # translation and density
    assert float(adm["training_s"]) > 6 * float(adm["epoch_ms"]) / 1e3 > 0
    assert float(adm["scoring_ms"]) > 0
    assert intensity["epochs"] == ""
    assert float(intensity["training_s"]) > 0
    assert {key: value for key, value in second.items() if value} == {
        "method": "Second",
        "note": "RuntimeError: broken",
    }
    assert "RuntimeError: broken |" in out
    assert " threads of torch" in out


def test_cost_does_not_depend_on_how_long_the_training_is():
    stack = make_phantom(n_patients=2, n_slices=8, size=32, random_state=0)
    images = stack[data.normal_slices(stack, 4)].X
    assert len(images) == 4
    counted = []
    for max_epochs in (3, 40):
        detector = ADMDetector(width=4, n_blocks=1, max_epochs=max_epochs, random_state=0)
        counted.append(cost.measure(detector, images, repeats=1))
    assert [found["epochs"] for found in counted] == [6, 80]
    longer = 80 * counted[1]["epoch_ms"] / 1e3
    # What is done once is added; that it is not multiplied, no timing can tell for sure.
    assert counted[1]["training_s"] > longer


def test_signed_dae_gets_the_bright_contrasts():
    options = argparse.Namespace(preset="quick", seeds=1, budget=False)
    contrasts = ("T1", "T2", "Flair")
    signed, plain = methods.plan([methods.SIGNED, "DAE"], {}, contrasts, options)
    assert signed.detector.prior == {"T2": 1.0, "Flair": 1.0}
    assert plain.detector.prior is None
    (none,) = methods.plan([methods.SIGNED], {}, ("T1",), options)
    assert "needs FLAIR or T2" in str(none.detector)


@pytest.mark.slow
def test_fingerprint_of_unlabelled_slices_is_that_of_their_values():
    """It is the same in every process, unlike the address of None."""
    code = (
        "from benchmarks.lib.fingerprints import data_fingerprint\n"
        "from skadm.data import make_phantom\n"
        "stack = make_phantom(1, 4, 16, random_state=0)\n"
        "print(data_fingerprint(stack.without_labels()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    stack = make_phantom(1, 4, 16, random_state=0)
    unlabelled = fingerprints.data_fingerprint(stack.without_labels())
    assert done.stdout.strip() == unlabelled
    assert unlabelled != fingerprints.data_fingerprint(stack)
