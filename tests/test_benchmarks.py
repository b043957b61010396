"""The paper's experiments, each on a tiny phantom from end to end, and their page."""

import csv
import importlib
import json
from functools import cache as remembered

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from benchmarks.lib import data
from benchmarks.lib.data import load_split
from benchmarks.lib.options import read_options
from benchmarks.lib.published import PUBLISHED
from skadm.data import ArrayVolume, SliceStack, make_phantom
from skadm.metrics import roc_auc_scorer
from skadm.presets import PRESETS, make_detector

pytest.importorskip("matplotlib")

pytestmark = pytest.mark.slow

TINY = ("--size", "16", "--patients", "6", "--slices", "8", "--preset", "quick")


load_stack_once = remembered(data.load_stack)


@pytest.fixture
def load(monkeypatch):
    """An experiment, by name; ADM and the DAE are tiny, phantoms made once."""
    monkeypatch.setattr(data, "load_stack", load_stack_once)
    monkeypatch.setitem(
        PRESETS["ADMDetector"], "quick", {"width": 4, "n_blocks": 1, "max_epochs": 2}
    )
    monkeypatch.setitem(
        PRESETS["DAEDetector"], "quick", {"width": 4, "n_levels": 2, "max_epochs": 1}
    )
    return lambda name: importlib.import_module(f"benchmarks.experiments.{name}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Runs that several experiments need."""
    return tmp_path_factory.mktemp("cache")


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_record(folder):
    """Every table and figure is there, and the record says what was done on what."""
    record = json.loads((folder / "run.json").read_text())
    assert record["data"]["fingerprint"]
    assert record["versions"]["torch"]
    assert "preset" in record["configuration"]
    assert record["tables"]
    for part in (*record["tables"], *record["figures"]):
        assert (folder / part["file"]).stat().st_size > 50
    return record


def run(load, name, folder, cache, *more):
    main = load(name).main
    assert not main([*TINY, "--out", str(folder), "--cache", str(cache), *more])
    return check_record(folder)


def test_ablation(load, tmp_path, cache):
    run(load, "ablation", tmp_path, cache, "--seeds", "1")
    rows = read(tmp_path / "ablation_test.csv")
    assert [row["method"] for row in rows] == ["ADM_ct", "ADM_dr", "ADM_woj", "ADM"]
    assert len({row["auc"] for row in rows}) == 4  # variants do differ
    (shown,) = [
        row
        for row in read(tmp_path / "published.csv")
        if (row["method"], row["split"]) == ("ADM_dr", "test")
    ]
    assert shown["f1, published, BraTS 2019"] == "0.712"
    # Variants that translate share the translation network.
    stages = next(
        cache.glob("stages-*/joblib/skadm/training/_trainer/Trainer/_train_stage")
    )
    assert len([path for path in stages.iterdir() if path.is_dir()]) == 1 + len(rows)


def test_an_experiment_again_trains_nothing(load, tmp_path, cache, monkeypatch):
    run(load, "ablation", tmp_path, cache, "--seeds", "1")
    monkeypatch.setattr("skadm.base.BaseDetector.fit", None)
    run(load, "ablation", tmp_path, cache, "--seeds", "1")
    run(load, "loss_curves", tmp_path, cache, "--seeds", "1")


def test_adm(load, tmp_path):
    """All combinations of departures; the networks of a seed are trained once."""
    options = ("--seeds", "1", "--folds", "2", "--energy-weights", "5e-3")
    chosen = ("--trainings", "ADM", "EM")
    folder = tmp_path / "cache"
    run(load, "adm", tmp_path, folder, *options, *chosen, "--largest", "6")
    rows = {row["method"]: row for row in read(tmp_path / "adm.csv")}
    assert len(rows) == 2 * 17
    assert len({row["ap"] for row in rows.values()}) == len(rows)
    of_patients = read(tmp_path / "per_patient.csv")
    assert len({row["patient"] for row in of_patients}) == len(of_patients) / len(rows)


def test_largest_slices_are_those_with_most_brain(load):
    stack = make_phantom(2, 9, 32, random_state=0)
    kept = load("adm").largest(stack, 4)
    for patient in np.unique(stack.groups):
        areas = [
            np.sort((part.X != 0).any(axis=1).sum(axis=(1, 2)))[::-1]
            for part in (stack[stack.groups == patient], kept[kept.groups == patient])
        ]
        np.testing.assert_array_equal(areas[0][:4], areas[1])


def test_priors(load, tmp_path, cache):
    run(load, "priors", tmp_path, cache, "--seeds", "1")
    rows = read(tmp_path / "priors_test.csv")
    assert len({row["auc"] for row in rows}) == len(rows) == 4


def test_lesion_sizes_and_losses(load, tmp_path, cache):
    options = ("--seeds", "1", "--methods", "ADM")
    run(load, "lesion_size", tmp_path, cache, *options)
    rows = read(tmp_path / "lesion_size.csv")
    methods = {row["method"] for row in rows}
    assert methods == {"ADM", "FLAIR + T2, smoothed"}
    assert len(rows) == 2 * 8
    run(load, "loss_curves", tmp_path, cache, "--seeds", "1")
    stages = [row["stage"] for row in read(tmp_path / "loss_curves.csv")]
    assert stages == ["translation"] * 2 + ["density"] * 2


def test_postprocessing(load, tmp_path, cache):
    options = ("--seeds", "1", "--methods", "ADM")
    run(load, "postprocessing", tmp_path, cache, *options)
    rows = [r for r in read(tmp_path / "postprocessing.csv") if r["split"] == "test"]
    plain, smoothed = (
        next(r for r in rows if (r["method"], r["filter"]) == ("FLAIR + T2", name))
        for name in ("none", "Gaussian, σ 2")
    )
    # Smoothing intensity is what the smoothed baseline does.
    run(load, "compare", tmp_path, cache, "--methods", "ADM", "--seeds", "1")
    known = {
        row["method"]: float(row["auc"])
        for row in read(tmp_path / "compare.csv")
        if row["split"] == "test"
    }
    assert float(plain["auc"]) == pytest.approx(known["FLAIR + T2"])
    assert float(smoothed["auc"]) == pytest.approx(known["FLAIR + T2, smoothed"], abs=2e-3)


def test_montages_and_explanation(load, tmp_path, cache):
    record = run(load, "explanation", tmp_path / "explanation", cache)
    row = record["tables"][0]["shown"][-1]
    parts = [value for name, value in row.items() if " translation" in name]
    parts += [value for name, value in row.items() if name.startswith(("latent", "base"))]
    assert sum(parts) == pytest.approx(row["anomaly"], rel=1e-4)
    main = load("montages").main
    folder = tmp_path / "montages"
    main([*TINY, "--out", str(folder), "--cache", str(cache), "--methods", "ADM"])
    record = json.loads((folder / "run.json").read_text())
    assert len(record["figures"]) == 4


def test_grid_is_that_of_grid_search(load, tmp_path, cache):
    options = ("--energy-weight", "1e-3", "1e-2", "--n-components", "2", "--folds", "2")
    record = run(load, "grid", tmp_path, cache, *options)
    rows = read(tmp_path / "grid.csv")
    assert [(row["way"], row["energy_weight"]) for row in rows] == [
        ("hold-out", "0.001"),
        ("hold-out", "0.01"),
        ("by patient", "0.001"),
        ("by patient", "0.01"),
    ]
    assert len(record["figures"]) == 2
    # The hold-out by hand.
    split = load_split(read_options("benchmarks.experiments.grid", TINY))
    detector = make_detector(
        "ADMDetector", "quick", random_state=0, energy_weight=1e-3, n_components=2
    ).fit(split.stack[split.learning])
    chosen = split.validation
    expected = roc_auc_scorer(detector, split.stack[chosen], split.labels[chosen])
    assert float(rows[0]["auc"]) == pytest.approx(expected)


def test_choice_without_labels(load, tmp_path, cache):
    run(load, "label_free", tmp_path, cache, "--methods", "GaussianMixture")
    summary, candidates = (
        read(tmp_path / f"{name}.csv") for name in ("label_free", "candidates")
    )
    values = {
        key: np.array([float(row[key]) for row in candidates])
        for key in ("labelled", "synthetic", "likelihood", "test")
    }
    for row in summary:
        own = values[row["criterion"]]
        regret = values["test"][values["labelled"].argmax()] - values["test"][own.argmax()]
        assert float(row["regret"]) == pytest.approx(regret)
        assert float(row["rank correlation, test"]) == pytest.approx(
            spearmanr(own, values["test"]).statistic
        )


def test_singularity(load, tmp_path):
    main = load("singularity").main
    tiny = ("--size", "32", "--patients", "2", "--slices", "8", "--epochs", "3")
    main([*tiny, "--seeds", "1", "--train-slices", "4", "--out", str(tmp_path)])
    check_record(tmp_path)
    rows = read(tmp_path / "singularity.csv")
    assert [row["constraint"] for row in rows] == ["none", "penalty", "floor"]


def test_collapsed_features_are_shown(load, tmp_path, monkeypatch):
    singularity = load("singularity")
    # All features collapse to a point at once, and soon.
    monkeypatch.setitem(singularity.SETTINGS, "energy_weight", 1.0)
    tiny = ("--size", "32", "--patients", "2", "--slices", "8", "--epochs", "40")
    singularity.main([*tiny, "--seeds", "1", "--out", str(tmp_path)])
    rows = {row["constraint"]: row for row in read(tmp_path / "singularity.csv")}
    assert rows["none"]["singular_in_epoch"]
    assert not rows["floor"]["singular_in_epoch"]
    assert rows["floor"]["epochs"] == "40"
    figures = [each["file"] for each in check_record(tmp_path)["figures"]]
    assert figures == ["feature_space.png", "losses.png", "eigenvalues.png"]


def test_conformal(load, tmp_path):
    main = load("conformal").main
    tiny = ("--size", "32", "--patients", "12", "--slices", "4", "--splits", "3")
    main([*tiny, "--alpha", "0.05", "0.3", "--method", "PCA", "--out", str(tmp_path)])
    rows = read(tmp_path / "conformal.csv")
    by_patient = [row for row in rows if row["units"] == "patients"]
    assert {row["note"] for row in by_patient if row["alpha"] == "0.05"} == {
        "too few units for this α"
    }
    rates = [float(row["rate"]) for row in by_patient if row["alpha"] == "0.3"]
    assert len(rates) == 2 * 3
    assert 0 <= np.mean(rates) < 0.6


def test_added_normals(load, tmp_path, cache, monkeypatch):
    with pytest.raises(ValueError, match="patients of both data sets"):
        run(load, "added_normals", tmp_path, cache, "--add", "phantom", "--seeds", "1")

    def load_slices(name, options):
        if name == "phantom":
            return real_load_slices(name, options)
        made = make_phantom(3, 8, 16, contrasts=("FLAIR", "T1"), random_state=9).in_memory()
        return SliceStack.from_volumes(
            [
                ArrayVolume(*volume.read(), patient=f"other {i}", contrasts=("FLAIR", "T1"))
                for i, volume in enumerate(made.volumes)
            ]
        )

    real_load_slices = data.load_slices
    monkeypatch.setattr(data, "load_slices", load_slices)
    record = run(load, "added_normals", tmp_path, cache, "--add", "other", "--seeds", "1")
    assert record["data"]["contrasts"] == ["T1", "FLAIR"]
    rows = read(tmp_path / "added_normals_test.csv")
    own, added = rows
    assert own["n_slices"] == added["n_slices"]
    assert own["auc"] != added["auc"]


def test_augmented_test_sets(load):
    name = load("compare").__name__
    plain = load_split(read_options(name, TINY))
    more = load_split(read_options(name, [*TINY, "--augment-test"]))
    assert more.patients == plain.patients
    np.testing.assert_array_equal(more.stack[more.train].X, plain.stack[plain.train].X)
    assert 2.5 * plain.test.sum() < more.test.sum() <= 3 * plain.test.sum()
    stack, labels = more.stack[more.test], more.labels[more.test]
    originals = [plain.stack[plain.test].X, plain.labels[plain.test]]
    found = [
        any(np.array_equal(image, other) for other in stack.X) for image in originals[0]
    ]
    assert all(found)
    # A lesion stays about as bright against its slice as it was.
    contrast = [
        X[:, -1][y == 1].mean() - X[:, -1][y == 0].mean()
        for X, y in (originals, (stack.X, labels))
    ]
    assert contrast[1] == pytest.approx(contrast[0], rel=0.2)


# The paper's Tables 1 to 4 as printed there, a row for each metric: GMVAE, DSVDD, fanoGAN,
# DAG, DAGc, ADM; then ADM_ct, ADM_dr, ADM_woj, ADM. Means, with their standard deviations.
PAPER = """
1 validation auc: 0.759 0.020, 0.826 0.006, 0.764 0.000, 0.836 0.001, 0.843 0.027, 0.883 0.002
1 validation precision: 0.255 0.051, 0.425 0.023, 0.426 0.014, 0.430 0.029, 0.449 0.062, 0.578 0.042
1 validation recall: 0.519 0.101, 0.597 0.036, 0.392 0.011, 0.587 0.049, 0.618 0.040, 0.574 0.021
1 validation f1: 0.334 0.029, 0.496 0.003, 0.408 0.000, 0.495 0.002, 0.519 0.056, 0.575 0.010
1 test auc: 0.776 0.034, 0.870 0.000, 0.832 0.000, 0.904 0.000, 0.899 0.003, 0.934 0.011
1 test precision: 0.332 0.023, 0.725 0.026, 0.642 0.007, 0.585 0.021, 0.583 0.027, 0.702 0.012
1 test recall: 0.415 0.084, 0.569 0.022, 0.430 0.005, 0.677 0.025, 0.677 0.033, 0.643 0.045
1 test f1: 0.366 0.040, 0.635 0.005, 0.517 0.003, 0.627 0.003, 0.625 0.000, 0.671 0.028
2 validation auc: 0.694 0.016, 0.844 0.003, 0.723 0.001, 0.743 0.002, 0.725 0.004, 0.814 0.014
2 validation precision: 0.240 0.032, 0.382 0.006, 0.554 0.001, 0.523 0.006, 0.419 0.082, 0.414 0.013
2 validation recall: 0.214 0.007, 0.470 0.007, 0.223 0.000, 0.248 0.003, 0.276 0.017, 0.381 0.020
2 validation f1: 0.226 0.015, 0.421 0.006, 0.318 0.000, 0.336 0.003, 0.329 0.017, 0.396 0.016
2 test auc: 0.595 0.025, 0.609 0.008, 0.660 0.000, 0.650 0.000, 0.643 0.003, 0.870 0.010
2 test precision: 0.047 0.006, 0.049 0.002, 0.176 0.001, 0.087 0.002, 0.059 0.002, 0.203 0.027
2 test recall: 0.451 0.075, 0.408 0.026, 0.222 0.001, 0.279 0.017, 0.398 0.021, 0.433 0.005
2 test f1: 0.085 0.009, 0.088 0.004, 0.196 0.001, 0.133 0.001, 0.103 0.002, 0.276 0.025
3 validation auc: 0.861, 0.865, 0.878, 0.883
3 validation precision: 0.527, 0.623, 0.576, 0.578
3 validation recall: 0.522, 0.550, 0.569, 0.574
3 validation f1: 0.521, 0.584, 0.572, 0.575
3 test auc: 0.930, 0.922, 0.933, 0.934
3 test precision: 0.724, 0.797, 0.725, 0.702
3 test recall: 0.607, 0.643, 0.638, 0.653
3 test f1: 0.658, 0.712, 0.678, 0.671
4 validation auc: 0.768, 0.734, 0.787, 0.814
4 validation precision: 0.267, 0.613, 0.300, 0.414
4 validation recall: 0.351, 0.265, 0.367, 0.381
4 validation f1: 0.303, 0.371, 0.330, 0.396
4 test auc: 0.839, 0.662, 0.856, 0.870
4 test precision: 0.122, 0.111, 0.158, 0.203
4 test recall: 0.537, 0.211, 0.455, 0.433
4 test f1: 0.198, 0.145, 0.234, 0.276
"""  # noqa: E501


def test_published_numbers_are_those_of_the_paper():
    order = {
        "comparison": ["GMVAE", "DSVDD", "FAnoGAN", "DAG", "DAGc", "ADM"],
        "ablation": list(PUBLISHED.query("table == 'ablation'").method.unique()),
    }
    n_rows = 0
    for line in PAPER.strip().splitlines():
        key, cells = line.split(": ")
        number, split, metric = key.split()
        table = "comparison" if number in "12" else "ablation"
        data = "BraTS 2019" if number in "13" else "ISLES 2015"
        rows = PUBLISHED[
            (PUBLISHED.table == table)
            & (PUBLISHED.data == data)
            & (PUBLISHED.split == split)
        ].set_index("method")
        for method, cell in zip(order[table], cells.split(", "), strict=True):
            shown = [rows.loc[method, metric], rows.loc[method, f"{metric}_std"]]
            values = [float(value) for value in cell.split()]
            assert shown[: len(values)] == values, (key, method)
            n_rows += 1
    assert n_rows == 4 * 2 * 2 * 6 + 4 * 2 * 2 * 4


def test_published_numbers_are_consistent():
    """F1 is about that of the mean precision and recall: a slip of a digit would show."""
    for row in PUBLISHED.to_dict("records"):
        harmonic = 2 * row["precision"] * row["recall"] / (row["precision"] + row["recall"])
        assert row["f1"] == pytest.approx(harmonic, abs=0.013), row


def test_page(load, tmp_path, cache, monkeypatch):
    run_all = load("run_all")
    options = [*TINY, "--out", str(tmp_path), "--cache", str(cache), "--seeds", "1"]
    run(load, "loss_curves", tmp_path / "loss_curves", cache, "--seeds", "1")

    def fail(parts, **known):
        known["stdout"].write("grid.py: error: no luck <today>\n")
        return type("Done", (), {"returncode": 1})

    monkeypatch.setattr(run_all.subprocess, "run", fail)
    assert run_all.main([*options, "--only", "grid", "added_normals"]) == 1
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "no luck &lt;today&gt;" in page
    assert "Loss curves (Fig. S1)" in page  # of an earlier run
    assert page.count("data:image/png;base64") == 1
    assert "added_normals" not in page  # without a second data set
    commands = [
        run_all.command(name, read_options(run_all.__name__, options))
        for name in ("grid", "conformal")
    ]
    assert "--seeds" not in commands[0]
    assert "--size" not in commands[1]


def test_interval_coverage(load, tmp_path, monkeypatch):
    module = load("interval_coverage")
    monkeypatch.setattr(module, "POPULATION", 5000)
    options = ("--trials", "1000", "--resamples", "60", "--patients", "6", "12")
    module.main([*options, "--out", str(tmp_path)])
    rows = read(tmp_path / "coverage.csv")
    assert [(row["differences"], row["patients"]) for row in rows] == [
        (kind, n) for kind in ("normal", "skewed", "strongly skewed") for n in ("6", "12")
    ]
    assert float(rows[0]["t"]) == pytest.approx(0.95, abs=0.04)
    for row in rows[::2]:
        assert float(row["percentile"]) < float(row["t"])
    normal, *skewed = (float(row["skewness"]) for row in read(tmp_path / "skewness.csv"))
    assert abs(normal) < 0.1 < 1 < min(skewed)


def test_pooled_average_precision_is_that_of_sampled_pixels(load):
    module = load("interval_coverage")
    rng = np.random.default_rng(0)
    patients = module.draw(rng, 3, module.KINDS["skewed"])
    n, weights = 100_000, np.array([2, 0, 1])
    labels, scores = [], []
    for share, level, separation, lag in zip(*patients):
        anomalous = np.arange(n) < share * n
        labels.append(anomalous)
        scores.append(level + rng.normal(size=n) + (separation - lag) * anomalous)
    drawn = np.repeat(np.arange(3), weights)
    expected = average_precision_score(
        np.concatenate([labels[i] for i in drawn]),
        np.concatenate([scores[i] for i in drawn]),
    )
    (found,) = module.pooled_average_precision(patients, patients.lag, weights[None])
    assert found == pytest.approx(expected, abs=0.01)
    alone = module.average_precision(patients.share, patients.separation - patients.lag)
    for own, truth, score in zip(alone, labels, scores):
        assert own == pytest.approx(average_precision_score(truth, score), abs=0.02)
