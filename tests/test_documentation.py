"""What the pages say is what there is: names, published numbers, links, a new detector."""

import importlib
import json
import pickle
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

import skadm
from benchmarks.lib.published import PUBLISHED
from benchmarks.lib.summary import with_spread
from benchmarks.lib.tables import parse, with_tables
from skadm.data import make_phantom
from skadm.preprocessing import IntensityNormalizer

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


# -- reference ---------------------------------------------------------------------------


def modules_of(reference):
    """Names listed under each module of the reference."""
    listed = {}
    for part in reference.split(".. currentmodule:: ")[1:]:
        module, _, rest = part.partition("\n")
        names = re.findall(r"^   (\w+)$", rest, flags=re.MULTILINE)
        listed.setdefault(module, set()).update(names)
    return listed


LISTED = modules_of((DOCS / "api.md").read_text(encoding="utf-8"))
ELSEWHERE = {
    "PostprocessedDetector",
    "SliceDetector",
    "VolumeDetector",
    "ConformalDetector",
}


@pytest.mark.parametrize("module", sorted(LISTED))
def test_reference_is_complete(module):
    found = importlib.import_module(module)
    public = {name for name in getattr(found, "__all__", ()) if name[0] != "_"}
    documented = {name for name in public if callable(getattr(found, name))}
    if module in ("skadm", "skadm.training"):  # a choice: the rest is listed at its home
        documented = set()
    assert documented - LISTED[module] - ELSEWHERE == set()
    assert all(hasattr(found, name) for name in LISTED[module])


def test_reference_has_every_module():
    """All but the command line, and torch modules, which have no interface to be kept."""
    modules = {f"skadm.{found.name}" for found in pkgutil.iter_modules(skadm.__path__)}
    private = {name for name in modules if name.startswith("skadm._")}
    assert modules - private - {"skadm.cli", "skadm.nn"} <= set(LISTED)


# -- the paper's numbers -----------------------------------------------------------------


def tables_of(text):
    """Rows of all Markdown tables, as dicts of column to cell."""
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        lines = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in table.strip().splitlines()
        ]
        yield [dict(zip(lines[0], cells)) for cells in lines[2:]]


COLUMNS = {"auc": "AUC", "precision": "precision", "recall": "recall", "f1": "F1"}
SPLITS = ("validation", "test")


def test_published_numbers():
    tables = list(tables_of(with_tables(DOCS / "paper.md")))

    def cells(table, data, split):
        rows = PUBLISHED.query("table == @table and data == @data and split == @split")
        return {
            row["method"]: {
                title: with_spread(row[metric], row[f"{metric}_std"])
                for metric, title in COLUMNS.items()
            }
            for row in rows.to_dict("records")
        }

    # Table 1 beside ours: AUC and F1, then precision and recall, of each split.
    for rows, split in zip(tables[:4], np.repeat(SPLITS, 2)):
        expected = cells("comparison", "BraTS 2019", split)
        assert [row["method"] for row in rows] == list(expected)
        shown = [column for column in rows[0] if column.endswith(", published")]
        assert len(shown) == 2
        for row in rows:
            for column in shown:
                metric = column.removesuffix(", published")
                assert row[column] == expected[row["method"]][metric]
    # The others by themselves.
    alone = [("comparison", "ISLES 2015", split) for split in SPLITS]
    alone += [
        ("ablation", data, split)
        for data in ("BraTS 2019", "ISLES 2015")
        for split in SPLITS
    ]
    for rows, which in zip(tables[4 : 4 + len(alone)], alone, strict=True):
        expected = [{"method": name, **row} for name, row in cells(*which).items()]
        assert rows == expected


def test_numbers_beside_them_are_those_of_the_results():
    results = with_tables(DOCS / "results.md")
    start = results.index("`python -m benchmarks compare --data ../shared/data/brats`")
    test, validation = list(tables_of(results[start:]))[:2]
    beside = list(tables_of(with_tables(DOCS / "paper.md")))[:4]
    for rows, ours in zip(beside, (validation, validation, test, test)):
        by_method = {row["method"]: row for row in ours}
        here = [column for column in rows[0] if column.endswith(", here")]
        assert len(here) == 2
        for row in rows:
            for column in here:
                metric = column.removesuffix(", here")
                assert row[column] == by_method[row["method"]][metric]


def unmeasured(readme, tables):
    """Rows of the tables of results of a text whose numbers no row of `tables` has."""
    found = [row for text in tables for table in tables_of(text) for row in table]
    measured = [set(re.findall(r"\d\.\d+", " ".join(row.values()))) for row in found]
    rows = [row for table in tables_of(readme) for row in table if "AP" in row]
    return [
        row
        for row in rows
        if not any(
            set(re.findall(r"\d\.\d+", " ".join(row.values()))) <= numbers
            for numbers in measured
        )
    ]


def test_results_in_the_readme_are_those_of_a_table():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tables = [
        parse(path.read_text(encoding="utf-8"))[1]
        for path in sorted((DOCS / "tables").glob("*.md"))
    ]
    assert "| AP |" in readme
    assert unmeasured(readme, tables) == []
    # A number that was typed, or is of two rows, is noticed.
    table = "| method | AP | F1 |\n|---|---|---|\n| A | 0.915 | 0.742 |\n"
    assert len(unmeasured(table, tables)) == 1


# -- links -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_pages_that_are_not_built(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (ROOT / target).exists()] == []


# -- the detector that the pages write ---------------------------------------------------


@pytest.fixture(scope="module")
def example():
    """The part of the example that is the detector, and its names."""
    source = (ROOT / "examples" / "new_detector.py").read_text(encoding="utf-8")
    imports, rest = source.split("# start of the detector\n")
    detector = rest.split("# end of the detector\n")[0]
    names = {"__name__": "example"}
    exec(imports + detector, names)
    return detector, names["ConditionalDetector"]


def test_new_detector_is_forty_lines(example):
    lines = [line for line in example[0].splitlines() if line.strip()]
    assert len(lines) <= 40


@pytest.mark.slow
def test_new_detector_keeps_the_contract(example):
    stack = make_phantom(2, 8, 32, lesion_fraction=1, random_state=0)
    X, y = IntensityNormalizer().fit_transform(stack).load()
    detector = example[1](width=8, max_epochs=3, random_state=0)
    scores = clone(detector).fit(X, y).score_samples(X)
    assert scores.shape == y.shape
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(clone(detector).fit(X, y).score_samples(X), scores)
    # Slices with a lesion are left out by themselves.
    normal = ~(y == 1).any(axis=(1, 2))
    assert 0 < normal.sum() < len(y)
    np.testing.assert_array_equal(clone(detector).fit(X[normal]).score_samples(X), scores)
    state = pickle.dumps(clone(detector).fit(X, y).__getstate__())
    assert b"torch" not in state


def test_new_detector_does_not_see_what_it_predicts(example):
    """The likelihood of a contrast is that of its intensity under one fixed Gaussian."""
    X = np.random.default_rng(0).normal(size=(3, 2, 16, 16)).astype(np.float32)
    networks = example[1](width=8, max_epochs=2, random_state=0).fit(X)._networks

    def energy(intensity):
        images = torch.from_numpy(X.copy())
        images[:, 1] = intensity
        with torch.inference_mode():
            return networks(images, 1).double()

    # -log of a Gaussian is a parabola of the intensity, if mean and variance do not move.
    second = energy(2.0) - 2 * energy(1.0) + energy(0.0)
    torch.testing.assert_close(
        energy(5.0) - 2 * energy(4.0) + energy(3.0), second, rtol=1e-3, atol=1e-4
    )
    assert (second > 0).all()


@pytest.mark.slow
def test_new_detector_learns(example):
    stack = make_phantom(3, 12, 48, lesion_fraction=1, random_state=0)
    X, y = IntensityNormalizer().fit_transform(stack).load()

    def auc(epochs):
        detector = example[1](max_epochs=epochs, learning_rate=5e-3, random_state=0)
        scores = detector.fit(X, y).score_samples(X)
        return roc_auc_score(y[y >= 0], -scores[y >= 0])

    assert auc(15) > auc(1) + 0.05


# -- metadata ----------------------------------------------------------------------------


def test_citations_name_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {skadm.__version__}\n" in citation
    metadata = json.loads((ROOT / "codemeta.json").read_text(encoding="utf-8"))
    assert metadata["version"] == skadm.__version__
    for text in (citation, json.dumps(metadata)):
        assert "10.1002/mp.15269" in text
