"""The protocol: who is trained on, where thresholds come from, what rows hold."""

import json

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn.base import clone
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics import precision_recall_curve as sklearn_pr_curve
from sklearn.pipeline import make_pipeline

from benchmarks.experiments.compare import baseline_verdict
from skadm import IntensityDetector
from skadm.evaluation import (
    evaluate,
    evaluate_split,
    format_table,
    intensity_baselines,
    patient_split,
    summarise_seeds,
    verdict,
)
from skadm.evaluation._tables import summarise_patients
from skadm.model_selection import set_offset_by_f1
from skadm.preprocessing import SliceResizer

ROW_KEYS = [
    *("method", "supervision", "split", "seed", "auc", "ap"),
    *("precision", "recall", "f1", "dice"),
    *("threshold", "n_patients", "n_slices"),
]


class Recording(IntensityDetector):
    """Remembers what it was trained on."""

    def fit(self, X, y=None):
        self.seen_ = np.array(X), np.array(y)
        return super().fit(X, y)


@pytest.fixture
def cohort():
    """Four patients of six slices: two with a lesion, one without brain; labels, names."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 2, 12, 12)).astype(np.float32)
    X[:, :, :2] = 0
    X[5::6] = 0
    y = np.zeros((24, 12, 12), np.int8)
    for first in range(0, 24, 6):
        y[first : first + 2, 4:8, 4:7] = 1
    X[:, 1][y == 1] += 1.5
    y[:, :2] = -1
    y[5::6] = -1
    return X, y, np.repeat(["a", "b", "c", "d"], 6)


@pytest.fixture
def sides(cohort):
    groups = cohort[2]
    return {"train": np.isin(groups, ["a", "c"]), "test": np.isin(groups, ["b", "d"])}


def bright():
    return {"bright": IntensityDetector(prior={1: 1.0})}


def test_split_keeps_patients_apart():
    groups = np.repeat([f"p{i}" for i in range(9)], np.arange(1, 10))
    for seed in range(5):
        train, test = patient_split(groups, random_state=seed)
        assert not set(groups[train]) & set(groups[test])
        assert (train ^ test).all()
        assert len(set(groups[test])) == 3


def test_split_follows_the_seed():
    groups = np.arange(30).astype(str)
    first, again, other = (
        patient_split(groups, random_state=seed)[1] for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_split_does_not_depend_on_the_order_of_slices():
    groups = np.repeat(list("abcdef"), 3)
    shuffled = np.random.default_rng(0).permutation(groups)
    test, other = (patient_split(g, random_state=3)[1] for g in (groups, shuffled))
    assert set(groups[test]) == set(shuffled[other])


@pytest.mark.parametrize(
    ("groups", "fraction", "message"),
    [
        (["a", "a"], 0.5, r"needs at least 2 patients; found 1: \['a'\]"),
        (["a", "b", "c"], 0.1, r"test_fraction=0.1 of 3 patients leaves the test side"),
        (["a", "b", "c"], 0.9, r"of 3 patients leaves the training side"),
        (["a", "b", "c"], 1.5, r"test_fraction=1.5"),
        ([["a", "b"]], 0.5, r"groups have shape \(1, 2\)"),
    ],
)
def test_split_that_cannot_be(groups, fraction, message):
    with pytest.raises(ValueError, match=message):
        patient_split(groups, test_fraction=fraction, random_state=0)


def test_rows_equal_scikit_learn(cohort, sides):
    X, y, groups = cohort
    found = evaluate_split(bright(), X, y, groups, seed=7, **sides)
    assert [row["split"] for row in found.rows] == ["validation", "test"]
    assert all(list(row) == ROW_KEYS for row in found.rows)
    abnormal = (y == 1).any(axis=(1, 2))
    slices = {"validation": sides["train"] & abnormal, "test": sides["test"]}

    # The threshold by hand: the best F1 of all cuts on the validation pixels.
    brain = slices["validation"][:, None, None] & (y >= 0)
    truth, anomaly = y[brain], X[:, 1][brain]
    precision, recall, cuts = sklearn_pr_curve(truth, anomaly)
    f1 = 2 * precision * recall / (precision + recall)
    cut = cuts[np.argmax(f1[:-1])]

    for row in found.rows:
        brain = slices[row["split"]][:, None, None] & (y >= 0)
        truth, anomaly = y[brain], X[:, 1][brain]
        flagged = anomaly >= cut
        assert row["auc"] == pytest.approx(roc_auc_score(truth, anomaly), abs=1e-9)
        assert row["ap"] == pytest.approx(average_precision_score(truth, anomaly), abs=1e-9)
        assert row["precision"] == pytest.approx(precision_score(truth, flagged))
        assert row["recall"] == pytest.approx(recall_score(truth, flagged))
        assert row["f1"] == pytest.approx(f1_score(truth, flagged))
        precision, recall, _ = sklearn_pr_curve(truth, anomaly)
        best = np.max(2 * precision * recall / (precision + recall))
        assert row["dice"] == pytest.approx(best)
        assert (row["method"], row["seed"], row["n_patients"]) == ("bright", 7, 2)
    assert [row["n_slices"] for row in found.rows] == [4, 10]  # empty ones do not count


def test_patient_rows_are_those_of_each_test_patient(cohort, sides):
    X, y, groups = cohort
    y = y.copy()
    y[groups == "d"] = np.where(y[groups == "d"] == 1, 0, y[groups == "d"])
    found = evaluate_split(bright(), X, y, groups, **sides)
    b, d = found.patient_rows
    assert (b["patient"], d["patient"]) == ("b", "d")
    assert set(b) == {*ROW_KEYS, "patient", "flagged_share", "expected_share"}
    assert b["flagged_share"] == pytest.approx(
        (-X[:, 1][(groups == "b")[:, None, None] & (y >= 0)] < b["threshold"]).mean()
    )
    (detector,) = found.detectors.values()
    assert b["expected_share"] == detector.training_scores_.expected(b["threshold"])
    brain = (groups == "b")[:, None, None] & (y >= 0)
    assert b["auc"] == pytest.approx(roc_auc_score(y[brain], X[:, 1][brain]))
    assert b["threshold"] == found.rows[0]["threshold"]
    assert np.isnan([d["auc"], d["ap"], d["recall"], d["dice"]]).all()
    assert (d["n_patients"], d["n_slices"]) == (1, 5)


def test_training_sees_normal_slices_of_training_patients_only(cohort, sides):
    X, y, groups = cohort
    original = {"method": Recording(prior={1: 1.0})}
    found = evaluate_split(original, X, y, groups, **sides)
    seen, labels = found.detectors["method"].seen_
    normal = sides["train"] & (y == 0).any(axis=(1, 2)) & ~(y == 1).any(axis=(1, 2))
    np.testing.assert_array_equal(seen, X[normal])
    assert not (labels == 1).any()
    assert not hasattr(original["method"], "seen_")


def test_who_looks_at_abnormal_slices_is_not_told_where(cohort, sides, monkeypatch):
    X, y, groups = cohort
    monkeypatch.setattr(Recording, "_uses_abnormal_slices", True)
    original = {"method": Recording(prior={1: 1.0})}
    found = evaluate_split(original, X, y, groups, **sides)
    seen, labels = found.detectors["method"].seen_
    with_brain = sides["train"] & (y >= 0).any(axis=(1, 2))
    np.testing.assert_array_equal(seen, X[with_brain])
    abnormal = (y[with_brain] == 1).any(axis=(1, 2))
    np.testing.assert_array_equal(labels[~abnormal], y[with_brain][~abnormal])
    brain = y[with_brain][abnormal] >= 0
    np.testing.assert_array_equal(labels[abnormal], np.where(brain, 1, -1))
    assert not hasattr(original["method"], "seen_")


def test_threshold_does_not_see_the_test_side(cohort, sides):
    X, y, groups = cohort
    other_X, other_y = X.copy(), y.copy()
    test = np.flatnonzero(sides["test"])
    rng = np.random.default_rng(1)
    for index in test:
        brain = y[index] >= 0
        other_y[index][brain] = rng.permutation(y[index][brain])
    other_X[test] *= 3
    plain, changed = (
        evaluate_split(bright(), *data, groups, **sides)
        for data in ((X, y), (other_X, other_y))
    )
    assert plain.rows[0] == changed.rows[0]
    assert plain.rows[1]["threshold"] == changed.rows[1]["threshold"]
    assert plain.rows[1]["auc"] != changed.rows[1]["auc"]


def test_threshold_follows_the_validation_side(cohort, sides):
    X, y, groups = cohort
    other = X.copy()
    other[sides["train"] & (y == 1).any(axis=(1, 2))] *= 2
    plain, changed = (
        evaluate_split(bright(), data, y, groups, **sides) for data in (X, other)
    )
    assert plain.rows[1]["threshold"] != changed.rows[1]["threshold"]
    assert plain.rows[1]["auc"] == changed.rows[1]["auc"]


def test_background_is_not_measured_whatever_its_label(cohort, sides):
    X, y, groups = cohort
    careless = np.where(y == -1, 0, y)
    assert (
        evaluate_split(bright(), X, careless, groups, **sides).rows
        == evaluate_split(bright(), X, y, groups, **sides).rows
    )


@pytest.mark.slow
def test_a_stack_brings_labels_and_patients():
    from skadm.data import make_phantom

    stack = make_phantom(3, 8, 24, lesion_fraction=1.0, random_state=0).in_memory()
    train = stack.groups != "phantom-001"
    sides = {"train": train, "test": ~train}
    methods, _ = intensity_baselines(stack.contrasts)
    found = evaluate_split(methods, stack, **sides)
    arrays = {"FLAIR + T2": IntensityDetector(prior={2: 1.0, 3: 1.0})}
    same = evaluate_split(arrays, stack.X, stack.y, stack.groups, **sides)
    chosen = [row for row in found.rows if row["method"] == "FLAIR + T2"]
    assert chosen == same.rows
    assert found.maps["FLAIR"].shape == (8, 24, 24)
    assert set(found.seconds) == set(methods)


def test_evaluate_leaves_the_threshold_alone(cohort):
    X, y, groups = cohort
    detector = bright()["bright"].fit(X, y)
    detector.offset_ = -0.5
    found = evaluate({"bright": detector}, X, y, groups, split="other", seed=3)
    (row,) = found.rows
    assert (row["split"], row["seed"], row["threshold"]) == ("other", 3, -0.5)
    brain = y >= 0
    assert row["f1"] == pytest.approx(f1_score(y[brain], X[:, 1][brain] > 0.5))
    assert found.maps["bright"].shape == y.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, sides: sides.update(train=~sides["test"] | sides["test"]), "both sides"),
        (lambda y, sides: sides.update(test=np.zeros(24, int)), "test is int64 of shape"),
        (lambda y, sides: y.__setitem__(y == 1, 0), "no slice with an anomaly to set the"),
        (
            lambda y, sides: _clear(y, sides["test"]),
            r"no slice with an anomaly to test on among the test patients \(b, d\)",
        ),
        (
            lambda y, sides: y.__setitem__((slice(None), 5, 5), 1),
            r"no normal slice to train on among the training patients \(a, c\)",
        ),
    ],
)
def test_missing_inputs_raise_before_training(cohort, sides, change, message):
    X, y, groups = cohort
    X = np.where(X == 0, 1e-3, X).astype(np.float32)  # brain in every slice
    y = y.copy()
    change(y, sides)
    with pytest.raises(ValueError, match=message):
        evaluate_split({"untouched": None}, X, y, groups, **sides)


def _clear(y, slices):
    y[slices] = np.minimum(y[slices], 0)


def test_errors_of_evaluate(cohort):
    X, y, groups = cohort
    detectors = {"bright": bright()["bright"].fit(X, y)}
    with pytest.raises(ValueError, match="detectors is empty"):
        evaluate({}, X, y, groups)
    with pytest.raises(ValueError, match="no masks; pass y"):
        evaluate(detectors, X, None, groups)
    with pytest.raises(ValueError, match="no patients; pass groups"):
        evaluate(detectors, X, y)
    with pytest.raises(ValueError, match=r"groups have shape \(3,\); expected \(24,\)"):
        evaluate(detectors, X, y, groups[:3])
    with pytest.raises(ValueError, match=r"y must have shape \(24, 12, 12\)"):
        evaluate(detectors, X, y[:2], groups)


def test_baselines_say_what_is_missing():
    detectors, left_out = intensity_baselines(["T1", "flair", "T2"])
    assert list(detectors) == [
        "FLAIR", "FLAIR, smoothed", "FLAIR + T2", "FLAIR + T2, smoothed"
    ]  # fmt: skip
    assert detectors["FLAIR + T2, smoothed"].prior == ["flair", "T2"]
    assert [d.sigma for d in detectors.values()] == [0, 2, 0, 2]
    assert not left_out
    detectors, left_out = intensity_baselines(["FLAIR", "T1"])
    assert list(detectors) == ["FLAIR", "FLAIR, smoothed"]
    assert left_out == {"FLAIR + T2": "no T2", "FLAIR + T2, smoothed": "no T2"}
    assert intensity_baselines(["T1"])[1]["FLAIR + T2"] == "no FLAIR and no T2"


def test_offset_by_f1_on_a_pipeline(cohort):
    X, y, _ = cohort
    resizer = SliceResizer(10)
    small = resizer.fit(X).transform_labels(y)
    pipeline = make_pipeline(resizer, IntensityDetector(prior={1: 1.0})).fit(X, small)
    alone = clone(pipeline[-1]).fit(resizer.transform(X), small)
    assert set_offset_by_f1(alone, resizer.transform(X), small) is alone
    before = pipeline[-1].offset_
    assert set_offset_by_f1(pipeline, X, small) is pipeline
    assert pipeline[-1].offset_ == alone.offset_ != before


def test_offset_by_f1_is_the_best_there_is(cohort):
    X, y, _ = cohort
    detector = set_offset_by_f1(bright()["bright"].fit(X, y), X, y)
    brain = y >= 0
    flagged = detector.predict(X)[brain] == -1
    precision, recall, _ = sklearn_pr_curve(y[brain], X[:, 1][brain])
    best = np.max(2 * precision * recall / (precision + recall))
    assert f1_score(y[brain], flagged) == pytest.approx(best)


def test_offset_by_f1_needs_anomalies(cohort):
    X, y, _ = cohort
    detector = bright()["bright"].fit(X, y)
    with pytest.raises(ValueError, match="no anomalous pixel"):
        set_offset_by_f1(detector, X, np.minimum(y, 0))


def test_table_is_aligned_and_shows_notes():
    rows = [
        {"method": "A", "split": "test", "auc": 0.12345, "n_slices": 5, "threshold": -1.0},
        {
            "method": "long",
            "split": "test",
            "auc": np.nan,
            "n_slices": 12,
            "threshold": None,
        },
        {"method": "B", "split": "test", "note": "no T2"},
    ]
    assert format_table(rows).splitlines() == [
        "method    split      AUC    slices    threshold  note",
        "--------  -------  -----  --------  -----------  ------",
        "A         test     0.123         5       -1.000",
        "long      test         -        12            -",
        "B         test         -         -            -  no T2",
    ]
    assert format_table([]) == ""


def test_numbers_that_are_text_stay_as_they_are():
    rows = [{"size": "1.50", "n": 3}, {"size": "12", "n": None}]
    assert [line.split() for line in format_table(rows).splitlines()[2:]] == [
        ["1.50", "3"],
        ["12", "-"],
    ]


def test_summary_over_patients():
    rows = [
        {"method": "A", "auc": auc, "ap": ap}
        for auc, ap in ((0.5, 0.1), (0.9, 0.3), (np.nan, np.nan))
    ]
    (summary,) = summarise_patients(rows)
    assert summary == pytest.approx(
        {
            "method": "A",
            "n_patients": 2,
            "auc_mean": 0.7,
            "auc_std": np.std([0.5, 0.9], ddof=1),
            "auc_min": 0.5,
            "ap_mean": 0.2,
            "ap_std": np.std([0.1, 0.3], ddof=1),
        }
    )
    (nobody,) = summarise_patients(rows[2:])
    assert nobody["n_patients"] == 0
    assert np.isnan(nobody["auc_mean"])


def test_markdown_escapes():
    rows = [
        {"method": "A|B", "auc": 0.5, "n_slices": 5},
        {"method": "C", "note": "failed:\nno luck"},
    ]
    assert format_table(rows, markdown=True).splitlines() == [
        "| method   |   AUC |   slices | note            |",
        "|:---------|------:|---------:|:----------------|",
        r"| A\|B     | 0.500 |        5 |                 |",
        "| C        |     - |        - | failed: no luck |",
    ]


def test_summary_over_seeds(cohort, sides):
    X, y, groups = cohort
    runs = []
    for seed, contrast in enumerate((0, 1, 1)):
        detectors = {"bright": IntensityDetector(prior={contrast: 1.0})}
        runs.append(evaluate_split(detectors, X, y, groups, seed=seed, **sides))
    summary = summarise_seeds([row for run in runs for row in run.rows])
    assert [row["split"] for row in summary] == ["validation", "test"]
    for found, rows in zip(summary, zip(*(run.rows for run in runs))):
        assert (found["method"], found["n_seeds"]) == ("bright", 3)
        assert found["n_slices"] == rows[0]["n_slices"]
        for metric in ("auc", "ap", "precision", "recall", "f1", "dice"):
            values = [row[metric] for row in rows]
            assert found[metric] == pytest.approx(np.mean(values))
            assert found[f"{metric}_std"] == pytest.approx(np.std(values, ddof=1))
            assert found[f"{metric}_std"] > 0

    # Seeds are averaged before patients are compared: three runs are no three patients.
    patients = summarise_seeds([row for run in runs for row in run.patient_rows])
    assert [row["patient"] for row in patients] == ["b", "d"]
    (over,) = summarise_patients(patients)
    means = [
        np.mean([row["auc"] for run in runs for row in run.patient_rows
                 if row["patient"] == patient])
        for patient in "bd"
    ]  # fmt: skip
    assert over["n_patients"] == 2
    assert over["auc_mean"] == pytest.approx(np.mean(means))
    assert over["auc_std"] == pytest.approx(np.std(means, ddof=1))
    (alone,) = summarise_seeds(runs[0].rows[:1])
    assert alone["auc"] == pytest.approx(runs[0].rows[0]["auc"])
    assert np.isnan(alone["auc_std"])


def test_verdict_on_the_baselines():
    def row(method, auc, ap):
        return {"method": method, "split": "test", "auc": auc, "ap": ap}

    rows = [row("A", 0.7, 0.2), row("B", 0.9, 0.1), row("F", 0.6, 0.5), row("G", 0.8, 0.4)]
    assert baseline_verdict(rows, ["F", "G"]) == (
        "Best baseline by AUC: G (0.800), above A. "
        "Best baseline by AP: F (0.500), above all (A, B)."
    )
    assert "by AUC: F (0.600), above none." in baseline_verdict(rows[:3], ["F"])
    other_side = [found | {"split": "validation"} for found in rows]
    for nothing in (rows[:2], rows[2:], other_side):
        assert baseline_verdict(nothing, ["F", "G"]).startswith("Nothing to compare")


def test_verdict_names_the_best_test_rows():
    def row(method, split, auc, ap):
        return {"method": method, "split": split, "auc": auc, "ap": ap, "n_patients": 2}

    rows = [row("A", "validation", 0.99, 0.9), row("A", "test", 0.7, 0.2)]
    assert verdict(rows) == (
        "On 2 test patients, pixels pooled, A has the best AUC (0.700) and the best AP "
        "(0.200)."
    )
    assert "B has the best AP (0.400)" in verdict([*rows, row("B", "test", 0.6, 0.4)])
    assert verdict([row("A", "test", np.nan, np.nan)]).startswith("No method has")


def test_verdict_gives_the_interval_of_the_lead():
    """Of the patients' differences between the best and the next best, pixels pooled."""
    values = {
        "A": [(0.9, 0.6), (0.8, 0.3), (0.95, 0.5)],
        "B": [(0.8, 0.5), (0.85, 0.3), (0.9, 0.35)],
        "C": [(0.1, 0.1), (0.2, 0.1), (0.1, 0.1)],
    }
    patient_rows = [
        {"method": method, "split": "test", "seed": 0, "patient": patient}
        | {"auc": auc, "ap": ap}
        for method, own in values.items()
        for patient, (auc, ap) in enumerate(own)
    ]
    rows = [
        {"method": method, "split": "test", "n_patients": 3, "auc": auc, "ap": ap}
        for method, auc, ap in (("C", 0.2, 0.1), ("A", 0.9, 0.4), ("B", 0.8, 0.5))
    ]
    found = verdict(rows, patient_rows)
    for metric, best, following in ((0, "A", "B"), (1, "B", "A")):
        ours, theirs = ([own[metric] for own in values[name]] for name in (best, following))
        low, high = ttest_rel(ours, theirs).confidence_interval()
        difference = np.mean(np.subtract(ours, theirs))
        assert (
            f"of {best} minus that of {following} {difference:+.3f} "
            f"(95 % t interval {low:+.3f} to {high:+.3f})"
        ) in found
    assert "3 patients with an anomaly" in found
    assert "cover" in found
    alone = verdict(rows, [row for row in patient_rows if row["patient"] == 0])
    assert alone.endswith("only one patient has an anomaly.")
    assert "interval" not in verdict(rows)


def test_rows_are_plain(cohort, sides):
    X, y, groups = cohort
    found = evaluate_split(bright(), X, y, groups, **sides)
    json.dumps(found.rows + found.patient_rows)
